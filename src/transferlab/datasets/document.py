"""Documents: JSON, PNG figures and HTML pages."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kedro.io import Version
from kedro_datasets._typing import ImagePreview, JSONPreview
from pydantic import BaseModel, TypeAdapter, ValidationError

from transferlab.datasets.atomic import WholeFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Acquired(BaseModel):
    """The path of the source's archive or folder, the folder inside it that holds the images, a note for the report."""

    path: str
    subfolder: str
    note: str


class Extracted(BaseModel):
    """The path of the folder with the images."""

    path: str


class Statistics(BaseModel):
    """The classes in the order of their labels, images per split and class, and the training pixels per channel."""

    classes: list[str]
    images: dict[str, dict[str, int]]
    mean: list[float]
    std: list[float]


class Facts(BaseModel):
    """Facts that the report adds to the tables: the keys that every version has."""

    experiment: str
    title: str
    description: str
    classes: list[str]
    images: dict[str, dict[str, int]]
    published: list[dict[str, Any]]
    reference_lines: list[dict[str, Any]]
    run_id: str
    versions: dict[str, str]
    trials: int


class WholeRun(BaseModel):
    """What the last whole run was made from, and what it saved; see `transferlab.hooks.whole_run`."""

    run_id: str
    saved: list[str]
    content: str
    images: str
    parameters: str
    catalog: str
    weights: dict[str, str]
    code: str
    packages: dict[str, str]
    machine: list[str | int | None]


CONTENTS: dict[str, Any] = {
    "acquired": Acquired,
    "extracted": Extracted,
    "statistics": Statistics,
    "facts": Facts,
    "fingerprints": dict[str, dict[str, Any]],  # by trial: what its weights depend on
    "whole_run": WholeRun,
}


def checked(kind: Any, document: Any) -> Any:
    """Return a document as it is, which may have more keys than its kind.

    Raises:
        ValueError: a key is missing, or a value has another type; says which.
    """
    try:
        TypeAdapter(kind).validate_python(document, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, wrong['loc'])) or 'the document'}: {wrong['msg']}") from None
    return document


class JSONDataset(WholeFile[Any, Any]):
    """A JSON document, indented and in UTF-8."""

    def __init__(
        self,
        *,
        filepath: str,
        content: str | None = None,
        version: Version | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file and, of `CONTENTS`, what it must hold; by default anything."""
        super().__init__(filepath=filepath, version=version, metadata=metadata)
        self._kind = CONTENTS[content] if content else Any

    def write(self, data: Any, file: BinaryIO) -> None:
        """Write it; numbers that JSON has not (NaN) are refused."""
        file.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False).encode())

    def read(self, path: Path) -> Any:
        """Read it.

        Raises:
            ValueError: it is no JSON, or holds something else.
        """
        return checked(self._kind, json.loads(path.read_text(encoding="utf-8")))

    def preview(self) -> JSONPreview:
        """Show the document in Kedro-Viz."""
        return JSONPreview(json.dumps(self.load()))


class FigureDataset(WholeFile["Figure", bytes]):
    """A matplotlib figure, saved as PNG; loads as the PNG's bytes."""

    def write(self, data: Figure, file: BinaryIO) -> None:
        """Draw it."""
        data.savefig(file, format="png")

    def read(self, path: Path) -> bytes:
        """Read the PNG."""
        return path.read_bytes()

    def preview(self) -> ImagePreview:
        """Show the picture in Kedro-Viz."""
        return ImagePreview(base64.b64encode(self.load()).decode())


class PageDataset(WholeFile[str, str]):
    """An HTML page, as text."""

    def write(self, data: str, file: BinaryIO) -> None:
        """Write UTF-8."""
        file.write(data.encode())

    def read(self, path: Path) -> str:
        """Read UTF-8."""
        return path.read_text(encoding="utf-8")
