"""`kedro transferlab export`. What exports is imported by the command: it loads torch, which --help need not."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata
from kedro.io import DataCatalog

from transferlab.console.errors import UserError, explained
from transferlab.console.terminal import say

if TYPE_CHECKING:
    from transferlab.reporting.model_card import Background
    from transferlab.versions.models import Model


@click.command("export")
@click.argument("model", default="recommended")
@env_option
@click.option("--format", "kind", type=click.Choice(["onnx"]), default="onnx", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make; it must not exist.")
@click.option("--images", multiple=True, metavar="SOURCE",
              help="Images to compare onnxruntime with torch on; by default those of the test split.")  # fmt: skip
@click.pass_obj
def export(
    metadata: ProjectMetadata, model: str, env: str | None, kind: str, out: Path, images: tuple[str, ...]
) -> None:
    """Export MODEL for use without this project, if onnxruntime gives what torch gives.

    MODEL is recommended (the default), STRATEGY, STRATEGY@VERSION, either with /trial_1, or a checkpoint file. Of a
    strategy without /trial_N, the first trial is exported.
    """
    with explained():
        _export(metadata, model, env, out, images)


def _export(metadata: ProjectMetadata, wanted: str, env: str | None, out: Path, images: tuple[str, ...]) -> None:
    from transferlab.core.inference.export import export_onnx
    from transferlab.core.inference.sources import find_images
    from transferlab.reporting.model_card import model_card
    from transferlab.versions.catalogue import of_catalog
    from transferlab.versions.models import find_model

    with settings.SESSION_CLASS.create(project_path=metadata.project_path, env=env) as session:
        context = session.load_context()
        catalog, params = context.catalog, context.params
    model = find_model(wanted, of_catalog(catalog), catalog.load("experiment"), together=False)
    say(str(model))
    checkpoint = model.checkpoints[0]
    if images:
        files = [item.path for item in find_images(images, checkpoint.header.classes) if item.reason is None]
    else:
        files = _test_files(catalog, checkpoint.header.trial or 0, is_own=model.strategy is not None)
    background = _background(model, catalog, params)
    licences = {"licence_of_images": background.data_licence, "experiment": background.experiment}
    about = export_onnx(checkpoint, files, out, licences, partial(model_card, background=background))
    compared = about["compared_with_torch"]
    say(
        f"onnxruntime gives what torch gives on {compared['images']} images (largest difference of a probability: "
        f"{compared['largest_difference']:.1g})"
    )
    say(f"Exported: {out}")


def _test_files(catalog: DataCatalog, trial: int, is_own: bool) -> list[Path]:
    """Return the files of the test split.

    Raises:
        UserError: they are not there, or the checkpoint is a file, so that they may be another experiment's.
    """
    from transferlab.core.data.split.index import splits_of_trial

    cure = "add --images=FOLDER with images to compare onnxruntime with torch on"
    if not is_own:
        raise UserError(f"a checkpoint file has no test split: {cure}")
    if not (catalog.exists("index") and catalog.exists("extracted")):
        raise UserError(f"the test images of this experiment are not listed here: {cure}")
    index, root = catalog.load("index"), Path(catalog.load("extracted")["path"])
    return [root / path for path in index.loc[splits_of_trial(index, trial) == "test", "path"]]


def _background(model: Model, catalog: DataCatalog, params: dict[str, Any]) -> Background:
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
        seen_in_pretraining=dataset.seen_in_pretraining,
    )
