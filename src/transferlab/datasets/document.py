"""Documents: JSON, PNG figures and HTML pages."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, BinaryIO

from kedro_datasets._typing import ImagePreview, JSONPreview
from matplotlib.figure import Figure

from transferlab.datasets.atomic import WholeFile


class JSONDataset(WholeFile[Any, Any]):
    """A JSON document, indented and in UTF-8."""

    def write(self, data: Any, file: BinaryIO) -> None:
        """Write it; numbers that JSON has not (NaN) are refused."""
        file.write(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False).encode())

    def read(self, path: Path) -> Any:
        """Read it."""
        return json.loads(path.read_text(encoding="utf-8"))

    def preview(self) -> JSONPreview:
        """Show the document in Kedro-Viz."""
        return JSONPreview(json.dumps(self.load()))


class FigureDataset(WholeFile[Figure, bytes]):
    """A matplotlib figure, saved as PNG; loads as the PNG's bytes."""

    def write(self, data: Figure, file: BinaryIO) -> None:
        """Draw it."""
        data.savefig(file, format="png", dpi=150)

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
