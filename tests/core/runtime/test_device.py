import contextlib
import platform
from pathlib import Path

import pytest
import torch

from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import DeviceError, Machine, apply, one_thread, resolve
from transferlab.core.runtime.memory import PeakMemory
from transferlab.core.runtime.precision import cpu_has_bfloat16_units
from transferlab.core.validation import FieldProblems


@pytest.fixture(autouse=True)
def _threads_as_before():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_asked_for_are_set_and_told(threads):
    machine = apply(resolve(Compute(device="cpu", precision="float32", threads=threads)))
    assert torch.get_num_threads() == threads
    described = {
        "device": "cpu",
        "device_name": machine.device_name,
        "precision": "float32",
        "threads": threads,
        "devices": 1,
        "parallel_trials": 1,
    }
    assert machine.describe() == described


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, None])
def test_one_thread_is_for_a_while_whatever_ends_it(stop):
    torch.set_num_threads(2)
    with contextlib.suppress(KeyboardInterrupt, ValueError), one_thread():
        assert torch.get_num_threads() == 1
        if stop:
            raise stop
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="names of processors as Linux tells them")
def test_the_processor_has_its_name_and_not_that_of_its_architecture():
    name = resolve(Compute(device="cpu")).device_name
    assert name in Path("/proc/cpuinfo").read_text() or name == (platform.processor() or platform.machine())


def test_null_threads_are_torchs_own_choice():
    torch.set_num_threads(2)
    assert resolve(Compute(device="cpu")).threads == 2


def test_auto_takes_the_best_there_is():
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve(Compute()).device.type == best


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(name):
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if there[name]:
        pytest.skip(f"this machine has {name}")
    with pytest.raises(DeviceError, match=rf"training.compute.device: '{name}' is not available.*'auto'"):
        resolve(Compute(device=name))


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("auto", torch.bfloat16 if cpu_has_bfloat16_units() else torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
    ],
)
def test_the_forward_pass_has_the_precision_asked_for(precision, dtype):
    machine = resolve(Compute(device="cpu", precision=precision))
    with machine.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert machine.dtype == product.dtype == dtype


@pytest.mark.parametrize("field", ["threads", "devices", "parallel_trials", "micro_batch"])
def test_none_at_all_are_refused(field):
    with pytest.raises(FieldProblems, match=f"{field}: 0 must be at least 1"):
        Compute(**{field: 0})


def test_more_gpus_than_there_are_are_refused_but_trials_share_them(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    with pytest.raises(
        DeviceError, match=r"training.compute.devices: 3, but this machine has 2 cuda devices; .* most 2"
    ):
        resolve(Compute(device="cuda", devices=3))
    assert resolve(Compute(device="cuda", parallel_trials=3)).parallel_trials == 3


def test_trials_in_parallel_have_a_device_each():
    with pytest.raises(FieldProblems, match=r"parallel_trials: 2 must be 1 where .* several devices \(devices: 3\)"):
        Compute(devices=3, parallel_trials=2)


@pytest.mark.parametrize(("dtype", "may_round"), [(torch.float32, False), (torch.bfloat16, True)])
def test_float32_on_cuda_is_not_rounded(dtype, may_round, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not may_round)
    apply(Machine(torch.device("cuda"), dtype, "", torch.get_num_threads()))
    assert torch.backends.cudnn.allow_tf32 is may_round


def test_choosing_sets_nothing():
    torch.set_num_threads(2)
    assert resolve(Compute(device="cpu", threads=1)).threads == 1
    assert torch.get_num_threads() == 2


def test_last_bits_depend_on_device_precision_and_threads_alone():
    # What a frozen prefix makes of an image is kept under such a key and shared.
    asked = {"device": "cpu", "precision": "float32", "threads": 1}
    plain = resolve(Compute(**asked))
    assert plain.numerics() == {
        "device": "cpu",
        "device_name": plain.device_name,
        "precision": "float32",
        "threads": 1,
    }
    for same in ({"devices": 3, "micro_batch": 2}, {"parallel_trials": 2}, {"compile": True}):
        assert resolve(Compute(**asked, **same)).numerics() == plain.numerics()
    for other in ({"threads": 2}, {"precision": "bfloat16"}):
        assert resolve(Compute(**asked | other)).numerics() != plain.numerics()


@pytest.mark.parametrize(("micro_batch", "images", "smaller"), [(None, 64, 32), (8, 64, 4), (64, 3, 1), (1, 64, None)])
def test_half_of_a_pass_is_tried_next(micro_batch, images, smaller):
    assert resolve(Compute(device="cpu", micro_batch=micro_batch)).smaller_micro_batch(images) == smaller


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to give memory back")
def test_peak_memory_is_not_that_of_what_ran_before():
    before = PeakMemory(resolve(Compute(device="cpu")).device)
    block = torch.ones(2**26)  # 256 MiB, which this process keeps
    before.look()
    del block
    after = PeakMemory(torch.device("cpu"))
    after.look()
    assert after.mebibytes < before.mebibytes - 200


def test_peak_memory_remembers_the_most_it_saw():
    memory = PeakMemory(torch.device("cpu"))
    assert memory.mebibytes == 0
    block = torch.ones(2**24)  # 64 MiB
    memory.look()
    high = memory.mebibytes
    del block
    memory.look()
    assert memory.mebibytes >= high > 64
