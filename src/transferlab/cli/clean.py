"""`kedro transferlab clean`: what an experiment keeps on disk, and removing it.

What reads it is imported by the command: it loads pandas and SciPy, which --help need not wait for.
"""

from __future__ import annotations

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata
from rich.filesize import decimal

from transferlab.console.errors import UserError, of_the_system
from transferlab.console.terminal import say


@click.command("clean")
@env_option
@click.option("--stores", is_flag=True, help="The decoded images: the next run decodes them again.")
@click.option("--caches", is_flag=True, help="Cached outputs of frozen layers: training computes them again.")
@click.option("--all", "everything", is_flag=True, help="All of the experiment but its parameters and downloads.")
@click.option("--yes", is_flag=True, help="Remove; without it, only say what would be removed.")
@click.pass_obj
def clean(metadata: ProjectMetadata, env: str | None, stores: bool, caches: bool, everything: bool, yes: bool) -> None:
    """Say how much disk an experiment takes, and remove what is chosen. Never while one of its runs is under way."""
    from transferlab.versions.catalogue import of_experiment
    from transferlab.versions.clean import parts, remove_parts
    from transferlab.versions.table import versions_table

    chosen = {name for name, is_chosen in (("stores", stores), ("caches", caches), ("all", everything)) if is_chosen}
    if yes and not chosen:
        raise click.UsageError("say what to remove: --stores, --caches or --all")
    found = of_experiment(metadata.project_path, env)
    found_parts = parts(found, metadata.project_path / "data")
    leaving = [part for part in found_parts if part.option in chosen and (not everything or part.option == "all")]
    rows = [(f"--{part.option}", part.what, part.size, "goes" if part in leaving else "") for part in found_parts]
    size = decimal(sum(part.size for part in leaving))
    if yes:
        try:
            with found.alone():
                remove_parts(found, leaving)
        except OSError as error:
            raise UserError(of_the_system(error)) from error
    end = (
        f"Removed {size}."
        if yes
        else f"Would remove {size}; add --yes to remove it."
        if chosen
        else "Choose with --stores, --caches or --all."
    )
    say(versions_table(f"Experiment {found.experiment} on disk", ("Option", "What", "Size", ""), rows, end))
