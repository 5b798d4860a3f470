"""What decides whether frozen layers are compiled, and what is told where they cannot be; nothing is compiled here."""

from dataclasses import replace

import pytest
import torch
from tiny import machine
from torch import nn

from transferlab.core.models import compiled_pass
from transferlab.core.models.compiled_pass import (
    LONG_IN_HALF,
    LONG_PREFIX_PIXELS,
    CompiledPass,
    CompileError,
    compiles_frozen_layers,
)

IMAGES = int(LONG_PREFIX_PIXELS / 224**2)  # of 224 px: with one more they pay for compiling
HALF = int(LONG_IN_HALF / 224**2)
X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("changes", "images", "size", "compiles"),
    [
        ({}, IMAGES + 1, 224, True),
        ({}, IMAGES, 224, False),
        ({}, IMAGES + 1, 223, False),
        ({"dtype": torch.bfloat16}, HALF + 1, 224, True),
        ({"dtype": torch.bfloat16}, HALF, 224, False),
        ({"threads": 2}, 2 * IMAGES, 224, False),
        ({"threads": 2}, 2 * IMAGES + 2, 224, True),
        ({"device": torch.device("cuda")}, 100 * IMAGES, 224, False),
        ({"device": torch.device("mps")}, 100 * IMAGES, 224, False),
        ({"compile": False}, 100 * IMAGES, 224, False),
        ({"compile": True}, 1, 8, True),
        ({"compile": True, "device": torch.device("cuda")}, 100 * IMAGES, 224, False),
    ],
)
def test_many_pixels_for_each_thread_of_a_cpu_pay_for_compiling(monkeypatch, changes, images, size, compiles):
    monkeypatch.setattr(compiled_pass, "can_compile", lambda: True)
    assert compiles_frozen_layers(replace(machine(), **changes), images, size) == compiles


def test_auto_compiles_nothing_without_tools(monkeypatch):
    monkeypatch.setattr(compiled_pass, "can_compile", lambda: False)
    assert not compiles_frozen_layers(machine(), 100 * IMAGES, 224)
    assert compiles_frozen_layers(replace(machine(), compile=True), 1, 8)  # asked for: a warning says what is missing


def test_the_tools_are_a_compiler_and_the_header_of_python_on_linux(monkeypatch, tmp_path):
    compiler = tmp_path / "my-g++"
    compiler.touch(mode=0o755)
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(compiled_pass.sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setattr(compiled_pass.sys, "platform", "linux")
    monkeypatch.setenv("CXX", f"{compiler} -pipe")
    assert compiled_pass.can_compile()
    with monkeypatch.context() as without:
        without.setattr(compiled_pass.sys, "platform", "win32")
        assert not compiled_pass.can_compile()
    with monkeypatch.context() as without:
        without.setenv("CXX", str(tmp_path / "none"))
        assert not compiled_pass.can_compile()
    (tmp_path / "Python.h").unlink()
    assert not compiled_pass.can_compile()


def compiled_to(monkeypatch, run):
    """A pass over batches of 5 that torch has "compiled" to a function."""
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: run)
    return CompiledPass(nn.Flatten(), X, 5, machine())


def test_a_smaller_batch_is_padded_and_cut(monkeypatch):
    shown = []
    run = compiled_to(monkeypatch, lambda x: (shown.append(tuple(x.stride())), torch.flatten(x, 1))[1])
    for count in (5, 4, 1):
        assert torch.equal(run(X[:count]), X[:count].flatten(1))
    assert shown == 4 * [X.to(memory_format=torch.channels_last).stride()]  # no other kernels are needed


def test_other_outputs_than_the_network_has_are_refused(monkeypatch):
    with pytest.raises(CompileError, match=r"differ by 0\.3\d standard deviations"):
        compiled_to(monkeypatch, lambda x: torch.flatten(x, 1) + 0.1)
    with pytest.raises(CompileError, match="differ by nan"):
        compiled_to(monkeypatch, lambda x: torch.flatten(x, 1) * torch.nan)
    compiled_to(monkeypatch, lambda x: torch.flatten(x, 1) + 1e-4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("No working C++ compiler found\nSet TORCH_LOGS", "RuntimeError: No working C++ compiler found"),
        (
            "C++ compile error\n\nCommand:\ng++ x.cpp\n x.cpp:1:10: fatal error: no Python.h\n",
            "x.cpp:1:10: fatal error: no",
        ),
        (300 * "x", "xxx..."),
    ],
)
def test_the_cause_is_the_line_that_names_it(monkeypatch, text, told):
    def fails(_):
        raise RuntimeError(text)

    with pytest.raises(CompileError) as caught:
        compiled_to(monkeypatch, fails)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 310


def test_a_python_that_torch_cannot_compile_for_is_told(monkeypatch):
    def refuses(network, dynamic):
        raise RuntimeError("torch.compile is not supported on this Python")

    monkeypatch.setattr(torch, "compile", refuses)
    with pytest.raises(CompileError, match="not supported on this Python"):
        CompiledPass(nn.Flatten(), X, 5, machine())
