"""The nodes of the data pipeline: each parses its parameters and calls the core."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config import parse, schema
from transferlab.console import progress
from transferlab.core.data import sources, subsets
from transferlab.core.data.archives.extract import extract
from transferlab.core.data.download import Downloads
from transferlab.core.data.duplicates import across_splits, duplicates
from transferlab.core.data.listing.layout import list_images as list_files
from transferlab.core.data.split import EXCLUDED, assign, exclude, part
from transferlab.core.data.statistics import channel_statistics, class_counts
from transferlab.core.data.store import ImageStore, largest
from transferlab.core.data.store_builder import Decoding, build
from transferlab.core.models import factory
from transferlab.core.strategies.strategy import Strategy

logger = logging.getLogger(__name__)
Parameters = dict[str, Any]


def acquire(dataset: Parameters, downloads: Path) -> dict[str, str]:
    """Fetch the source: a verified archive file, or a folder that is there already."""
    settings = parse.read(schema.Dataset, dataset, "dataset")
    with progress.downloading() as report:
        found = sources.acquire(settings.source, Downloads(downloads, settings.mirror, report))
    if found.note:
        logger.warning("%s", found.note)
    return {"path": str(found.path), "subfolder": found.subfolder or ".", "note": found.note}


def extract_archive(acquired: dict[str, str], extracted_archives: Path) -> dict[str, str]:
    """Unpack an archive; a folder passes through."""
    return {"path": str(extract(Path(acquired["path"]), extracted_archives, acquired["subfolder"]))}


def list_images(extracted: dict[str, str], dataset: Parameters) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List candidate images with class, split and group, and what is left out, with reasons."""
    settings = parse.read(schema.Dataset, dataset, "dataset")
    listing, ignored = list_files(Path(extracted["path"]), settings.layout)
    used = part(listing, settings.split)
    beyond = listing.loc[~listing["path"].isin(used["path"]), ["path"]]
    reason = f"not in the stratified part of {settings.split.limit} images (dataset.split.limit)"
    return used, pd.concat([ignored, beyond.assign(status="ignored", reason=reason)], ignore_index=True)


def decode_images(
    extracted: dict[str, str],
    listing: pd.DataFrame,
    ignored: pd.DataFrame,
    dataset: Parameters,
    strategies: Parameters,
    image_folder: Path,
) -> tuple[dict[str, ImageStore], pd.DataFrame, pd.DataFrame]:
    """Decode every image once, resized as the strategies need it; what cannot be used goes to the quarantine."""
    settings = parse.read(schema.Dataset, dataset, "dataset")
    decoding = Decoding(workers=settings.workers, range=settings.range, max_pixels=settings.max_pixels)
    parsed = [parse.read(Strategy, raw, f"strategies.{name}") for name, raw in strategies.items()]
    resizes = [factory.view_of(strategy.model, strategy.input, None).stored_as for strategy in parsed]
    with progress.counting("decoding images") as report:
        stores, accepted, quarantined = build(Path(extracted["path"]), listing, resizes, image_folder, decoding, report)
    quarantine = pd.concat([quarantined, ignored], ignore_index=True)
    logger.info(
        "%d images accepted, %d quarantined, %d files ignored",
        len(accepted),
        (quarantine["status"] == "quarantined").sum(),
        (quarantine["status"] == "ignored").sum(),
    )
    return stores, accepted, quarantine


def split_images(accepted: pd.DataFrame, listing: pd.DataFrame, dataset: Parameters) -> pd.DataFrame:
    """Which image is for training, validation or test; every class of the listing must have some for each."""
    settings = parse.read(schema.Dataset, dataset, "dataset")
    splits = assign(accepted, settings.split, sorted(set(listing["class"])))
    parts = subsets.parts(list(splits.loc[splits["split"] == "test", "path"]), settings.subsets)
    for name, pattern in settings.subsets.items():
        if f"test/{name}" not in parts:
            logger.warning("dataset.subsets.%s: no test image has a path like %r, so it is not measured", name, pattern)
    return splits


def measure(index: pd.DataFrame, image_store: dict[str, ImageStore]) -> dict[str, Any]:
    """Statistics of the images: counts per split and class, mean and standard deviation of the training pixels."""
    store = largest(image_store.values())
    train = store.rows_of(index["pixel_sha256"])[(index["split"] == "train").to_numpy()]
    return {"classes": sorted_classes(index), "images": class_counts(index), **channel_statistics(store, train)}


def sorted_classes(index: pd.DataFrame) -> list[str]:
    """Class names in the order of their labels."""
    return list(index.drop_duplicates("label").sort_values("label")["class"])


def find_duplicates(
    splits: pd.DataFrame, image_store: dict[str, ImageStore], dataset: Parameters
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The index, without images that are held out too where the experiment says so, and pairs of equal photographs."""
    settings = parse.read(schema.Dataset, dataset, "dataset")
    found = duplicates(splits, largest(image_store.values()))
    across = across_splits(found)
    if across.empty:
        return splits, found
    told = f"{len(across)} pairs of photographs across splits are, or may be, the same: see `duplicates`"
    if settings.duplicates == "report":
        logger.warning("%s; `dataset.duplicates: exclude` trains without them", told)
        return splits, found
    index = exclude(splits, set(across["path_a"]))
    gone = splits.loc[index["split"] == EXCLUDED, "split"].value_counts()
    logger.warning("%s; excluded: %s", told, " and ".join(f"{count} from {split}" for split, count in gone.items()))
    return index, found
