"""`kedro transferlab predict`. What predicts is imported by the command: it loads torch, which --help need not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from kedro.framework.cli.utils import env_option
from kedro.framework.project import settings
from kedro.framework.startup import ProjectMetadata

from transferlab.console.errors import Interrupted, explained
from transferlab.console.terminal import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferlab.core.calibration.conformal import Method
    from transferlab.core.data.decoding.levels import Levels
    from transferlab.pipelines.predict.tally import Tally

_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True)
class Options:
    """The options of the command. Those that are None are as the experiment's `predict` has them."""

    out: Path
    top_k: int | None
    ensemble: bool
    level: float | None
    sets: Method | None
    page: bool


@click.command("predict")
@click.argument("words", nargs=-1, required=True, metavar="SOURCE... [MODEL]")
@env_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions.csv"), show_default=True,
              help="The table to write, .csv or .parquet; one that is there is replaced.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(1), help="Classes to name for each image.  [default: predict.top_k]")
@click.option("--ensemble/--single", default=True, show_default=True,
              help="Average all trials of the strategy, or take the first one.")  # fmt: skip
@click.option("--level", type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Probability of a prediction set to hold the true class.  [default: predict.level]")  # fmt: skip
@click.option("--sets", type=click.Choice(["lac", "raps"]),
              help="Smallest sets, or larger ones for difficult images.  [default: predict.sets]")  # fmt: skip
@click.option("--page/--no-page", default=True, show_default=True,
              help="Write a page and a contact sheet of the least sure images beside the table.")  # fmt: skip
@click.pass_obj
def predict(metadata: ProjectMetadata, /, words: tuple[str, ...], env: str | None, **options: object) -> None:
    """Predict the images of SOURCE: files, folders, globs, or a CSV with a column path (and maybe label).

    MODEL is recommended (the default), STRATEGY, STRATEGY@VERSION, either with /trial_1, a checkpoint file, or the URL
    of a published version, maybe with /STRATEGY.
    A command that was stopped goes on when it is given again.
    """
    chosen = Options(**options)  # type: ignore[arg-type]  # click has checked them
    if chosen.out.suffix not in _SUFFIXES:
        raise click.BadParameter(f"{chosen.out} must end in .csv or .parquet", param_hint="--out")
    if chosen.out.is_dir():
        raise click.BadParameter(f"{chosen.out} is a folder", param_hint="--out")
    sources, wanted = _split(words)
    with explained():
        _predict(metadata, sources, wanted, env, chosen)


def _split(words: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Tell the sources from the model: the last of several words, unless it is a file or folder to predict."""
    *sources, last = words
    is_model = sources and (last.endswith(".safetensors") or not (Path(last).exists() or "*" in last))
    return (tuple(sources), last) if is_model else (words, "recommended")


def _predict(
    metadata: ProjectMetadata, sources: tuple[str, ...], wanted: str, env: str | None, options: Options
) -> None:
    from transferlab.core.files.folders import remove, sweep
    from transferlab.core.runtime.device import apply, resolve
    from transferlab.datasets.table import written_in_parts
    from transferlab.pipelines.predict.bulk import Request, predict_all
    from transferlab.versions.calibration import calibration_of
    from transferlab.versions.catalogue import of_catalog
    from transferlab.versions.models import find_model, pixels_trained_on

    with settings.SESSION_CLASS.create(project_path=metadata.project_path, env=env) as session:
        context = session.load_context()
        catalog, params = context.catalog, context.params
    versions, configured, out = of_catalog(catalog), params["predict"], options.out
    model = find_model(wanted, versions, catalog.load("experiment"), options.ensemble)
    say(str(model))
    calibration = calibration_of(model, versions, options.level or configured.level, options.sets or configured.sets)
    say(calibration.told)
    machine, workers = apply(resolve(params["training"].compute)), params["dataset"].workers
    request = Request(
        model.checkpoints,
        sources,
        machine,
        calibration.calibrated,
        options.top_k or configured.top_k,
        workers,
        pixels_trained_on(model, versions),
    )
    parts = out.absolute().parent / f".{out.name}.parts"
    sweep(parts.parent)  # what a killed command has left
    try:
        with written_in_parts(out) as write:
            tally = predict_all(request, parts, write, say)
    except KeyboardInterrupt:
        raise Interrupted("stopped; the same command goes on where it was.") from None
    remove(parts)
    if options.page:
        _show(tally, params["report"].title, [str(model), calibration.told], out, model.checkpoints[0].header.levels)
    for line in tally.lines():
        say(line)
    say(f"Predictions: {out}")


def _show(tally: Tally, title: str, sentences: Sequence[str], out: Path, levels: Levels | None) -> None:
    """Write the page and the contact sheet beside the table, under its name."""
    from transferlab.core.files.atomic import whole_file
    from transferlab.pipelines.predict import pictures

    page = pictures.page(tally, title, sentences, out, levels)
    sheet = pictures.contact_sheet(tally.least_sure, tally.found - tally.refused, levels)
    with whole_file(out.with_suffix(".html")) as file:
        file.write(page.encode())
    with whole_file(out.with_suffix(".png")) as file:
        sheet.savefig(file, format="png")
    say(f"Page: {out.with_suffix('.html')}; contact sheet: {out.with_suffix('.png')}")
