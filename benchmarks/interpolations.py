"""What does another interpolation than the network's own cost? `python -m benchmarks.interpolations`.

Images are stored once for each resize. Strategies with one interpolation share them, but most pretrained networks have
seen images resized as one of two, and one from scratch may take either. Each strategy is trained on the training images
of an experiment, resized as its network asks for and the other way, in paired trials on repeated folds. The test images
are never read.

Writes `interpolations.json`.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from sklearn.model_selection import RepeatedStratifiedKFold

from benchmarks import result
from benchmarks.ingredients import FOLDS, PLAIN, experiment, table, training_images, trial
from transferlab.core.models import factory
from transferlab.core.strategies.strategy import Strategy

OTHER = {"bilinear": "bicubic", "bicubic": "bilinear"}
Figures = list[dict[str, float]]


def recipes(plain: Strategy) -> dict[str, Strategy]:
    """Return a strategy as it is, and with the other interpolation."""
    other = OTHER[factory.view_of(plain.model, plain.input, None).interpolation]
    return {PLAIN: plain, f"{other} in its place": replace(plain, input=replace(plain.input, interpolation=other))}


def measured(wanted: Namespace, folder: Path) -> dict[str, dict[str, Figures]]:
    """Return the figures of every trial, by strategy and recipe."""
    found, asked = experiment(wanted.experiment), Namespace(data=None, rare=None, images=wanted.images)
    of_strategies: dict[str, dict[str, Figures]] = {}
    for name in wanted.strategies:
        plain = found.strategies[name]
        if wanted.epochs is not None:
            plain = replace(plain, stages={key: replace(s, epochs=wanted.epochs) for key, s in plain.stages.items()})
        of_strategies[name] = {}
        for recipe, strategy in recipes(plain).items():
            images = training_images(found, strategy, folder / name / recipe, asked)
            cutter = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=-(-wanted.trials // FOLDS), random_state=0)
            folds = list(cutter.split(images.rows, images.labels))[: wanted.trials]
            of_strategies[name][recipe] = [trial(strategy, images, t, fold, folder) for t, fold in enumerate(folds)]
    return of_strategies


def main() -> None:
    """Measure strategies with both interpolations."""
    parser = result.options(__doc__.partition("?")[0])
    parser.add_argument("strategies", nargs="*", default=["feature_extraction"])
    parser.add_argument("--experiment", default="solar_cells", help="of conf/")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, help="of each stage; by default those of the experiment")
    parser.add_argument("--images", type=int, help="training images; by default all")
    wanted = result.parse(parser, trials=2, epochs=1, images=60)
    with tempfile.TemporaryDirectory() as folder:
        report = result.write("interpolations", wanted, {"strategies": measured(wanted, Path(folder))})
    for name, of_recipes in report["strategies"].items():
        table(f"{wanted.experiment}, {name}", of_recipes, result.made_on(report)).show()


if __name__ == "__main__":
    main()
