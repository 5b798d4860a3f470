"""The nodes of the data pipeline: each parses its parameters and calls the core."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab import config, progress
from transferlab.core import evaluate, network, sources
from transferlab.core.build import build
from transferlab.core.duplicates import duplicates
from transferlab.core.extract import extract
from transferlab.core.layout import list_images as list_files
from transferlab.core.split import assign, part
from transferlab.core.statistics import channel_statistics, class_counts
from transferlab.core.store import ImageStore, largest
from transferlab.core.strategy import Strategy

logger = logging.getLogger(__name__)
Parameters = dict[str, Any]


def acquire(dataset: Parameters, downloads: Path) -> dict[str, str]:
    """Fetch the source: a verified archive file, or a folder that is there already."""
    settings = config.read(config.Dataset, dataset, "dataset")
    found = sources.acquire(settings.source, downloads, settings.mirror)
    if found.note:
        logger.warning("%s", found.note)
    return {"path": str(found.path), "subfolder": found.subfolder or ".", "note": found.note}


def extract_archive(acquired: dict[str, str], extracted_archives: Path) -> dict[str, str]:
    """Unpack an archive; a folder passes through."""
    return {"path": str(extract(Path(acquired["path"]), extracted_archives, acquired["subfolder"]))}


def list_images(extracted: dict[str, str], dataset: Parameters) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List candidate images with class, split and group, and what is left out, with reasons."""
    settings = config.read(config.Dataset, dataset, "dataset")
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
    workers = config.read(config.Dataset, dataset, "dataset").workers
    parsed = [config.read(Strategy, raw, f"strategies.{name}") for name, raw in strategies.items()]
    resizes = [network.view_of(strategy, None).stored_as for strategy in parsed]
    with progress.counting("decoding images") as report:
        stores, accepted, quarantined = build(Path(extracted["path"]), listing, resizes, image_folder, workers, report)
    quarantine = pd.concat([quarantined, ignored], ignore_index=True)
    logger.info(
        "%d images accepted, %d quarantined, %d files ignored",
        len(accepted),
        (quarantine["status"] == "quarantined").sum(),
        (quarantine["status"] == "ignored").sum(),
    )
    return stores, accepted, quarantine


def split_images(accepted: pd.DataFrame, dataset: Parameters) -> pd.DataFrame:
    """The index: which image is for training, validation or test."""
    settings = config.read(config.Dataset, dataset, "dataset")
    index = assign(accepted, settings.split)
    parts = evaluate.parts(list(index.loc[index["split"] == "test", "path"]), settings.subsets)
    for name, pattern in settings.subsets.items():
        if f"test/{name}" not in parts:
            logger.warning("dataset.subsets.%s: no test image has a path like %r, so it is not measured", name, pattern)
    return index


def measure(index: pd.DataFrame, image_store: dict[str, ImageStore]) -> dict[str, Any]:
    """Statistics of the images: counts per split and class, mean and standard deviation of the training pixels."""
    train = (index["split"] == "train").to_numpy().nonzero()[0]
    first = largest(image_store.values())
    return {"classes": sorted_classes(index), "images": class_counts(index), **channel_statistics(first, train)}


def sorted_classes(index: pd.DataFrame) -> list[str]:
    """Class names in the order of their labels."""
    return list(index.drop_duplicates("label").sort_values("label")["class"])


def find_duplicates(index: pd.DataFrame, image_store: dict[str, ImageStore]) -> pd.DataFrame:
    """Photographs that are there twice, exactly or nearly, with a warning where a test image is also trained on."""
    found = duplicates(index, largest(image_store.values()))
    across = found[found["split_a"] != found["split_b"]]
    if len(across):
        logger.warning("%d pairs of photographs across splits are, or may be, the same: see `duplicates`", len(across))
    return found
