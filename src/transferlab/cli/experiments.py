"""`kedro transferlab new-experiment`."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from transferlab.console.commands import command
from transferlab.console.errors import explained
from transferlab.console.terminal import console

_NEXT = {"data": "look at the images and what cannot be used", "transfer": "train, compare, report"}


@click.command("new-experiment")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", help="Of the environment, conf/NAME; by default made of the folder's name.")
@click.pass_obj
def new_experiment(metadata: ProjectMetadata, folder: Path, name: str | None) -> None:
    """Write conf/NAME/parameters.yml for FOLDER: a folder per class, or train/CLASS beside val/CLASS and test/CLASS."""
    from transferlab.scaffold import new_experiment as scaffold  # it loads Pillow and pandas, which --help need not

    with explained():
        written = scaffold.new_experiment(folder, metadata.project_path / settings.CONF_SOURCE, name, tell=_tell)
    classes, images = written.listing["class"].nunique(), len(written.listing)
    click.echo(f"Wrote {written.file}: {classes} classes, {images} images, four strategies. Next:")
    for pipeline, purpose in _NEXT.items():
        click.echo(f"  # {purpose}\n  {command('run', f'--pipeline={pipeline}', f'--env={written.name}')}")


def _tell(line: str) -> None:
    click.echo(click.wrap_text(line, console.width))
