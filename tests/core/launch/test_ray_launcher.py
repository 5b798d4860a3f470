"""Trials as tasks of a real Ray cluster of two nodes on this machine; its start takes seconds, so all share one."""

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tiny import COMPUTE, FLIP_AND_CROP, assert_same_results, spec_of, split_of, stage, strategy

from transferlab.core.launch import ray_cluster, ray_node
from transferlab.core.launch.ray_check import ClusterError, task
from transferlab.core.launch.trials import fingerprints, queued, train_trials
from transferlab.core.runtime import interrupt
from transferlab.core.strategies.optimizers import SGD
from transferlab.core.training import state

os.environ.update({
    **ray_cluster.ENVIRONMENT,
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray turns 127.0.0.1 into this machine's address
    "RAY_kill_child_processes_on_worker_exit": "false",  # this process has children that other tests need
    "RAY_memory_monitor_refresh_ms": "0",  # it would kill workers where others fill this machine's memory
    "RAY_AUTH_MODE": "disabled",  # whatever token lies in the home folder
})  # fmt: skip
ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")

STAGES = {
    "head": stage(trainable="head", optimizer=SGD(lr=0.2), augmentation=FLIP_AND_CROP, views=2),
    "tune": stage(epochs=3, augmentation=FLIP_AND_CROP),
}


def quietly(_):
    pass


SMALL = {
    "num_cpus": 1,
    "num_gpus": 1,  # that are not there: no trial here asks for one
    "object_store_memory": 100 << 20,
    "node_ip_address": "127.0.0.1",  # only loopback is listened on
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,  # of the autoscaler
}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node, where this process is, and room for one trial."""
    from ray.cluster_utils import Cluster

    with own_handler():
        found = Cluster(initialize_head=True, head_node_args=SMALL)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def other_node(cluster):
    """A second node, which the last test that needs it kills."""
    with own_handler():
        return cluster.add_node(**SMALL)


@contextmanager
def own_handler():
    """Give this process back its handler of SIGTERM, which adding a node replaces."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def on_cluster(cluster):
    """The compute settings of trials on the cluster."""
    return replace(COMPUTE, launcher="ray", address=cluster.address)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    return split_of(folder / "train", 10), split_of(folder / "validation", 4, "validation", seed=1)


@pytest.fixture(scope="module")
def specs(splits):
    return [spec_of(strategy(select="best", **STAGES), *splits, trial=trial) for trial in range(3)]


@pytest.fixture(scope="module")
def alone(specs, tmp_path_factory):
    return train_trials(specs, tmp_path_factory.mktemp("alone"), quietly)


def sent(specs, compute):
    return [replace(spec, compute=compute) for spec in specs]


def workers():
    """The processes of Ray that are training."""
    there = psutil.process_iter(["cmdline", "ppid"])
    return [process for process in there if (process.info["cmdline"] or [""])[0] == "ray::train"]


def worker_of(raylet):
    """Wait for a process that trains on a node, and return it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for process in workers():
            if process.info["ppid"] == raylet:
                return process
        time.sleep(0.01)
    raise AssertionError(f"no child of {raylet} trained")


def test_the_bits_are_those_of_a_lone_run_and_all_is_told_here(specs, alone, on_cluster, other_node, tmp_path, caplog):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    told, of_cluster = [], sent(specs, on_cluster)
    with caplog.at_level("INFO", "transferlab"):
        found = train_trials(of_cluster, tmp_path / "features", told.append, tmp_path / "states")
    assert_same_results(found, alone)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert fingerprints(of_cluster) == fingerprints(specs)
    ends = [(at.trial, at.epoch) for at in told if at.loss is not None]
    assert sorted(ends) == [(trial, epoch) for trial in range(3) for epoch in range(1, 6)]
    assert sum("on the cpu of" in message for message in caplog.messages) == 3
    assert all(result.cost.node and result.cost.device == "cpu" for result in found.values())


def test_strategies_share_one_queue_the_longest_first_and_heads_train_together_as_one_task(
    specs, alone, splits, on_cluster, other_node, tmp_path, caplog
):
    first = replace(spec_of(strategy(head=replace(STAGES["head"], epochs=100)), *splits), name="heads")
    shared = tuple(name for name in first.initial.tensors if not name.startswith(first.initial.header.head))
    header = replace(first.initial.header, pretrained=shared)  # as with pretrained weights
    heads = [replace(first, initial=replace(first.initial, header=header), trial=trial) for trial in range(3)]
    expected = train_trials(heads, tmp_path / "here", quietly)
    both, states, told = [sent(heads, on_cluster), sent(specs, on_cluster)], [tmp_path / "one", tmp_path / "two"], []
    with caplog.at_level("INFO", "transferlab"):
        launch = queued(both, tmp_path / "there", states, lambda name: lambda at: told.append((name, at)))
        found = [
            train_trials(each, tmp_path / "there", lambda at: told.append(("awaited", at)), own, launch)
            for each, own in zip(both, states, strict=True)
        ]
    assert_same_results(found[0], expected)
    assert_same_results(found[1], alone)
    places = [message.partition(" on the cpu of ")[0] for message in caplog.messages if " on the cpu of " in message]
    assert [place for place in places if place.startswith("heads")] == ["heads: 3 trials together"]
    assert next(name for name, _ in told) == "tiny", "it is longer than what is awaited first"
    assert {at.epoch for name, at in told if name == "tiny"} >= {1, 2, 3}, "it has not waited to be awaited"


def test_an_error_of_one_is_raised_here(specs, on_cluster, tmp_path):
    states = tmp_path / "states"
    states.mkdir()
    (states / "trial_1.pt").write_bytes(b"of something else")
    with pytest.raises(state.StateError, match=r"trial_1.pt is damaged") as caught:
        train_trials(sent(specs, on_cluster), tmp_path / "features", quietly, states)
    assert "in a process of its own:\nTraceback" in str(caught.value.__cause__)


def test_a_trial_that_no_node_can_hold_is_refused(specs, on_cluster, tmp_path):
    large = replace(on_cluster, threads=64)
    with pytest.raises(ClusterError, match=r"a trial needs 64 CPUs .* no node has them .* set fewer threads"):
        train_trials(sent(specs, large), tmp_path, quietly)


def test_a_node_with_other_versions_is_refused(on_cluster, monkeypatch):
    here = {**ray_node.versions(), "torch": "1.0"}
    monkeypatch.setattr(ray_node, "versions", lambda: here)
    with pytest.raises(
        ClusterError, match=r"must be alike, and .* is not: torch .*, where this process has 1\.0\. Install"
    ):
        ray_cluster.join(on_cluster)


def test_a_node_that_does_not_see_what_trials_read_is_refused(on_cluster, tmp_path):
    (tmp_path / "file").touch()
    shared = tmp_path / "shared"
    with pytest.raises(ClusterError, match=r"does not see, or may not write, .*gone: all nodes must share"):
        ray_cluster.join(on_cluster, [shared], [tmp_path / "file" / "gone"])
    assert list(shared.iterdir()) == []


def test_a_task_with_a_gpu_has_a_process_of_its_own(on_cluster):
    ray_cluster.join(on_cluster)
    pids = [ray.get(task(lambda: os.getpid(), num_gpus=1).remote()) for _ in range(2)]
    assert pids[0] != pids[1], "CUDA would go on with the GPU that it has seen first"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_stop_saves_the_epoch_of_each_first(specs, alone, on_cluster, tmp_path):
    folders = (tmp_path / "features", tmp_path / "states")
    later = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGTERM))  # while Ray waits

    def stop(at):
        if at.trial == 1 and at.epoch == 4 and later.ident is None:
            later.start()

    def train_and_stop():
        with interrupt.stoppable():
            train_trials(sent(specs, on_cluster), folders[0], stop, folders[1])
            later.join()

    with pytest.raises(interrupt.Terminated):
        train_and_stop()
    assert state.finished_epochs(folders[1] / "trial_1.pt") >= 3  # only every stage's last epoch is saved otherwise: 2
    assert workers() == []
    assert_same_results(train_trials(sent(specs, on_cluster), folders[0], quietly, folders[1]), alone)


def filled(on_cluster):
    """Take all CPUs of this process's node, until the actor that is returned is killed."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    class Filler:
        def is_there(self):
            return True

    ray_cluster.join(on_cluster)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    filler = ray.remote(Filler).options(num_cpus=SMALL["num_cpus"], scheduling_strategy=here).remote()
    ray.get(filler.is_there.remote())
    return filler


def test_a_lost_worker_and_a_lost_node_are_replaced_and_no_bit_differs(
    specs, alone, cluster, other_node, on_cluster, tmp_path, caplog
):
    here, there = (node.all_processes["raylet"][0].process.pid for node in (cluster.head_node, other_node))
    filler = filled(on_cluster)  # so that all begins on the other node

    def lose():
        """Lose the other node once something trains there, then a worker here, where all goes on."""
        worker_of(there)
        cluster.remove_node(other_node, allow_graceful=False)
        ray.kill(filler)
        worker_of(here).kill()

    with ThreadPoolExecutor(1) as other:
        lost = other.submit(lose)  # a trial may end before its first message is read
        found = train_trials(sent(specs, on_cluster), tmp_path, quietly, tmp_path / "states")
        lost.result()
    assert_same_results(found, alone)
    assert sum("its worker was lost" in message for message in caplog.messages) == 2


def test_workers_run_in_this_environment_whatever_started_it(on_cluster):
    # Under `uv run`, Ray would install another one for them.
    ray_cluster.join(on_cluster)
    assert ray.get(ray.remote(lambda: (sys.prefix, Path.cwd())).remote()) == (sys.prefix, Path.cwd())


def test_a_folder_that_may_not_be_written_is_reported(tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert ray_node.report_of(COMPUTE, [token]).unseen == (tmp_path,)


def test_a_file_that_a_network_shows_late_is_waited_for_some_times(tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(ray_node.time, "sleep", waits.append)
    assert ray_node.report_of(COMPUTE, files=[tmp_path / "gone"]).unseen == (tmp_path / "gone",)
    assert len(waits) == 9
    monkeypatch.setattr(ray_node.time, "sleep", lambda _: (tmp_path / "late").touch())
    assert ray_node.report_of(COMPUTE, files=[tmp_path / "late"]).unseen == ()


def test_what_a_node_runs_is_told_by_name():
    assert {"Python", "torch", "transferlab", "ray"} <= ray_node.versions().keys()
    assert Path(ray_node.__file__).is_file()


@pytest.mark.parametrize("port", [1, 70_000])
def test_an_address_without_a_cluster_is_refused(port):
    ray.shutdown()
    with pytest.raises(ClusterError, match=rf"'127\.0\.0\.1:{port}': no Ray cluster can be joined .*ray start --head"):
        ray_cluster.join(replace(COMPUTE, launcher="ray", address=f"127.0.0.1:{port}"))
