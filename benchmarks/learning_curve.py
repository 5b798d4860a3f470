"""Do learning curves predict what more labels bring? `python -m benchmarks.learning_curve --cifar10=ARCHIVE`.

Features of a frozen EfficientNet-Lite0 at 96 px are computed once; a trained head is a logistic regression on them. In
each of many experiments a random half of the training images is all that there is: nested parts of it are drawn and
trained on, tested on some test images, and the curve is fitted as `kedro run --pipeline=learning_curve` does. It
predicts what training on twice as many images gives, which is then measured on the same test images; for CIFAR-10 also
on all 10,000 where the curve has seen only 600 of them.

Writes `learning_curve.json`: errors in points, the share of experiments with an error below one, how often the 90%
intervals cover, and how often the page would have refused or said that it cannot tell.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from benchmarks import ours, result
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.schema import Dataset
from transferlab.core.data import sources
from transferlab.core.data.download import Downloads
from transferlab.core.data.listing.config import ClassFolders, Layout
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.split.training_subsets import training_subsets
from transferlab.core.data.store_builder import build
from transferlab.core.evaluation.learning_curve import Measured, curve_tables
from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.loading.images import Images, Split
from transferlab.core.models import factory, freezing
from transferlab.core.strategies.strategy import Strategy
from transferlab.reporting.learning_curve import sentence

Floats = NDArray[np.float64]
DRAWS, HALVINGS, COMPONENTS = 3, 4, 256
CURVE_TEST, CIFAR_TRAIN = 600, 4096


class Pool:
    """Images as features, x_NF and y_N, divided into those to train on and those to test on."""

    def __init__(self, x_NF: Floats, y_N: NDArray[np.int64], is_test_N: NDArray[np.bool_] | None) -> None:
        self.x_NF, self.y_N, self.is_test_N = (
            PCA(min(COMPONENTS, len(x_NF)), random_state=0).fit_transform(x_NF),
            y_N,
            is_test_N,
        )

    def sides(self, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return rows to train on and to test on: a random quarter where the data do not say."""
        rows = np.arange(len(self.y_N))
        if self.is_test_N is not None:
            return rows[~self.is_test_N], rows[self.is_test_N]
        train, test = train_test_split(rows, test_size=0.25, stratify=self.y_N, random_state=seed)
        return train, test

    def hits(self, train: NDArray[np.intp], test: NDArray[np.intp]) -> Floats:
        """Train a head; return which test images it gets right."""
        scale = self.x_NF[train].std()
        head = LogisticRegression(C=0.03, max_iter=300).fit(self.x_NF[train] / scale, self.y_N[train])
        right: Floats = (head.predict(self.x_NF[test] / scale) == self.y_N[test]).astype(float)
        return right


class Trained(NamedTuple):
    """What trainings on parts of half of the labels, on this half, and on all labels got right of all test images."""

    sizes: list[int]
    hits_KDN: Floats
    doubled_N: Floats


def trained(pool: Pool, seed: int) -> Trained:
    """Train on nested parts of a random half of the labels, and on all of them."""
    train, test = pool.sides(seed)
    half, _ = train_test_split(train, train_size=(len(train) + 1) // 2, stratify=pool.y_N[train], random_state=seed)
    index = pd.DataFrame({"path": half.astype(str), "class": pool.y_N[half].astype(str), "split": "train"})
    subsets = training_subsets(index.assign(stratify="", group=""), DRAWS, HALVINGS, seed)
    sizes = sorted(subsets["asked"].unique())
    parts = {key: own["path"].to_numpy().astype(int) for key, own in subsets.groupby(["asked", "draw"])}
    whole = pool.hits(half, test)  # the largest part is the same in each draw
    hits_KDN = [
        [whole if size == len(half) else pool.hits(parts[size, draw], test) for draw in range(DRAWS)] for size in sizes
    ]
    return Trained(sizes, np.array(hits_KDN), pool.hits(train, test))


def judged(found: Trained, seen: NDArray[np.intp]) -> dict[str, Any]:
    """Fit a curve to what some test images show, and hold it against what all of them show of twice the labels."""
    hits_KDN = found.hits_KDN[..., seen]
    measured = Measured("head", "accuracy", np.array(found.sizes, dtype=float), hits_KDN, len(seen))
    fit = curve_tables([measured]).fits.iloc[0]
    if fit["refused"]:
        return {"refused": fit["refused"]}
    doubled, now = found.doubled_N.mean(), found.hits_KDN[-1, 0].mean()
    return {
        "error": 100 * (fit["doubled"] - doubled),
        "covered": bool(fit["doubled_low"] <= doubled <= fit["doubled_high"]),
        "gain": 100 * (doubled - now),
        "gain_error": 100 * (fit["gain"] - (doubled - now)),
        "gain_covered": bool(fit["gain_low"] <= doubled - now <= fit["gain_high"]),
        "half_width": 50 * (fit["doubled_high"] - fit["doubled_low"]),
        "gain_half_width": 50 * (fit["gain_high"] - fit["gain_low"]),
        "cannot_tell": "cannot tell" in sentence(fit),
    }


def experiments(name: str, pool: Pool, seen: int | None, count: int) -> dict[str, dict[str, Any]]:
    """Summarise experiments on one data set: with all test images seen and, if asked for, with some of them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for seed in range(count):
        of_all = trained(pool, seed)
        test = np.arange(len(of_all.doubled_N))
        found.setdefault(name, []).append(judged(of_all, test))
        if seen is not None:
            some = np.random.default_rng(seed).choice(test, seen, replace=False)
            found.setdefault(f"{name}, {seen} test images seen", []).append(judged(of_all, some))
    return {key: summary(each) for key, each in found.items()}


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Summarise the experiments on one data set."""
    fitted = pd.DataFrame([each for each in found if "refused" not in each])
    if fitted.empty:
        return {"experiments": len(found), "refused": 1.0}
    return {
        "experiments": len(found),
        "refused": 1 - len(fitted) / len(found),
        "mean absolute error": fitted["error"].abs().mean(),
        "error of the mean": fitted["error"].mean(),
        "error below 1 point": (fitted["error"].abs() < 1).mean(),
        "90% interval covers": fitted["covered"].mean(),
        "half-width": fitted["half_width"].mean(),
        "gain": fitted["gain"].mean(),
        "mean absolute error of the gain": fitted["gain_error"].abs().mean(),
        "gain's error below 1 point": (fitted["gain_error"].abs() < 1).mean(),
        "90% interval of the gain covers": fitted["gain_covered"].mean(),
        "gain's half-width": fitted["gain_half_width"].mean(),
        "says that it cannot tell": fitted["cannot_tell"].mean(),
    }


def pools(wanted: argparse.Namespace, folder: Path) -> Iterator[tuple[str, Pool, int | None]]:
    """Yield each data set as features, and how few of its test images a curve may see besides all (None: no fewer)."""
    loader = ExperimentConfigLoader(
        conf_source=str(Path(__file__).parents[1] / "conf"), env="solar_cells", base_env="base",
        default_run_env="solar_cells",
    )  # fmt: skip
    frozen, dataset = loader.experiment.strategies["feature_extraction"], loader.experiment.dataset
    yield "solar_cells", _pool(_package(dataset, folder), dataset.layout, frozen, folder / "solar_cells"), None
    for name, archive, limit in (
        ("hymenoptera", wanted.hymenoptera, None),
        ("cifar10", wanted.cifar10, CIFAR_TRAIN),
    ):
        if archive:
            pool = _pool(ours.unpacked(archive, folder / name), ClassFolders(), frozen, folder / name, limit)
            yield name, pool, CURVE_TEST if limit else None


def _package(dataset: Dataset, folder: Path) -> Path:
    found = sources.acquire(dataset.source, Downloads(folder))
    return found.path / (found.subfolder or ".")


def _pool(root: Path, layout: Layout, strategy: Strategy, folder: Path, limit: int | None = None) -> Pool:
    """Decode images and run the frozen layers on them; of training images `limit` are taken, in equal parts."""
    listing, _ = list_images(root, layout)
    if limit:
        train = listing[listing["split"] == "train"]
        used = train.groupby("class").sample(limit // train["class"].nunique() + 1, random_state=0).head(limit)
        listing = pd.concat([used, listing[listing["split"] != "train"]], ignore_index=True)
    stored_as = factory.view_of(strategy.model, strategy.input, None).stored_as
    with ours.main_module_left_out():
        stores, accepted, _ = build(root, listing, [stored_as], folder / "stores")
    machine, classes = ours.machine(), sorted(accepted["class"].unique())
    initial = factory.initial(strategy.model, strategy.input, classes, {"mean": [0.5] * 3, "std": [0.25] * 3}, 0)
    network = factory.load(initial, machine)
    freezing.apply(network, "head", initial.header.head)
    y_N, (store,) = accepted["class"].map(classes.index).to_numpy(dtype=np.int64), stores.values()
    split = Split("all", store, store.rows_of(accepted["pixel_sha256"]), y_N)
    cache = FeatureCache(folder / "features", FeatureCacheConfig())
    kept = features.on_features(network, [Images(split, initial.header.view, machine)], strategy.model, cache)
    assert kept is not None
    is_test_N = (accepted["split"] != "train").to_numpy() if (accepted["split"] != "").any() else None
    return Pool(torch.flatten(kept.sources[0].views[0], 1).numpy().astype(float), y_N, is_test_N)


def table(report: dict[str, Any]) -> result.Table:
    """Make a table with a row for each data set."""
    shares = ("error below 1 point", "90% interval covers", "gain's error below 1 point",
              "90% interval of the gain covers", "says that it cannot tell")  # fmt: skip
    points = ("mean absolute error", "half-width", "gain")
    rows = [
        [
            name,
            *(f"{found.get(key, float('nan')):.2f}" for key in points),
            *(result.percent(found.get(key)) for key in shares),
        ]
        for name, found in report["data"].items()
    ]
    return result.Table("Learning curves, fitted to half of the labels", ["data", *points, *shares], rows,
                        result.made_on(report))  # fmt: skip


def main() -> None:
    """Predict, measure, and write `learning_curve.json`."""
    parser = result.options(__doc__.partition("?")[0])
    parser.add_argument("--cifar10", type=Path, help="archive or folder of train/<class> and test/<class>")
    parser.add_argument("--hymenoptera", type=Path, help="archive or folder of train/<class> and val/<class>")
    parser.add_argument("--experiments", type=int, default=200)
    wanted = result.parse(parser, experiments=3)
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, pool, curve_test in pools(wanted, Path(folder)):
            found |= experiments(name, pool, curve_test, wanted.experiments)
            print(name, found, flush=True)
    table(result.write("learning_curve", wanted, {"draws": DRAWS, "halvings": HALVINGS, "data": found})).show()


if __name__ == "__main__":
    main()
