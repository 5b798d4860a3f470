"""Is a class that training never saw called unfamiliar? `python -m benchmarks.held_out_classes --data cifar10.tar.xz`.

Frozen EfficientNet-Lite0 looks at photographs of CIFAR-10's JPEG copies. Each class is held out in turn: the training
images are those of the nine others, of which as many are kept as an evaluation keeps; known are the test images of the
nine, strangers those of the tenth. These strangers are near: photographs of the same kind and size. No head is trained,
since what frozen layers see does not depend on it.

Writes `held_out_classes.json`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks import ours, recipes, result
from benchmarks.predict import checkpoint_of, some
from transferlab.core.calibration.familiarity import distance, neighbors_among
from transferlab.core.evaluation.held_out import MOST_TRAINING, spread
from transferlab.core.inference.predict import predict_files

PARTS = {"train": 2, "test": 1}  # shares of the images


def features(root: Path, size: int, count: int) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Return what a head on frozen layers is given for so many images, and their classes."""
    files = sorted(root.glob("*/*"))
    chosen = some(pd.DataFrame({"class": [file.parent.name for file in files], "file": files}), count)
    (strategy,) = recipes.heads(size, 1)
    checkpoint = checkpoint_of(strategy, sorted(set(chosen["class"])))
    found = predict_files([checkpoint], chosen["file"], ours.machine(), workers=0)
    return np.stack([one.features[0][-1] for one in found]), chosen["class"].to_numpy(dtype=str)


def held_out(
    name: str,
    train: tuple[NDArray[np.float32], NDArray[np.str_]],
    test: tuple[NDArray[np.float32], NDArray[np.str_]],
) -> dict[str, Any]:
    """Measure one class."""
    (train_MF, class_M), (test_NF, class_N) = train, test
    others_MF, labels_M = train_MF[class_M != name], np.unique(class_M[class_M != name], return_inverse=True)[1]
    distance_N = distance(neighbors_among(others_MF[spread(labels_M, MOST_TRAINING)]), test_NF)
    is_strange_N = class_N == name
    return {
        "class": name,
        "known": int((~is_strange_N).sum()),
        "strangers": int(is_strange_N.sum()),
        "auroc": float(roc_auc_score(is_strange_N, distance_N)),
        "fpr95": float((distance_N[is_strange_N] <= np.quantile(distance_N[~is_strange_N], 0.95)).mean()),
    }


def table(report: dict[str, Any]) -> result.Table:
    """Make a row for each class, and one of the means."""
    rows = [[one["class"], f"{one['auroc']:.3f}", result.percent(one["fpr95"])] for one in report["classes"]]
    means = (np.mean([one[key] for one in report["classes"]]) for key in ("auroc", "fpr95"))
    auroc, fpr95 = map(float, means)
    columns = ["class held out", "AUROC", "strangers that pass where 95% of the known do"]
    rows.append(["mean", f"{auroc:.3f}", result.percent(fpr95)])
    return result.Table("A class that training never saw", columns, rows, result.made_on(report))


def main() -> None:
    """Measure every class."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    text = "folder or archive with train/<class> and test/<class>"
    parser.add_argument("--data", type=Path, required=True, help=text)
    parser.add_argument("--images", type=int, default=6_000)
    parser.add_argument("--size", type=int, default=224, help="px that the network sees")
    wanted = result.parse(parser, images=60, size=64)
    with tempfile.TemporaryDirectory() as folder:
        root = ours.unpacked(wanted.data, Path(folder))
        shares = {part: wanted.images * share // sum(PARTS.values()) for part, share in PARTS.items()}
        train, test = (features(root / part, wanted.size, count) for part, count in shares.items())
    classes = [held_out(name, train, test) for name in sorted(set(test[1]))]
    table(result.write("held_out_classes", wanted, {"classes": classes})).show()


if __name__ == "__main__":
    main()
