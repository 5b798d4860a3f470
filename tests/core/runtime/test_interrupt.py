"""Real signals, sent by this process to itself: Python handles them in its main thread, between two bytecodes."""

import contextlib
import multiprocessing
import os
import signal
import time

import pytest

from transferlab.core.runtime import interrupt
from transferlab.core.runtime.interrupt import Terminated, held, stoppable

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(autouse=True)
def ctrl_c_is_not_ignored():
    """As it is where a shell runs the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_stops_at_once_and_afterwards_all_is_as_before(number, error):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as stopped, stoppable():  # noqa: PT012
        send(number)
        pytest.fail("went on")
    assert type(stopped.value) is error
    assert signal.getsignal(number) == before
    assert not interrupt.is_asked()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_held_is_finished_first(number):
    done = []
    with pytest.raises(KeyboardInterrupt), stoppable(), held(True):  # noqa: PT012
        with held(True):
            send(number)
            done.append("inner")
            assert interrupt.is_asked()
        done.append("outer")
    assert done == ["inner", "outer"]


def test_what_needs_no_holding_is_not_held():
    with pytest.raises(Terminated), stoppable(), held(False):  # noqa: PT012
        send(signal.SIGTERM)
        pytest.fail("went on")


def test_a_second_ctrl_c_does_not_wait_and_a_second_sigterm_does():
    with pytest.raises(KeyboardInterrupt), stoppable(), held(True):  # noqa: PT012
        send(signal.SIGINT)
        send(signal.SIGINT)
        pytest.fail("went on")
    done = []
    with pytest.raises(Terminated), stoppable(), held(True):  # noqa: PT012
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        done.append("finished")
    assert done


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_sigterm_that_follows_disturbs_no_cleaning_up(first):
    with interrupt.stoppable():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(first)
        signal.raise_signal(signal.SIGTERM)


def test_an_interrupt_that_somebody_swallows_is_not_forgotten():
    with pytest.raises(Terminated), stoppable():  # noqa: PT012
        with contextlib.suppress(KeyboardInterrupt):
            send(signal.SIGTERM)
        with held(True):
            pass
        pytest.fail("went on")


def test_a_signal_that_was_ignored_stays_ignored():
    """As in a shell's background job."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable():
            send(signal.SIGINT)
            assert not interrupt.is_asked()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_worker_ends_without_a_word_and_takes_no_other_task():
    with stoppable():
        child = os.fork()
        if not child:
            try:
                send(signal.SIGTERM)
            except SystemExit:
                try:
                    interrupt.check()  # before the next node
                except SystemExit as error:
                    os._exit(error.code)
            os._exit(1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGTERM


def work(begun):
    begun.set()
    while True:
        time.sleep(0.01)


def test_a_signal_to_the_main_process_alone_ends_its_workers_too():
    fork = multiprocessing.get_context("fork")
    begun = fork.Event()
    with pytest.raises(KeyboardInterrupt), stoppable():  # noqa: PT012
        worker = fork.Process(target=work, args=(begun,))
        worker.start()
        begun.wait()
        send(signal.SIGINT)
    worker.join()
    assert worker.exitcode == 128 + signal.SIGTERM
