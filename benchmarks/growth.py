"""Measures how time and memory grow: `python -m benchmarks.growth`.

Generated JPEGs are decoded into a store, the frozen features of EfficientNet-Lite0 computed, and heads trained on them;
more images, trials, strategies that share the frozen layers, or pixels. Each measurement runs in a process of its own,
whose memory, with that of the processes it starts, is looked at all the time: `memory` is what they have allocated, the
peak of resident memory less the pages of mapped files (the image store's, libraries'), which the system can drop.

Writes `growth.json`. `--images 1000 10000` leaves out the longest part.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks import ours, recipes, result

SECONDS_BETWEEN_LOOKS = 0.02
SMALL, LARGE = 64, 256  # px of the generated images


@dataclass(frozen=True)
class Case:
    """Says what is measured: how many images, stored and seen at `size` px, strategies, and trials of each."""

    images: int
    size: int = SMALL
    trials: int = 1
    strategies: int = 1

    @property
    def pixels(self) -> int:
        """The height and the width of the generated images."""
        return SMALL if self.size <= SMALL else LARGE


def cases(wanted: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    """List what grows, and each size of it."""
    few = min(wanted.images)
    yield from (("images", Case(images)) for images in wanted.images)
    yield from (("trials", Case(few, trials=trials)) for trials in wanted.trials)
    yield from (("strategies", Case(few, strategies=strategies)) for strategies in wanted.strategies)
    yield from (("size", Case(few, size=size)) for size in wanted.sizes)


def generate(root: Path, count: int, pixels: int) -> Path:
    """Write `count` JPEGs of two classes, each a different smooth pattern, one class redder and the other bluer."""
    folder, rng = root / f"{count}_of_{pixels}", np.random.default_rng(0)
    for label in range(0 if folder.is_dir() else 2):
        of_class = folder / ("red", "blue")[label]
        of_class.mkdir(parents=True)
        for number in range(label, count, 2):
            pattern = rng.integers(0, 200, (8, 8, 3), np.uint8)
            pattern[..., 2 * label] += 55
            Image.fromarray(pattern).resize((pixels, pixels)).save(of_class / f"{number}.jpg")
    return folder


def measure(case: Case, root: Path, answer: Connection) -> None:
    """Decode, compute features and train heads, in the process that is measured."""
    strategies = recipes.heads(case.size, case.strategies)
    with tempfile.TemporaryDirectory() as work:
        started = time.perf_counter()
        data = ours.decode(root, strategies, Path(work))
        decoded = time.perf_counter()
        results = [ours.train(strategy, data, Path(work), range(case.trials)) for strategy in strategies]
        seconds = time.perf_counter() - started
    features = results[0][0].cost.feature_seconds
    parts = {"decoding": decoded - started, "features": features}
    answer.send({"seconds": seconds, **parts, "rest": seconds - sum(parts.values())})


def watched(case: Case, root: Path) -> dict[str, Any]:
    """Measure in a process of its own, and watch its memory."""
    processes = multiprocessing.get_context("spawn")
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=measure, args=(case, root, sender))
    process.start()
    sender.close()
    peaks = peak_memory(process)
    if process.exitcode != 0:
        raise RuntimeError(f"{case} ended with {process.exitcode}")
    return {**asdict(case), **receiver.recv(), **peaks}


def peak_memory(process: BaseProcess) -> dict[str, float]:
    """Peaks in MiB, until the process ends, of it and all that it started."""
    allocated = resident = 0
    tree = psutil.Process(process.pid)
    while process.is_alive():
        infos = [info for info in map(_memory, _all(tree)) if info is not None]
        allocated = max(allocated, sum(info.rss - getattr(info, "shared", 0) for info in infos))
        resident = max(resident, sum(info.rss for info in infos))
        process.join(SECONDS_BETWEEN_LOOKS)
    return {"memory_mib": allocated / 2**20, "with_mapped_files_mib": resident / 2**20}


def _all(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return [tree, *tree.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> Any:
    try:
        return process.memory_info()
    except psutil.NoSuchProcess:
        return None


def table(report: dict[str, Any]) -> result.Table:
    """Seconds and memory of each."""
    rows = [
        [
            what,
            str(case[what]),
            *(result.seconds(case[part]) for part in ("seconds", "decoding", "features", "rest")),
            f"{case['memory_mib']:.0f} MiB",
        ]
        for what, measured in report["growth"].items()
        for case in measured
    ]
    few, many = report["growth"]["images"][0], report["growth"]["images"][-1]
    each = (many["memory_mib"] - few["memory_mib"]) * 1024 / max(1, many["images"] - few["images"])
    note = f"Memory grows by {each:.1f} KiB for each further image. {result.made_on(report)}"
    columns = ["what grows", "to", "seconds", "decoding", "features", "heads and the rest", "memory"]
    return result.Table("How time and memory grow", columns, rows, note)


def main() -> None:
    """Measure every case."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 3, 10])
    parser.add_argument("--strategies", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 160, 224])
    wanted = result.parse(parser, images=[40, 80], trials=[2], strategies=[3], sizes=[96])
    growth: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for what, case in cases(wanted):
            root = generate(Path(folder), case.images, case.pixels)
            growth.setdefault(what, []).append(watched(case, root))
    table(result.write("growth", wanted, {"growth": growth})).show()


if __name__ == "__main__":
    main()
