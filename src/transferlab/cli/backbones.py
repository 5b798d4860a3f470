"""`kedro transferlab backbones`. What ranks is imported by the command: it loads torch, which --help need not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata
from kedro.io import DataCatalog

from transferlab.console.commands import command
from transferlab.console.errors import UserError, explained
from transferlab.console.terminal import say

if TYPE_CHECKING:
    from rich.table import Table

    from transferlab.config.schema import Dataset
    from transferlab.core.ranking.backbones import Candidate, Ranked
    from transferlab.core.runtime.compute import Compute
    from transferlab.core.strategies.strategy import Strategy

_CAPTION = (
    "Probe: accuracy of a linear classifier on frozen features, cross-validated on training images alone. LogME: log "
    "evidence of the same, higher is better. Seconds: features + scores. Tuning may rank networks otherwise: see "
    "docs/strategies.md."
)


@click.command("backbones")
@click.argument("models", nargs=-1, metavar="[NAME=WEIGHTS]...")
@env_option
@click.option("--images", type=click.IntRange(10), default=2000, show_default=True, help="Training images to use.")
@click.pass_obj
def backbones(metadata: ProjectMetadata, models: tuple[str, ...], env: str | None, images: int) -> None:
    """Rank pretrained networks for the images of an experiment, without training any.

    Ranked are those of its strategies, and each NAME=WEIGHTS, such as torchvision/resnet18=DEFAULT.
    """
    with explained():
        _backbones(metadata, models, env, images)


def _backbones(metadata: ProjectMetadata, models: tuple[str, ...], env: str | None, images: int) -> None:
    with settings.SESSION_CLASS.create(project_path=metadata.project_path, env=env) as session:
        context = session.load_context()
        catalog, params = context.catalog, context.params
    candidates = list(dict.fromkeys([*_of_strategies(params["strategies"]), *map(_named, models)]))
    if not candidates:
        raise UserError("no strategy begins with pretrained weights: name networks, e.g. torchvision/resnet18=DEFAULT")
    if not (catalog.exists("index") and catalog.exists("extracted") and catalog.exists("statistics")):
        cure = command("run", "--pipeline=data", f"--env={catalog.load('experiment')}")
        raise UserError(f"the images are not listed yet; first run {cure}")
    say(_table(_ranked(catalog, candidates, params["dataset"], params["training"].compute, images)))


def _of_strategies(strategies: dict[str, Strategy]) -> Iterator[Candidate]:
    """Yield the networks that strategies begin with, if they are pretrained."""
    from transferlab.core.ranking.backbones import Candidate

    for strategy in strategies.values():
        if strategy.model.weights is not None:
            yield Candidate(strategy.model, strategy.input)


def _named(text: str) -> Candidate:
    """Return the network that NAME=WEIGHTS names.

    Raises:
        UserError: there is none.
    """
    from transferlab.core.models.backbones import registry
    from transferlab.core.models.backbones.model import Model
    from transferlab.core.ranking.backbones import Candidate
    from transferlab.core.transforms.input import Input
    from transferlab.core.validation import FieldProblems

    name, equals, weights = text.partition("=")
    if not (equals and weights):
        raise UserError(f"{text} names no weights: write NAME=WEIGHTS, e.g. torchvision/resnet18=DEFAULT")
    try:
        registry.check(model := Model(name=name, weights=weights))
    except FieldProblems as error:
        raise UserError(f"{text}: {error}") from error
    return Candidate(model, Input())


def _ranked(
    catalog: DataCatalog, candidates: list[Candidate], dataset: Dataset, compute: Compute, images: int
) -> list[Ranked]:
    from transferlab.console import progress
    from transferlab.core.ranking.backbones import LabelledImages, rank, sample
    from transferlab.core.runtime.device import apply, resolve

    index, root = catalog.load("index"), Path(catalog.load("extracted")["path"])
    rows = sample(index[index["split"] == "train"], images)
    labelled = LabelledImages(root, rows, catalog.load("statistics"), dataset.decoding)
    with tempfile.TemporaryDirectory() as folder, progress.counting("decoding images") as report:
        return rank(candidates, labelled, apply(resolve(compute)), Path(folder), report)


def _table(found: list[Ranked]) -> Table:
    from transferlab.versions.table import versions_table

    rows = [
        (
            f"{one.accuracy:.1%}",
            f"{one.log_evidence:.3f}",
            f"{one.feature_seconds:.1f} + {one.probe_seconds:.1f}",
            f"{one.candidate.model.description}, {Path(str(one.candidate.model.weights)).name}; {one.size} px, "
            f"{one.parameters / 1e6:.1f} M parameters",
        )
        for one in found
    ]
    columns = ("Probe", "LogME", "Seconds", "Backbone, weights; input, size")
    return versions_table("Backbones, the most promising first", columns, rows, _CAPTION)
