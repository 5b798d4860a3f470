"""`kedro transferlab predict`. What predicts is imported by the command: it loads torch, which --help need not."""

from __future__ import annotations

from pathlib import Path

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from transferlab.console.errors import explained
from transferlab.console.terminal import say

_SUFFIXES = (".csv", ".parquet")


@click.command("predict")
@click.argument("words", nargs=-1, required=True, metavar="SOURCE... [MODEL]")
@env_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions.csv"), show_default=True,
              help="The table to write, .csv or .parquet; one that is there is replaced.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(1), default=3, show_default=True, help="Classes to name for each image.")
@click.option("--ensemble/--single", default=True, show_default=True,
              help="Average all trials of the strategy, or take the first one.")  # fmt: skip
@click.pass_obj
def predict(
    metadata: ProjectMetadata, words: tuple[str, ...], env: str | None, out: Path, top_k: int, ensemble: bool
) -> None:
    """Predict the images of SOURCE: files, folders, globs, or a CSV with a column path (and maybe label).

    MODEL is recommended (the default), STRATEGY, STRATEGY@VERSION, either with /trial_1, or a checkpoint file.
    """
    if out.suffix not in _SUFFIXES:
        raise click.BadParameter(f"{out} must end in .csv or .parquet", param_hint="--out")
    if out.is_dir():
        raise click.BadParameter(f"{out} is a folder", param_hint="--out")
    sources, wanted = _split(words)
    with explained():
        _predict(metadata, sources, wanted, env, (out, top_k, ensemble))


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Tell the sources from the model: the last of several words, unless it is a file or folder to predict."""
    *sources, last = words
    is_model = sources and (last.endswith(".safetensors") or not (Path(last).exists() or "*" in last))
    return (tuple(sources), last) if is_model else (words, "recommended")


def _predict(
    metadata: ProjectMetadata, sources: tuple[str, ...], wanted: str, env: str | None, how: tuple[Path, int, bool]
) -> None:
    from transferlab.core.files.folders import sweep
    from transferlab.core.runtime.device import apply, resolve
    from transferlab.datasets.table import written_in_parts
    from transferlab.pipelines.predict.bulk import predict_all
    from transferlab.versions.catalogue import of_catalog
    from transferlab.versions.models import find_model

    out, top_k, ensemble = how
    with settings.SESSION_CLASS.create(project_path=metadata.project_path, env=env) as session:
        context = session.load_context()
        catalog, params = context.catalog, context.params
    model = find_model(wanted, of_catalog(catalog), catalog.load("experiment"), ensemble)
    say(str(model))
    machine = apply(resolve(params["training"].compute))
    sweep(out.absolute().parent)  # what a killed command has left
    with written_in_parts(out) as write:
        tally = predict_all(model.checkpoints, sources, machine, write, top_k, params["dataset"].workers)
    for line in tally.lines():
        say(line)
    say(f"Predictions: {out}")
