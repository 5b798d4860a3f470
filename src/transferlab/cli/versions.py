"""`kedro transferlab versions` and `prune`: the versions that runs have saved, and which of them may go.

What reads them is imported by the commands: it loads pandas and SciPy, which --help need not wait for.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata
from rich.filesize import decimal

from transferlab.console.errors import UserError, of_the_system
from transferlab.console.terminal import say

if TYPE_CHECKING:
    from transferlab.versions.catalogue import Versions
    from transferlab.versions.prune import Rules

# A day, a time, or a version.
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H.%M.%S.%fZ"]
_TITLE = "Versions, newest first"
_CAPTION = (
    "mean [95% t interval over trials]. evaluated: on checkpoints of an earlier version. stale: there are no metrics "
    "of its checkpoints. unfinished: the run has failed or was stopped."
)


@click.command("versions")
@env_option
@click.pass_obj
def versions(metadata: ProjectMetadata, env: str | None) -> None:
    """List the versions that runs have saved: pipelines, test result by report.metric, size, state."""
    from transferlab.reporting.wording import capital, title
    from transferlab.versions.catalogue import of_experiment, size_on_disk
    from transferlab.versions.table import versions_table

    found = of_experiment(metadata.project_path, env)
    rows = found.rows()
    images, caches = (decimal(size_on_disk(path)) if path else "" for path in (found.image_folder, found.feature_cache))
    reached = f"test {title(found.metric)}"
    columns = ("Version, strategies", f"Made by, {reached}", "Size", "State")
    beside = f"Beside them: decoded images {images}, cached outputs of frozen layers {caches}."
    caption = f"{capital(reached)}: {_CAPTION} {beside}"
    say(versions_table(_TITLE, columns, rows, caption) if rows else "No versions yet.")


@click.command("prune")
@env_option
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Keep the newest N versions.")
@click.option("--keep-best", type=click.IntRange(1), metavar="N", help="Keep each strategy's best N by report.metric.")
@click.option("--since", type=click.DateTime(_DATES), metavar="DATE", help="Keep versions from DATE (UTC) on.")
@click.option("--yes", is_flag=True, help="Remove; without it, only say what would be removed.")
@click.pass_obj
def prune(
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
    from transferlab.versions.catalogue import of_experiment
    from transferlab.versions.prune import Rules

    found = of_experiment(metadata.project_path, env)
    with found.alone():
        _prune(found, Rules(keep, keep_best, since), yes)


def _prune(found: Versions, rules: Rules, yes: bool) -> None:
    from transferlab.versions.prune import remove_versions, staying
    from transferlab.versions.table import versions_table

    stay = staying(found, rules)
    sizes = {version: found.size(version) for version in found.folders}
    rows = [(version, size, stay.get(version, "goes")) for version, size in sizes.items()]
    leaving = {version: size for version, size in sizes.items() if version not in stay}
    try:
        if yes:
            remove_versions(found, leaving)
    except OSError as error:
        raise UserError(of_the_system(error)) from error
    told = f"{len(leaving)} of {len(rows)} versions, {decimal(sum(leaving.values()))}"
    end = f"Removed {told}." if yes else f"Would remove {told}; add --yes to remove them."
    say(versions_table(_TITLE, ("Version", "Size", "Stays as"), rows, end))
