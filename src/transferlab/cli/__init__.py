"""The project's commands: `kedro run` and `kedro transferlab`, each in a module of its own.

Kedro finds `cli` here. Nothing imports this package but Kedro and `__main__`.
"""

from __future__ import annotations

import click

from transferlab.cli.backbones import backbones
from transferlab.cli.clean import clean
from transferlab.cli.experiments import new_experiment
from transferlab.cli.export import export
from transferlab.cli.predict import predict
from transferlab.cli.publish import fetch, publish
from transferlab.cli.run import run
from transferlab.cli.try_it import try_it
from transferlab.cli.versions import prune, versions


@click.group(name="transferlab")
def cli() -> None:
    """Commands of this project."""


@cli.group(name="transferlab")
def transferlab() -> None:
    """Set up experiments of your own, use their networks, and look after what their runs have saved."""


for _command in (new_experiment, backbones, predict, export, try_it, versions, prune, clean, publish, fetch):
    transferlab.add_command(_command)
cli.add_command(run)

__all__ = ["cli", "run"]
