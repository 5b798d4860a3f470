"""`kedro transferlab export`. What exports is imported by the command: it loads torch, which --help need not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata
from kedro.io import DataCatalog

from transferlab.console.errors import UserError, explained
from transferlab.console.terminal import say
from transferlab.reporting.wording import count

if TYPE_CHECKING:
    from transferlab.core.inference.export.deployed import Photograph
    from transferlab.reporting.model_card import Background
    from transferlab.versions.models import Model


@click.command("export")
@click.argument("model", default="recommended")
@env_option
@click.option("--format", "kind", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True,
              help="An ONNX graph, or a program of torch.export.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make; it must not exist.")
@click.option("--images", multiple=True, metavar="SOURCE",
              help="Images to compare the export with torch on; by default those of the test split.")  # fmt: skip
@click.option("--int8", is_flag=True, help="Make the ONNX graph smaller and faster, if that costs no accuracy.")
@click.option("--margin", type=click.FloatRange(0, 100), default=1.0, show_default=True,
              help="Points of accuracy that --int8 may cost.")  # fmt: skip
@click.pass_obj
def export(
    metadata: ProjectMetadata,
    model: str,
    env: str | None,
    kind: Literal["onnx", "torch"],
    out: Path,
    images: tuple[str, ...],
    int8: bool,
    margin: float,
) -> None:
    """Export MODEL for use without this project, if that gives what torch gives.

    MODEL is recommended (the default), STRATEGY, STRATEGY@VERSION, either with /trial_1, a checkpoint file, or the URL
    of a published version, maybe with /STRATEGY. Of a
    strategy without /trial_N, the first trial is exported.
    """
    with explained():
        _export(metadata, model, env, out, (kind, images, margin / 100 if int8 else None))


def _export(
    metadata: ProjectMetadata,
    wanted: str,
    env: str | None,
    out: Path,
    how: tuple[Literal["onnx", "torch"], tuple[str, ...], float | None],
) -> None:
    from transferlab.core.calibration.reference import promises
    from transferlab.core.inference.export.int8 import Int8
    from transferlab.core.inference.export.write import Export
    from transferlab.core.inference.export.write import export as write
    from transferlab.reporting.model_card import documents
    from transferlab.versions.calibration import calibration_of
    from transferlab.versions.catalogue import of_catalog
    from transferlab.versions.models import find_model

    kind, images, margin = how
    with settings.SESSION_CLASS.create(project_path=metadata.project_path, env=env) as session:
        context = session.load_context()
        catalog, params = context.catalog, context.params
    versions = of_catalog(catalog)
    model = find_model(wanted, versions, catalog.load("experiment"), together=False)
    say(str(model))
    checkpoint, is_own = model.checkpoints[0], model.strategy is not None
    trial = checkpoint.header.trial or 0
    photographs = _given(images, checkpoint.header.classes) if images else _of_split(catalog, "test", trial, is_own)
    int8 = None if margin is None else Int8(_of_split(catalog, "train", trial, is_own), margin)
    background = _background(model, catalog, params)
    about: dict[str, Any] = {"licence_of_images": background.data_licence, "experiment": background.experiment}
    calibration = calibration_of(model, versions, params["predict"].level, "lac")
    if calibration.references:
        about["when_it_does_not_know"] = promises(calibration.references[0], params["predict"].level)
    papers = partial(documents, background=background)
    described = write(checkpoint, photographs, out, Export(kind=kind, int8=int8, about=about, documents=papers))
    for line in _told(described):
        say(line)
    say(f"Exported: {out}")


def _told(described: dict[str, Any]) -> Iterator[str]:
    """Say how near the export is to torch, and what int8 costs and gains."""
    compared = described["compared_with_torch"]
    yield (
        f"The export gives what torch gives on {count(compared['images'], 'image')} (largest difference of a "
        f"probability: {compared['largest_difference']:.1g})"
    )
    if int8 := described.get("int8"):
        yield (
            f"int8: accuracy {int8['accuracy']:.1%} (float32 {int8['accuracy_float32']:.1%}) on "
            f"{count(int8['images'], 'image')}, {int8['bytes'] / 1e6:.1f} MB ({int8['bytes_float32'] / 1e6:.1f}), "
            f"{int8['images_per_second']:.0f} images a second here ({int8['images_per_second_float32']:.0f})"
        )


def _given(sources: tuple[str, ...], classes: Sequence[str]) -> list[Photograph]:
    from transferlab.core.inference.export.deployed import Photograph
    from transferlab.core.inference.sources import find_images

    label_of = {name: label for label, name in enumerate(classes)}
    found = find_images(sources, classes)
    return [Photograph(one.path, label_of.get(one.label or "")) for one in found if one.reason is None]


def _of_split(catalog: DataCatalog, split: str, trial: int, is_own: bool) -> list[Photograph]:
    """Return the files of a split, a class after the other by turns, so that the first ones hold all classes.

    Raises:
        UserError: they are not there, or the checkpoint is a file, so that they may be another experiment's.
    """
    from transferlab.core.data.split.index import splits_of_trial
    from transferlab.core.inference.export.deployed import Photograph

    cure = "add --images=FOLDER with images to compare on" if split == "test" else "leave out --int8"
    if not is_own:
        raise UserError(f"a checkpoint file, or a published one, has no {split} split here: {cure}")
    if not (catalog.exists("index") and catalog.exists("extracted")):
        raise UserError(f"the {split} images of this experiment are not listed here: {cure}")
    index, root = catalog.load("index"), Path(catalog.load("extracted")["path"])
    own = index[splits_of_trial(index, trial) == split]
    by_turns = own.assign(turn=own.groupby("label").cumcount()).sort_values(["turn", "label"], kind="stable")
    return [
        Photograph(root / path, int(label)) for path, label in zip(by_turns["path"], by_turns["label"], strict=True)
    ]


def _background(model: Model, catalog: DataCatalog, params: dict[str, Any]) -> Background:
    from transferlab.core.data.duplicates import across_splits
    from transferlab.reporting.model_card import Background

    experiment = catalog.load("experiment")
    if model.strategy is None:  # a file: this experiment knows nothing of it
        return Background(title=Path(model.name).stem, experiment="unknown")
    accuracy, dataset = model.accuracy, params["dataset"]
    return Background(
        title=f"{params['report'].title}: {model.strategy}",
        experiment=experiment,
        accuracy=(accuracy.mean, accuracy.low, accuracy.high, accuracy.images) if accuracy else None,
        images=catalog.load("statistics")["images"] if catalog.exists("statistics") else None,
        data_licence=dataset.licence,
        duplicates=len(across_splits(catalog.load("duplicates"))) if catalog.exists("duplicates") else None,
        without_duplicates=dataset.duplicates == "exclude",
        seen_in_pretraining=dataset.seen_in_pretraining,
    )
