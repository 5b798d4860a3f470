"""Parquet files with the images in them, as Hugging Face's `datasets` writes: each image becomes a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from transferlab.core.data.decoding.formats import TIFF_STARTS
from transferlab.core.data.decoding.png import SIGNATURE
from transferlab.core.data.download import SourceError
from transferlab.core.data.listing.scan import IMAGE_SUFFIXES
from transferlab.core.data.split.names import splits_by_name
from transferlab.core.files.paths import is_plain_name
from transferlab.core.validation import did_you_mean

SUFFIX = ".parquet"
LONGEST_NAME = 150  # bytes, of the 255 that file systems take
ROWS = 64  # in memory at a time: each holds a photograph
_METADATA = b"huggingface"  # key of the schema's metadata under which `datasets` keeps its features, as JSON


def parts(paths: Sequence[str]) -> dict[str, str]:
    """Return the part of the data that each file holds, by its name or that of a folder; "" where they do not say.

    Hugging Face calls them `train-00000-of-00004.parquet` or `train/0000.parquet`.
    """
    words = {path: [*PurePosixPath(path).parent.parts, PurePosixPath(path).stem.split("-")[0]] for path in paths}
    meant = splits_by_name({word for each in words.values() for word in each})
    found = {path: next((meant[word] for word in reversed(each) if word in meant), "") for path, each in words.items()}
    return found if all(found.values()) else dict.fromkeys(paths, "")


def export(file: Any, path: str, image: str, label: str, folder: Path) -> None:
    """Write every image of a file as `<class>/<file>-<row>-<name>` below a folder.

    Args:
        file: the open file.
        path: its name, for messages.
        image: the column with the images.
        label: the column with the classes.
        folder: where to write.

    Raises:
        SourceError: it lacks a column, a row has no image or no label, or a label cannot name a folder.
    """
    from pyarrow import parquet  # which whoever reads config need not wait for

    try:
        table = parquet.ParquetFile(file)
    except ValueError as error:  # pyarrow's errors
        raise SourceError(f"dataset.source.url: {path} cannot be read as Parquet ({error})") from error
    schema = table.schema_arrow
    for key, column in (("image", image), ("label", label)):
        if column not in schema.names:
            cure = did_you_mean(column, schema.names) or f"; it has {schema.names}"
            raise SourceError(f"dataset.source.{key}: {path} has no column {column!r}{cure}")
    classes = _class_names(schema.metadata or {}, label)
    stem, number = PurePosixPath(path).with_suffix("").as_posix().replace("/", "-"), 0
    for batch in table.iter_batches(ROWS, columns=[image, label]):
        for row in batch.to_pylist():
            number += 1
            where = f"{path}, row {number}"
            content, name = _content(row[image], where)
            target = folder / _class_of(row[label], classes, where) / f"{stem}-{number:06d}{name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _class_names(metadata: Mapping[bytes, bytes], label: str) -> Sequence[str]:
    """Return the names of numbered classes that the file itself has (`datasets.ClassLabel`); empty without."""
    try:
        names = json.loads(metadata[_METADATA])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return ()
    return [str(name) for name in names] if isinstance(names, list) else ()


def _content(value: Any, where: str) -> tuple[bytes, str]:
    """Return the bytes of an image and the end of its file's name."""
    name = ""
    if isinstance(value, Mapping):
        name, value = PurePosixPath(str(value.get("path") or "").replace("\\", "/")).name, value.get("bytes")
    if not isinstance(value, bytes) or not value:
        raise SourceError(f"{where}: it holds no image: dataset.source.image must name a column with the images' bytes")
    if PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
        name += _suffix(value)
    return value, f"-{name}" if is_plain_name(name) and len(name.encode()) <= LONGEST_NAME else _suffix(value)


def _suffix(content: bytes) -> str:
    """Return the suffix of what may have more than 8 bits, and `.jpg` for the rest: decoding goes by the content."""
    if content.startswith(SIGNATURE):
        return ".png"
    return ".tif" if content[:4] in TIFF_STARTS else ".jpg"


def _class_of(label: Any, names: Sequence[str], where: str) -> str:
    if type(label) is int and (label < 0 or (names and label >= len(names))):
        raise SourceError(
            f"{where}: the label {label} is no class's number, as where a part has no labels: leave that file out of "
            "dataset.source.url, such as with data/train-*.parquet"
        )
    if type(label) is int and names:
        label = names[label]
    name = "" if label is None or isinstance(label, list | dict) else str(label).strip().replace("/", "_")
    if not is_plain_name(name) or len(name.encode()) > LONGEST_NAME:
        raise SourceError(f"{where}: the label {label!r} cannot be the name of a class: dataset.source.label names it")
    return name
