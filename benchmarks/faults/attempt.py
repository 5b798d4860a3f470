"""A folder of images on its way to a network, as the data pipeline takes it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.faults.row import FILE_ALONE, NOTHING, STOPPED, UNNOTICED, crashed, is_told, said
from transferlab.core.data.decoding.batch import Decoding, pixel_sha256
from transferlab.core.data.duplicates import across_splits, duplicates
from transferlab.core.data.listing.config import ClassFolders, LabelTable
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.index import assign, exclude, limited
from transferlab.core.data.store import ImageStore, Resize
from transferlab.core.data.store_builder import Report, build
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View

VIEW = View(
    size=32, resize=36, mode="short_side", interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)
)
CPU = torch.device("cpu")


@dataclass
class Attempt:
    """What came of a folder: the index and what was left out, or the error that stopped it; and what was warned of."""

    index: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "split", "pixel_sha256"]))
    left_out: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path", "status", "reason"]))
    pairs: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["path_a"]))
    warnings: list[str] = field(default_factory=list)
    error: tuple[str, str] | None = None
    raised: Exception | None = None

    def of(self, path: str, looks: Image.Image | None = None) -> tuple[str, str]:
        """Record what was said of a bad file, and what it lost: something if it is accepted and looks different."""
        if self.error:
            return self.error
        accepted = self.index.loc[self.index["path"] == path, "pixel_sha256"]
        if len(accepted):
            same = looks is None or accepted.iloc[0] == pixel_sha256(np.asarray(looks))
            return "accepted", NOTHING if same else UNNOTICED
        of_it = self.left_out[self.left_out["path"] == path]
        if of_it.empty:
            return "not a word of it", "the file, silently"
        return f"{of_it['status'].iloc[0]}: “{of_it['reason'].iloc[0]}”", FILE_ALONE

    def lost_of(self, good: Sequence[str]) -> list[str]:
        """Good images that are not in the index."""
        return sorted(set(good) - set(self.index["path"]))


def attempt(
    root: Path,
    layout: ClassFolders | LabelTable | None = None,
    split: SplitConfig | None = None,
    excluding: bool = False,
    resize: Resize | None = None,
    workers: int = 0,
    report: Report | None = None,
) -> Attempt:
    """List, decode, split and compare the images of a folder, and render all that are used as a network would see them.

    Every file must be accepted, quarantined or ignored, and every pixel finite, or it is a crash.
    """
    result, resize = Attempt(), resize or VIEW.stored_as
    split = split or SplitConfig(validation=0.25)
    with collected_warnings(result.warnings):
        try:
            listing, ignored = list_images(root, layout or ClassFolders())
            used = limited(listing, split)
            stores = root.parent / f"{root.name} stores"
            built, accepted, quarantine = build(root, used, [resize], stores, Decoding(workers=workers), report)
            store = built[resize.key]
            result.left_out = pd.concat([quarantine, ignored], ignore_index=True)
            result.index = assign(accepted, split, sorted(set(used["class"])))
            result.pairs = across_splits(duplicates(result.index, store))
            if excluding:
                result.index = exclude(result.index, set(result.pairs["path_a"]))
            _check(root, result, store)
        except Exception as error:
            result.raised = error
            result.error = (f"stops: {said(error, root)}", STOPPED) if is_told(error) else crashed(error)
    return result


def _check(root: Path, result: Attempt, store: ImageStore) -> None:
    told = [*result.index["path"], *result.left_out["path"]]
    assert len(told) == len(set(told)), "a file is counted twice"
    files = {str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()}
    assert all(name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") in told for name in files)
    images = HostImages(store.batch(range(len(store))), CPU)
    x_B3SS = VIEW.render(images, VIEW.draw(store.shapes_N2, (), None))
    assert torch.isfinite(x_B3SS).all()


@contextmanager
def collected_warnings(into: list[str]) -> Iterator[None]:
    """Collect the project's warnings in a list, and show them nowhere else."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            into.append(record.getMessage())

    handler, logger = Collect(logging.WARNING), logging.getLogger("transferlab")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


def photo(rng: np.random.Generator, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """Something with the large smooth shapes of a photograph; no two are alike."""
    return Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)


def good_images(root: Path, rng: np.random.Generator, *folders: str, count: int = 10) -> list[str]:
    """Photographs in each folder; their paths."""
    paths = [f"{folder}/good {i:02d}.png" for folder in folders for i in range(count)]
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        photo(rng).save(root / path)
    return paths
