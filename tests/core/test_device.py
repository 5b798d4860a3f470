import platform
from pathlib import Path

import pytest
import torch

from transferlab.core.device import Compute, PeakMemory, choose
from transferlab.core.problems import FieldProblems


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_asked_for_are_set_and_told(threads):
    machine = choose(Compute(device="cpu", threads=threads))
    assert torch.get_num_threads() == threads
    assert machine.describe() == {"device": "cpu", "device_name": machine.device_name, "threads": threads}


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="names of processors as Linux tells them")
def test_the_processor_has_its_name_and_not_that_of_its_architecture():
    name = choose(Compute(device="cpu")).device_name
    assert name in Path("/proc/cpuinfo").read_text() or name == (platform.processor() or platform.machine())


def test_null_threads_are_torchs_own_choice():
    torch.set_num_threads(2)
    assert choose(Compute(device="cpu")).threads == 2


def test_auto_takes_the_best_there_is():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose(Compute()).device.type == best


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(name):
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there[name]:
        pytest.skip(f"this machine has {name}")
    with pytest.raises(RuntimeError, match=rf"training.compute.device: '{name}' is not available.*'auto'"):
        choose(Compute(device=name))


@pytest.mark.parametrize(
    ("precision", "dtype"), [("auto", torch.float32), ("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_the_forward_pass_has_the_precision_asked_for(precision, dtype):
    machine = choose(Compute(device="cpu", precision=precision))
    with machine.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert machine.dtype == product.dtype == dtype


def test_no_threads_at_all_are_refused():
    with pytest.raises(FieldProblems, match="threads: 0 must be at least 1"):
        Compute(threads=0)


def test_peak_memory_remembers_the_most_it_saw():
    memory = PeakMemory(torch.device("cpu"))
    assert memory.mebibytes == 0
    block = torch.ones(2**24)  # 64 MiB
    memory.look()
    high = memory.mebibytes
    del block
    memory.look()
    assert memory.mebibytes >= high > 64
