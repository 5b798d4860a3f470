"""`kedro transferlab publish` and `fetch`: finished versions at URLs such as `s3://bucket/models`.

What does it is imported by the commands: it loads pandas and SciPy, which --help need not wait for.
"""

from __future__ import annotations

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.startup import ProjectMetadata

from transferlab.console.errors import explained
from transferlab.console.terminal import say

_version = click.option(
    "--version", metavar="VERSION", help="Which one; by default the newest finished one with a model."
)


@click.command("publish")
@click.argument("url")
@env_option
@_version
@click.pass_obj
def publish(metadata: ProjectMetadata, url: str, env: str | None, version: str | None) -> None:
    """Copy a finished version of an experiment to URL: s3://, gs://, abfs://, file:// and whatever fsspec knows.

    Checkpoints, tables, figures, report and parameters are copied, to URL/EXPERIMENT/VERSION, with a list of all files
    and their SHA-256 last. Nothing that is there is replaced.
    """
    from transferlab.versions.catalogue import of_experiment
    from transferlab.versions.publish import publish as publish_version

    with explained():
        found = of_experiment(metadata.project_path, env)
        published = publish_version(found, url, version)
    for place in published:
        say(f"Published: {place}")
    if not published:
        say("It is published already, with the same files.")


@click.command("fetch")
@click.argument("url")
@env_option
@_version
@click.pass_obj
def fetch(metadata: ProjectMetadata, url: str, env: str | None, version: str | None) -> None:
    """Copy a published version from URL into the experiment, as if it had been run here. Every file is checked."""
    from transferlab.versions.catalogue import of_experiment
    from transferlab.versions.fetch import fetch as fetch_version

    with explained():
        found = of_experiment(metadata.project_path, env)
        fetched = fetch_version(found, url, version)
    for name in fetched:
        say(f"Fetched: {found.experiment} {name}")
    if not fetched:
        say("It is here already, with the same files.")
