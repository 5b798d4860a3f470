"""The nodes of the data pipeline: each calls the core with typed parameters."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from transferlab.config.schema import Dataset
from transferlab.console import progress
from transferlab.core.data import sources, subsets
from transferlab.core.data.archives.extract import extract
from transferlab.core.data.download import Downloads
from transferlab.core.data.duplicates import across_splits, contradictory, duplicates, repeating_classes
from transferlab.core.data.listing.layout import list_images as list_files
from transferlab.core.data.split.index import EXCLUDED, assign, exclude, limited, sorted_classes, split_columns
from transferlab.core.data.statistics import channel_statistics, class_counts
from transferlab.core.data.store import ImageStore, largest
from transferlab.core.data.store_builder import build
from transferlab.core.strategies.strategy import Strategy
from transferlab.reporting.wording import count

logger = logging.getLogger(__name__)


def acquire(dataset: Dataset, downloads: Path) -> dict[str, str]:
    """Fetch the source: a verified archive file, or a folder that is there already."""
    with progress.downloading() as report:
        found = sources.acquire(dataset.source, Downloads(downloads, dataset.mirror, report))
    if found.note:
        logger.warning("%s", found.note)
    return {"path": str(found.path), "subfolder": found.subfolder or ".", "note": found.note}


def extract_archive(acquired: dict[str, str], extracted_archives: Path) -> dict[str, str]:
    """Unpack an archive; a folder passes through."""
    return {"path": str(extract(Path(acquired["path"]), extracted_archives, acquired["subfolder"]))}


def list_images(extracted: dict[str, str], dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """List candidate images with class, split, stratum and group, and what is left out, with reasons."""
    listing, ignored = list_files(Path(extracted["path"]), dataset.layout, dataset.split.groups)
    used = limited(listing, dataset.split)
    beyond = listing.loc[~listing["path"].isin(used["path"]), ["path"]]
    reason = f"not in the stratified part of {dataset.split.limit} images (dataset.split.limit)"
    return used, pd.concat([ignored, beyond.assign(status="ignored", reason=reason)], ignore_index=True)


def decode_images(
    extracted: dict[str, str],
    listing: pd.DataFrame,
    ignored: pd.DataFrame,
    dataset: Dataset,
    strategies: dict[str, Strategy],
    image_folder: Path,
) -> tuple[dict[str, ImageStore], pd.DataFrame, pd.DataFrame]:
    """Decode every image once, resized as the strategies need it; what cannot be used goes to the quarantine."""
    from transferlab.core.models import factory  # it loads torch, which the other nodes need not

    resizes = [factory.view_of(each.model, each.input, None).stored_as for each in strategies.values()]
    with progress.counting("decoding images") as report:
        root = Path(extracted["path"])
        stores, accepted, quarantined = build(root, listing, resizes, image_folder, dataset.decoding, report)
    quarantine = pd.concat([quarantined, ignored], ignore_index=True)
    of_status = quarantine["status"].value_counts()
    logger.info(
        "%s accepted, %s quarantined, %s ignored",
        count(len(accepted), "image"),
        count(of_status.get("quarantined", 0)),
        count(of_status.get("ignored", 0), "file"),
    )
    return stores, accepted, quarantine


def split_images(accepted: pd.DataFrame, listing: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Split the images for training, validation and test; every class of the listing must have some for each."""
    splits = assign(accepted, dataset.split, sorted(set(listing["class"])))
    parts = subsets.parts(list(splits.loc[splits["split"] == "test", "path"]), dataset.subsets)
    for name, pattern in dataset.subsets.items():
        if f"test/{name}" not in parts:
            logger.warning("dataset.subsets.%s: no test image has a path like %r, so it is not measured", name, pattern)
    return splits


def measure(index: pd.DataFrame, image_store: dict[str, ImageStore]) -> dict[str, Any]:
    """Measure the images: counts per split and class, mean and standard deviation of the training pixels.

    Those of each store are there too: what a strategy normalises by does not change when another one is added.
    """
    store = largest(image_store.values())
    train = store.rows_of(index["pixel_sha256"])[(index["split"] == "train").to_numpy()]
    levels = asdict(store.levels) if store.levels else None
    counts = {"classes": sorted_classes(index), "images": class_counts(index)}
    stores = {key: channel_statistics(each, train) for key, each in image_store.items()}
    return {**counts, **stores[store.resize.key], "stores": stores, "levels": levels}


def find_duplicates(
    splits: pd.DataFrame, image_store: dict[str, ImageStore], dataset: Dataset
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find pairs of equal photographs, and exclude from the index those held out too, where the experiment says so."""
    found = duplicates(splits, largest(image_store.values()))
    _warn_of_contradictions(splits, found)
    across = across_splits(found)
    told = f"{count(len(across), 'pair')} of photographs across splits, the same or maybe the same: see `duplicates`"
    if dataset.duplicates == "report":
        if len(across):
            logger.warning("%s; `dataset.duplicates: exclude` trains without them", told)
        return splits, found
    index = splits
    for column in split_columns(splits):
        pairs = found if column == "split" else _pairs_in(splits, column, image_store)
        index = exclude(index, set(across_splits(pairs)["path_a"]), column)
    gone = splits.loc[index["split"] == EXCLUDED, "split"].value_counts()
    if len(across):
        logger.warning("%s; excluded: %s", told, " and ".join(f"{count} from {split}" for split, count in gone.items()))
    return index, found


def _pairs_in(splits: pd.DataFrame, column: str, image_store: dict[str, ImageStore]) -> pd.DataFrame:
    """Find the pairs of another re-split."""
    return duplicates(splits.assign(split=splits[column]), largest(image_store.values()))


def _warn_of_contradictions(index: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """Say where one photograph has two labels, and where a whole class repeats others."""
    for name, others in repeating_classes(index).items():
        logger.warning("every image of class %r is in another class too (%s): leave one out", name, ", ".join(others))
    if len(found := contradictory(pairs)):
        one, more = found.iloc[0], f", and {count(len(found) - 1, 'more pair')}" if len(found) > 1 else ""
        logger.warning(
            "%s and %s are, or may be, the same photograph with two labels, %s and %s%s: see the first rows of "
            "`duplicates`, and mend the labels",
            one["path_a"], one["path_b"], one["class_a"], one["class_b"], more,
        )  # fmt: skip
