"""The project's commands: `kedro run`, whose user errors are one message each, and `kedro transferlab`."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli import project
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from transferlab.core.listing import LayoutError
from transferlab.core.split import SplitError
from transferlab.errors import Interrupted, UserError
from transferlab.hooks import ProjectHooks
from transferlab.new_experiment import new_experiment

# How Kedro begins its message about a name that nothing has: the rest of it says what is wrong, a traceback nothing.
_MISTYPED = ("Failed to find the pipeline", "Pipeline does not contain")


@click.group(name="transferlab")
def cli() -> None:
    """Commands of this project."""


def _run(pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
    """Kedro's `run`; `--pipeline` means `--pipelines` without a deprecation warning."""
    if pipeline and not pipelines:
        pipelines, pipeline = [pipeline], None
    try:
        return _kedro_run(pipeline=pipeline, pipelines=pipelines, **options)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped. Everything that was finished is kept.{ProjectHooks.how_to_go_on()}") from None
    except MissingConfigException as error:
        raise UserError(str(error)) from error
    except ValueError as error:
        if str(error).startswith(_MISTYPED):
            raise UserError(str(error)) from error
        raise


run = copy.copy(project.run)
_kedro_run = run.callback or _run
run.callback = functools.wraps(_kedro_run)(_run)
run.params = [
    *project.run.params,
    click.Option(
        ["--verbose"],
        is_flag=True,
        expose_value=False,
        callback=lambda _context, _option, value: setattr(UserError, "VERBOSE_ERROR", value),
        help="Show the traceback of every error.",
    ),
]
cli.add_command(run)


@cli.group(name="transferlab")
def transferlab() -> None:
    """Set up experiments of your own."""


@transferlab.command("new-experiment")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Of the environment, conf/NAME; by default made of the folder's name.")
@click.pass_obj
def new_experiment_command(metadata: ProjectMetadata, folder: Path, name: str | None) -> None:
    """Write conf/NAME/parameters.yml for FOLDER: a folder per class, or train/CLASS beside val/CLASS and test/CLASS."""
    try:
        written = new_experiment(folder, metadata.project_path / settings.CONF_SOURCE, name)
    except (LayoutError, SplitError) as error:
        raise UserError(str(error)) from error
    classes, images = written.listing["class"].nunique(), len(written.listing)
    click.echo(f"Wrote {written.file}: {classes} classes, {images} images, four strategies. Next:")
    click.echo(f"  kedro run --pipeline=data --env={written.name}      # look at the images and what cannot be used")
    click.echo(f"  kedro run --pipeline=transfer --env={written.name}  # train, compare, report")
