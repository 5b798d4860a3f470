"""What folding and compiling frozen layers for a CPU gain, and for how many images: `python -m benchmarks.compiling`.

Networks of random weights run over the same batch as they were built, folded (BatchNorm, TensorFlow's padding), and
folded and compiled, in turn. Each is compiled with an empty cache.

Writes `compiling.json`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache

from benchmarks import ours, recipes, result
from transferlab.core.models.compiled_pass import CompiledPass
from transferlab.core.models.folding import folded

CASES = (("efficientnet_lite0", 224), ("efficientnet_lite0", 96), ("resnet18", 224))


def measured(backbone: str, size: int, rounds: int, images: int) -> dict[str, Any]:
    """Compile, then time passes over so many images of 224 px, or more smaller ones, in each round."""
    used, batch = ours.machine(), ours.evaluation_batch(torch.device("cpu"), 3, size, size)
    x_BCHW = torch.rand(batch, 3, size, size).to(memory_format=used.memory_format)
    built = ours.library_network(recipes.BACKBONES[backbone], 2, size).eval().to(memory_format=used.memory_format)
    network = folded(built, x_BCHW[:1])
    passes = -(-images * 224**2 // (batch * size**2))

    def plain(network: nn.Module, x_BCHW: Tensor) -> Tensor:
        with torch.inference_mode(), used.autocast():
            out: Tensor = network(x_BCHW)
        return out

    def pace(run: Callable[[Tensor], Tensor]) -> float:
        started = time.perf_counter()
        for _ in range(passes):
            run(x_BCHW)
        return passes * batch / (time.perf_counter() - started)

    with fresh_cache():
        started = time.perf_counter()
        compiled = CompiledPass(network, x_BCHW, batch, used)
        took = time.perf_counter() - started
        expected = plain(network, x_BCHW).float()
        difference = (compiled(x_BCHW).float() - expected).abs().max() / expected.std()
        ways = (partial(plain, built), partial(plain, network), compiled)
        paces = [[pace(way) for way in ways] for _ in range(rounds)]
    as_built, of_folded, of_compiled = (result.repeats(values) for values in zip(*paces, strict=True))
    saved = 1 / of_folded["median"] - 1 / of_compiled["median"]
    return {
        "built": as_built,
        "folded": of_folded,
        "compiled": of_compiled,
        "seconds to compile": took,
        "images that repay it": took / saved if saved > 0 else None,
        "largest difference in deviations": difference.item(),
    }


def table(report: dict[str, Any]) -> result.Table:
    """Images per second."""
    rows = [
        [
            name,
            *(f"{of[key]['median']:.0f}" for key in ("built", "folded", "compiled")),
            f"{of['folded']['median'] / of['built']['median']:.2f}",
            f"{of['compiled']['median'] / of['folded']['median']:.2f}",
            f"{of['seconds to compile']:.0f} s",
            f"{of['images that repay it']:,.0f}" if of["images that repay it"] else "never",
            f"{of['largest difference in deviations']:.0e}",
        ]
        for name, of in report["networks"].items()
    ]
    columns = ["frozen layers", "images/s", "folded", "compiled", "folding gains", "compiling gains"]
    columns += ["it takes", "images that repay it", "difference"]
    made = report["machine"]
    used = f"Threads: {made['threads']}; {made['precision']}."
    return result.Table("Frozen layers, folded and compiled", columns, rows, f"{result.made_on(report)} {used}")


def main() -> None:
    """Measure each network."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=256, help="of 224 px in a round, or as many pixels")
    wanted = result.parse(parser, rounds=1, images=16)
    networks = {
        f"{backbone}, {size} px": measured(backbone, size, wanted.rounds, wanted.images) for backbone, size in CASES
    }
    table(result.write("compiling", wanted, {"networks": networks})).show()


if __name__ == "__main__":
    main()
