"""The project's commands: `kedro run`, whose user errors are one message each, and `kedro transferlab`."""

from __future__ import annotations

import copy
import functools
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli import project
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata
from rich.filesize import decimal

from transferlab.console.errors import Interrupted, Terminated, UserError, of_the_system
from transferlab.console.terminal import console
from transferlab.core.data.listing.table import LayoutError
from transferlab.core.data.split import SplitError
from transferlab.core.runtime import interrupt
from transferlab.hooks.run import ProjectHooks
from transferlab.scaffold.new_experiment import new_experiment
from transferlab.versions.catalogue import of_experiment
from transferlab.versions.prune import Rules, remove_versions, staying
from transferlab.versions.table import versions_table

# How Kedro begins its message about a name that nothing has: the rest of it says what is wrong, a traceback nothing.
_MISTYPED = ("Failed to find the pipeline", "Pipeline does not contain")
# A day, a time, or a version.
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H.%M.%S.%fZ"]

_CAPTION = (
    "Test accuracy: mean [95% t interval over trials]. evaluated: on checkpoints of an earlier version. stale: there "
    "are no metrics of its checkpoints. unfinished: the run has failed or was stopped."
)


@click.group(name="transferlab")
def cli() -> None:
    """Commands of this project."""


def _run(pipeline: str | None, pipelines: list[str], **options: Any) -> Any:
    """Kedro's `run`; `--pipeline` means `--pipelines` without a deprecation warning."""
    if pipeline and not pipelines:
        pipelines, pipeline = [pipeline], None
    try:
        with interrupt.stoppable():
            return _kedro_run(pipeline=pipeline, pipelines=pipelines, **options)
    except KeyboardInterrupt as error:
        kind, by = (Terminated, " by SIGTERM") if isinstance(error, interrupt.Terminated) else (Interrupted, "")
        raise kind(f"stopped{by}. Everything that was finished is kept.{ProjectHooks.how_to_go_on()}") from None
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
    """Set up experiments of your own, and look after what their runs have saved."""


@transferlab.command("new-experiment")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Of the environment, conf/NAME; by default made of the folder's name.")
@click.pass_obj
def new_experiment_command(metadata: ProjectMetadata, folder: Path, name: str | None) -> None:
    """Write conf/NAME/parameters.yml for FOLDER: a folder per class, or train/CLASS beside val/CLASS and test/CLASS."""
    try:
        written = new_experiment(folder, metadata.project_path / settings.CONF_SOURCE, name, tell=click.echo)
    except (LayoutError, SplitError) as error:
        raise UserError(str(error)) from error
    classes, images = written.listing["class"].nunique(), len(written.listing)
    click.echo(f"Wrote {written.file}: {classes} classes, {images} images, four strategies. Next:")
    click.echo(f"  kedro run --pipeline=data --env={written.name}      # look at the images and what cannot be used")
    click.echo(f"  kedro run --pipeline=transfer --env={written.name}  # train, compare, report")


@transferlab.command("versions")
@env_option
@click.pass_obj
def versions_command(metadata: ProjectMetadata, env: str | None) -> None:
    """List the versions that runs have saved: pipelines, test accuracy, size on disk, state."""
    rows = of_experiment(metadata.project_path, env).rows()
    columns = ("Version, strategies", "Made by, test accuracy", "Size", "State")
    console.print(versions_table("Versions, newest first", columns, rows, _CAPTION) if rows else "No versions yet.")


@transferlab.command("prune")
@env_option
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep the newest N versions.")
@click.option("--keep-best", type=click.IntRange(1), metavar="N", help="Of each strategy, keep the N most accurate.")
@click.option("--since", type=click.DateTime(_DATES), metavar="DATE", help="Keep versions from DATE (UTC) on.")
@click.option("--yes", is_flag=True, help="Remove; without it, only say what would be removed.")
@click.pass_obj
def prune_command(
    metadata: ProjectMetadata,
    env: str | None,
    keep: int | None,
    keep_best: int | None,
    since: datetime | None,
    yes: bool,
) -> None:
    """Remove old versions: those that no rule keeps and nothing needs.

    What any rule keeps stays. Whatever the rules say these stay: the newest of every dataset, what a run under way
    saves or reads, and what the metrics of a version that stays refer to.
    """
    if not (keep or keep_best or since):
        raise click.UsageError("say what to keep: --keep N, --keep-best N or --since DATE, or several of them")
    versions = of_experiment(metadata.project_path, env)
    stay = staying(versions, Rules(keep, keep_best, since))
    sizes = {version: versions.size(version) for version in versions.folders}
    rows = [(version, size, stay.get(version, "goes")) for version, size in sizes.items()]
    leaving = {version: size for version, size in sizes.items() if version not in stay}
    try:
        if yes:
            remove_versions(versions, leaving)
    except OSError as error:
        raise UserError(of_the_system(error)) from error
    told = f"{len(leaving)} of {len(rows)} versions, {decimal(sum(leaving.values()))}"
    end = f"Removed {told}." if yes else f"Would remove {told}; add --yes to remove them."
    console.print(versions_table("Versions, newest first", ("Version", "Size", "Stays as"), rows, end))
