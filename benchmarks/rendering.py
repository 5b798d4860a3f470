"""What rendering views along columns and rows gains over point by point: `python -m benchmarks.rendering`.

Random images of photographs' proportions become batches as in training: cropped, resized and flipped. Both ways take
turns over the same images and draws.

Writes `rendering.json`.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import ours, result
from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import resample, separable
from transferlab.core.transforms.operations import RandomFlip, RandomResizedCrop
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View

BATCH = 16


def measured(size: int, interpolation: str, rounds: int, images: int) -> dict[str, Any]:
    """Render so many images in each round, both ways."""
    rng, resize = np.random.default_rng(0), round(size * 256 / 224)
    nothing = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    view = View(size=size, resize=resize, mode="short_side", interpolation=interpolation, **nothing)
    shapes_N3 = [(resize, round(resize * rng.uniform(1, 1.5)), 3) for _ in range(images)]
    every = HostImages([rng.integers(0, 256, shape, np.uint8) for shape in shapes_N3], torch.device("cpu"))
    draws = view.draw(every.shape_N2, (RandomResizedCrop(), RandomFlip()), generator(0))
    batches = [(every.take(rows), draws.take(rows)) for rows in torch.split(torch.arange(images), BATCH)]
    points = partial(resample.at_points, size=size, interpolation=interpolation)
    ways = {
        "points": lambda batch, drawn: points(batch, drawn).to(memory_format=torch.channels_last),
        "lines": lambda batch, drawn: separable.sample(batch, drawn.map_N23, size, interpolation, drawn.reflect),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, render in ways.items():
            started = time.perf_counter()
            for batch, drawn in batches:
                render(batch, drawn)
            found[name].append(1e3 * (time.perf_counter() - started) / images)
    difference = max((ways["points"](*one) - ways["lines"](*one)).abs().max().item() for one in batches)
    of_ways = {name: result.repeats(values[1:]) for name, values in found.items()}  # the first makes code and pages
    return {**of_ways, "largest difference": difference}


def table(report: dict[str, Any]) -> result.Table:
    """Milliseconds for an image."""
    rows = [
        [
            name,
            *(f"{of[way]['median']:.2f} ms" for way in ("points", "lines")),
            f"{of['points']['median'] / of['lines']['median']:.2f}",
            f"{of['largest difference']:.0e}",
        ]
        for name, of in report["views"].items()
    ]
    columns = ["views", "an image, point by point", "along columns and rows", "times faster", "difference"]
    return result.Table("Rendering views", columns, rows, result.made_on(report))


def main() -> None:
    """Measure sizes and augmentations."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--sizes", nargs="+", type=int, default=[96, 160, 224])
    wanted = result.parse(parser, rounds=1, images=32)
    views = {}
    for threads in range(1, ours.machine().threads + 1):
        torch.set_num_threads(threads)
        for interpolation in resample.MOST_SEPARABLE_THREADS:
            for size in wanted.sizes:
                name = f"{interpolation}, {size} px, threads: {threads}"
                views[name] = measured(size, interpolation, wanted.rounds, wanted.images)
    table(result.write("rendering", wanted, {"views": views})).show()


if __name__ == "__main__":
    main()
