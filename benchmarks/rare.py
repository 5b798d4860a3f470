"""What do class weights and balanced sampling do where a class is rare? `python -m benchmarks.rare`.

Of all photographs of solar cells, apart from the test images, defective ones are thinned to 5%. Each recipe is trained
without a fold and measured on it, in paired trials on repeated folds, at the thinned proportion. Calibration stands
beside: `said` is the mean probability that a photograph shows a defective cell, which should be the share that does.

Writes `rare.json`.
"""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold

from benchmarks import result
from benchmarks.ingredients import FOLDS, PLAIN, experiment, predicted, training_images
from transferlab.core.evaluation.intervals import over_trials
from transferlab.core.metrics import scores
from transferlab.core.strategies.strategy import Strategy

EXPERIMENT, RARE, SHARE = "solar_cells", "defective", 0.05
CHANGES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "class_weights: balanced": {"class_weights": "balanced"},
    "sampler: balanced": {"sampler": "balanced"},
}
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "recall", "precision", "log_loss", "ece", "said")


def recipes(plain: Strategy) -> Iterator[tuple[str, Strategy]]:
    """Yield the strategy as it is, and with each way to weigh classes in all of its stages."""
    for name, changes in CHANGES.items():
        yield name, replace(plain, stages={key: replace(stage, **changes) for key, stage in plain.stages.items()})


def figures(p_NK: np.ndarray, label_N: np.ndarray, rare: int) -> dict[str, float]:
    """Measure the predictions of a fold, and those of the rare class by themselves."""
    said_N, is_rare_N = p_NK.argmax(axis=1) == rare, label_N == rare
    found = float((said_N & is_rare_N).sum())
    return {
        **scores(p_NK, label_N),
        "recall": found / is_rare_N.sum(),
        "precision": found / max(said_N.sum(), 1),
        "said": float(p_NK[:, rare].mean()),
    }


def measured(wanted: Namespace, folder: Path) -> dict[str, Any]:
    """Return the figures of every trial of every recipe, by strategy, and how many images there were."""
    found = experiment(EXPERIMENT)
    split = replace(found.dataset.split, limit=None)
    every = found.model_copy(update={"dataset": found.dataset.model_copy(update={"split": split})})
    asked = Namespace(data=None, rare=(RARE, SHARE), images=wanted.images)
    of_strategies: dict[str, dict[str, list[dict[str, float]]]] = {}
    for name in wanted.strategies:
        plain = found.strategies[name]
        if wanted.epochs is not None:
            plain = replace(plain, stages={key: replace(s, epochs=wanted.epochs) for key, s in plain.stages.items()})
        images = training_images(every, plain, folder / name, asked)
        rare = images.classes.index(RARE)
        cutter = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=-(-wanted.trials // FOLDS), random_state=0)
        folds = list(cutter.split(images.rows, images.labels))[: wanted.trials]
        of_strategies[name] = {}
        for recipe, strategy in recipes(plain):
            trials = (predicted(strategy, images, t, fold, folder / name) for t, fold in enumerate(folds))
            of_strategies[name][recipe] = [{**figures(p_NK, y_N, rare), "seconds": took} for p_NK, y_N, took in trials]
            print(name, recipe, pd.DataFrame(of_strategies[name][recipe]).mean().round(3).to_dict(), flush=True)
    return {
        "images": len(images.labels),
        "rare": int((images.labels == rare).sum()),
        "strategies": of_strategies,
    }


def tables(report: dict[str, Any]) -> Iterator[result.Table]:
    """Make a table for each strategy: means over trials, with paired intervals against the plain recipe."""
    for strategy, of_recipes in report["strategies"].items():
        plain, rows = pd.DataFrame(of_recipes[PLAIN]), []
        for recipe, trials in of_recipes.items():
            own = pd.DataFrame(trials)
            apart = None if recipe == PLAIN else own - plain
            rows.append([recipe, *(_cell(own, apart, name) for name in FIGURES)])
        title = f"{strategy}: {report['rare']} defective of {report['images']:,} solar cells"
        yield result.Table(title, ["recipe", *FIGURES], rows, result.made_on(report))


def _cell(own: pd.DataFrame, apart: pd.DataFrame | None, name: str) -> str:
    """Write a mean and the interval of its paired difference, corrected for folds that share training images."""
    if apart is None:
        return f"{own[name].mean():.3f}"
    low, high = over_trials(apart[name].to_numpy(), test_to_train=1 / (FOLDS - 1))
    return f"{own[name].mean():.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    """Measure both ways to weigh classes beside none."""
    parser = result.options(__doc__.partition("?")[0])
    parser.add_argument("strategies", nargs="*", default=["feature_extraction"], help="of the experiment solar_cells")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--epochs", type=int, help="of each stage; by default those of the experiment")
    parser.add_argument("--images", type=int, help="training images; by default all")
    wanted = result.parse(parser, trials=2, epochs=1, images=400)
    with tempfile.TemporaryDirectory() as folder:
        report = result.write("rare", wanted, measured(wanted, Path(folder)))
    for table in tables(report):
        table.show()


if __name__ == "__main__":
    main()
