"""Bad and odd image files, each many times, all in one folder among good ones; then files that fail in other ways."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.faults.attempt import Attempt, attempt, good_images, photo
from benchmarks.faults.pictures import FAULTS, Make
from benchmarks.faults.row import Row, row
from transferlab.core.data.store import Resize


def rows(rng: np.random.Generator) -> Iterator[Row]:
    """All of `pictures`, then files that kill, vanish or cannot be read."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "images")
        good = good_images(root, rng, "ant", "bee", count=20)
        bad = {fault: list(_written(root, fault, tries, make, rng)) for fault, (tries, make) in FAULTS.items()}
        done = attempt(root, workers=2)
        for fault, files in bad.items():
            yield row(fault, [done.of(path, looks) for path, looks in files])
        lost = done.lost_of(good)
        yield Row("good images beside all of these", len(good), f"{len(good) - len(lost)} accepted", _count(lost))
    yield killing(rng)
    yield vanishing(rng)
    yield failing(rng)


def _written(
    root: Path, fault: str, tries: int, make: Make, rng: np.random.Generator
) -> Iterator[tuple[str, Image.Image | None]]:
    """Write the files of a fault into the classes by turns: their paths, and how they should look."""
    for i in range(tries):
        suffix, content, *looks = make(rng)
        path = f"{('ant', 'bee')[i % 2]}/{fault} {i}{suffix}"
        (root / path).write_bytes(content)
        yield path, looks[0] if looks else None


def _count(lost: list[str]) -> str:
    return f"{len(lost)} good images" if lost else "nothing"


@dataclass(frozen=True)
class KilledBySize(Resize):
    """Stands for a decoder that crashes on some file: kills its process for images 13 px wide."""

    def __call__(self, image: Image.Image) -> Image.Image:
        """Resize, or die."""
        if image.width == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image)


def among_good(rng: np.random.Generator, bad: list[str], make: Callable[[Path], object], **options: Any) -> Attempt:
    """Make bad files among good images and take the folder the whole way."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "images")
        good = good_images(root, rng, "ant", "bee")
        for path in bad:
            make(root / path)
        if "report" in options:
            options["report"] = options["report"](root)
        done = attempt(root, **options)
        assert not done.lost_of(good)
        return done


def killing(rng: np.random.Generator) -> Row:
    """Files on which the process that decodes them is killed (SIGKILL)."""
    bad = [f"ant/{i} kills.png" for i in range(4)]
    resize = KilledBySize(size=36)
    done = among_good(rng, bad, lambda path: photo(rng, (13, 40)).save(path), resize=resize, workers=2)
    return row("image that kills the process that decodes it", [done.of(path) for path in bad])


def vanishing(rng: np.random.Generator) -> Row:
    """Files that are removed after they were listed."""
    bad = [f"bee/{i} vanishes.png" for i in range(5)]

    def report(root: Path) -> Callable[[int, int], None]:
        return lambda done, total: [(root / path).unlink(missing_ok=True) for path in bad] and None

    done = among_good(rng, bad, lambda path: photo(rng).save(path), report=report)
    return row("image removed while images are decoded", [done.of(path) for path in bad])


def failing(rng: np.random.Generator) -> Row:
    """Make a file that is listed but cannot be read: without permission or, for root, one whose reading fails."""
    is_root = os.geteuid() == 0

    def make(path: Path) -> None:
        if is_root:
            path.symlink_to("/proc/self/mem")
        else:
            photo(rng).save(path)
            path.chmod(0)

    bad = [f"ant/{i} unreadable.png" for i in range(3)]
    done = among_good(rng, bad, make)
    fault = "image whose disk fails" if is_root else "image that one may not read"
    return row(fault, [done.of(path) for path in bad])
