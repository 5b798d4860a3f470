from dataclasses import replace

import pytest
import torch
from tiny import machine, normed_net
from torch import nn
from torch.nn import functional

from transferlab.core.runtime import precision
from transferlab.core.runtime.compute import Compute
from transferlab.core.runtime.device import resolve

CPU = torch.device("cpu")


@pytest.fixture
def with_units(monkeypatch):
    """Every CPU here seems to have units for bfloat16."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16_units", lambda: True)


@pytest.mark.usefixtures("with_units")
def test_auto_on_a_cpu_with_units_is_bfloat16_but_for_linear_heads():
    auto, head = resolve(Compute(device="cpu")), nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
    assert auto.for_network(normed_net()).precision == "bfloat16"
    assert auto.for_network(head).precision == "float32"
    assert auto.precision == "bfloat16 (float32 in linear heads)"
    asked = resolve(Compute(device="cpu", precision="bfloat16"))
    assert asked.for_network(head).precision == "bfloat16"
    assert asked.numerics() != auto.numerics()  # a state of one is not the other's
    assert auto.for_network(normed_net()).numerics() == asked.numerics()  # features are


@pytest.mark.parametrize(("units", "expected"), [("avx512_bf16 amx_bf16 amx_tile", True), ("avx512_bf16", False)])
def test_the_processors_flags_tell_whether_it_has_units(tmp_path, monkeypatch, units, expected):
    (tmp_path / "cpuinfo").write_text(f"model name\t: X\nflags\t\t: fpu {units}\n")
    monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
    precision.cpu_has_bfloat16_units.cache_clear()
    assert precision.cpu_has_bfloat16_units() == expected
    precision.cpu_has_bfloat16_units.cache_clear()


def test_float32_leaves_a_convolution_as_it_is():
    x, weight = torch.rand(2, 4, 6, 6), torch.rand(4, 1, 3, 3, requires_grad=True)
    expected = functional.conv2d(x, weight, groups=4)
    with precision.autocast(CPU, torch.float32):
        assert torch.equal(functional.conv2d(x, weight, groups=4), expected)


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": (1, 2)}, {"dilation": (2, 1)}, {"padding": "same"}])
def test_gradients_of_grouped_convolutions_are_within_bfloat16(groups, has_bias, options):
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3, groups=groups, bias=has_bias, **options)
    x = torch.randn(3, 4, 9, 9, requires_grad=True)

    def gradients(dtype):
        layer.zero_grad()
        x.grad = None
        with precision.autocast(CPU, dtype):
            out = layer(x)
        out.float().square().mean().backward()
        return out, [x.grad.clone(), *(p.grad.clone() for p in layer.parameters())]

    (exact, expected), (half, found) = gradients(torch.float32), gradients(torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert (half - exact).abs().max() <= 2**-6 * exact.abs().max()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() <= 2**-6 * other.abs().max()


def test_the_backward_pass_of_a_grouped_convolution_is_in_float32():
    # torch's own would round the weights' gradient, a sum over all pixels, to bfloat16.
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 4, 3, groups=4), torch.randn(2, 4, 16, 16).bfloat16().float()
    with torch.no_grad():
        layer.weight.copy_(layer.weight.bfloat16())
    gradients = []
    for dtype in (torch.bfloat16, torch.float32):
        layer.zero_grad()
        with precision.autocast(CPU, dtype):
            out = layer(x)
        out.float().sum().backward()
        gradients.append(layer.weight.grad.clone())
    assert torch.allclose(*gradients, rtol=1e-6)


def test_frozen_weights_and_inputs_get_no_gradient():
    layer, x = nn.Conv2d(4, 4, 3, groups=4), torch.randn(2, 4, 8, 8, requires_grad=True)
    layer.weight.requires_grad_(False)
    with precision.autocast(CPU, torch.bfloat16):
        layer(x).float().sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None


def test_the_cpus_own_mode_is_over_after_the_pass():
    half = replace(machine(), dtype=torch.bfloat16)
    x, weight = torch.rand(2, 4, 6, 6), torch.rand(4, 1, 3, 3, requires_grad=True)
    with half.autocast():
        pass
    assert functional.conv2d(x, weight, groups=4).dtype == torch.float32
