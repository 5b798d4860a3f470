"""Tables as a run would store them, computed from simulated predictions of known quality."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulated_training import simulate_cost, simulate_history, simulate_steps

from transferlab.core.evaluation import comparison
from transferlab.core.evaluation.contributions import Outcomes
from transferlab.reporting.page.mistakes import mistakes

CLASSES = [
    "Australian terrier",
    "大熊猫",
    "<script>alert(1)</script>",
    "Müller & Söhne",
    "$\\frac{1}{0}$",
    "golden_retriever",
    "quote \" and ' quote",
    "Ελληνικά",
    "a name that is much longer than any label in a figure can ever be",
    "line\nbreak",
]
STRATEGIES = {"scratch": 0.62, "feature_extraction": 0.88, "fine_tuning": 0.93, "staged_unfreezing": 0.935}
SELECTION, RUN_ID = "best validation accuracy", "2026-11-20T10.00.00.000Z"


@pytest.fixture(scope="session")
def make_example() -> Callable[..., SimpleNamespace]:
    return build_example


@pytest.fixture(scope="session")
def example() -> SimpleNamespace:
    return build_example()


def build_example(
    classes: Sequence[str] = CLASSES, strategies: dict[str, float] = STRATEGIES, trials: int = 3, per_class: int = 12
) -> SimpleNamespace:
    """Every table of a run; `strategies` maps a name to how often it is right."""
    rng = np.random.default_rng(0)
    predictions = _predictions(rng, list(classes), strategies, trials, per_class)
    metrics = _metrics(predictions)
    outcomes = [Outcomes.of(own) for _, own in predictions.groupby("strategy", sort=False)]
    tables: dict[str, Any] = {
        "predictions": predictions,
        "metrics": metrics,
        "comparison": comparison.compare(metrics, outcomes),
        "differences": comparison.differences(outcomes),
        "confusion": _confusion(predictions),
        "per_class": _per_class(predictions),
        "history": simulate_history(rng, strategies, trials),
        "steps": simulate_steps(rng, strategies, trials),
        "cost": simulate_cost(rng, strategies, trials),
        "quarantine": _quarantine(),
        "duplicates": _duplicates(),
        "together": _together(strategies, trials),
        "coverage": _coverage(classes, strategies, trials),
        "mistakes": mistakes([own for _, own in predictions.groupby("strategy", sort=False)]),
        "summaries": {name: _summary() for name in strategies},
        "facts": _facts(list(classes), strategies, per_class),
        "images": [rng.integers(0, 256, (40 + 3 * i, 60 - 2 * i, 3), dtype=np.uint8) for i in range(12)],
    }
    return SimpleNamespace(**tables)


def _predictions(rng, classes, strategies, trials, per_class):
    tables = []
    truth = np.repeat(np.arange(len(classes)), per_class)
    hardness = rng.normal(size=(len(truth), 1))  # shared by all: what makes differences paired
    for name, skill in strategies.items():
        for trial in range(trials):
            logits = rng.normal(size=(len(truth), len(classes)))
            logits[np.arange(len(truth)), truth] += 1.5 + 5 * (skill - 0.4) - hardness[:, 0] + rng.normal(0, 0.1)
            p = np.exp(1.6 * logits)
            p /= p.sum(axis=1, keepdims=True)
            table = pd.DataFrame(p, columns=[f"p_{c}" for c in classes])
            said = [classes[i] for i in p.argmax(axis=1)]
            paths = [f"test/{i:04d} <b>.jpg" for i in range(len(truth))]
            identity = {"strategy": name, "trial": trial, "path": paths, "truth": [classes[i] for i in truth]}
            tables.append(pd.concat([pd.DataFrame(identity | {"prediction": said}), table], axis=1))
    return pd.concat(tables, ignore_index=True)


def _metrics(predictions):
    rows = []
    for (strategy, trial), own in predictions.groupby(["strategy", "trial"], sort=False):
        p_true = np.array([row[f"p_{row['truth']}"] for row in own.to_dict("records")])
        values = {
            "accuracy": (own["truth"] == own["prediction"]).mean(),
            "macro_f1": (own["truth"] == own["prediction"]).mean() - 0.004,
            "log_loss": -np.log(p_true).mean(),
            "auroc": 0.99,
            "ece": 0.031,
        }
        shared = {"experiment": "dogs", "strategy": strategy, "trial": trial, "split": "test", "selection": SELECTION}
        version = {"run_id": RUN_ID, "checkpoint_version": RUN_ID}
        rows += [shared | version | {"metric": metric, "value": float(value)} for metric, value in values.items()]
    return pd.DataFrame(rows)


def _together(strategies, trials):
    shared = {"kind": "ensemble", "members": trials, "low": 0.9, "high": 0.96, "images": 120}
    ahead = {"difference": 0.012, "difference_low": -0.003, "difference_high": 0.027}
    return pd.DataFrame(
        [
            {"strategy": strategy, "metric": metric, "value": skill, "single": skill - 0.012, **shared, **ahead}
            for strategy, skill in strategies.items()
            for metric in ("accuracy", "log_loss", "ece")
        ]
    )


def _coverage(classes, strategies, trials):
    shared = {"level": 0.9, "images": 12, "set_size": 1.25, "unfamiliar": 0.04, "calibrated_on": 153,
              "coverage_sd": 0.024}  # fmt: skip
    return pd.DataFrame(
        [
            {"strategy": strategy, "trial": trial, "members": 1, "method": method, "class": name, "coverage": 0.91}
            | shared
            for strategy in strategies
            for trial in range(trials)
            for method in ("lac", "raps")
            for name in ["", *classes]
        ]
    )


def _confusion(predictions):
    keys = ["strategy", "trial", "truth", "prediction"]
    return predictions.groupby(keys, sort=False).size().rename("count").reset_index()


def _per_class(predictions):
    rows = []
    for (strategy, trial, name), own in predictions.groupby(["strategy", "trial", "truth"], sort=False):
        recall = (own["prediction"] == name).mean()
        rows.append(
            {
                "experiment": "dogs",
                "strategy": strategy,
                "trial": trial,
                "class": name,
                "precision": recall,
                "recall": recall,
                "f1": recall,
                "support": len(own),
                "run_id": RUN_ID,
                "checkpoint_version": RUN_ID,
            }
        )
    return pd.DataFrame(rows)


def _quarantine():
    rows = [
        ("train/imageNotFound.gif", "quarantined", "1 px wide: not a photograph"),
        ("__MACOSX/._a.jpg", "ignored", "resource fork"),
        ("train/<img src=x onerror=alert(2)>.jpg", "quarantined", "truncated: 3,120 of 9,000 bytes"),
    ]
    return pd.DataFrame(rows, columns=["path", "status", "reason"])


def _duplicates():
    rows = [
        ("train/a.jpg", "a", "train", "train/a copy.jpg", "a", "train", "exact", 0),
        ("train/b.jpg", "b", "train", "test/<b>.jpg", "b", "test", "exact", 0),
        ("train/c.jpg", "c", "train", "test/c.jpg", "c", "test", "near", 9),
    ]
    return pd.DataFrame(
        rows, columns=["path_a", "class_a", "split_a", "path_b", "class_b", "split_b", "kind", "distance"]
    )


def _summary():
    rows = [
        ("conv1.weight", "Conv2d", "64x3x7x7", 9_408, 0, 9_408),
        ("fc.weight", "Linear", "10x512", 5_120, 5_120, 5_120),
        ("fc.bias", "Linear", "10", 10, 10, 10),
    ]
    return pd.DataFrame(rows, columns=["layer", "type", "shape", "parameters", "trainable_head", "trainable_all"])


def _facts(classes, strategies, per_class):
    return {
        "experiment": "dogs",
        "title": "Ten dog breeds & other names",
        "description": "Simulated predictions, to see the page.",
        "classes": classes,
        "images": {
            "train": dict.fromkeys(classes, 90),
            "validation": dict.fromkeys(classes, 10),
            "test": dict.fromkeys(classes, per_class),
        },
        "quarantined": 2,
        "ignored": 1,
        "licence": "CC BY-NC-SA 4.0",
        "seen_in_pretraining": True,
        "seen_in_pretraining_note": "95.9% of the test files carry names of the pretraining's own photographs.",
        "published": [
            {"strategy": name, "metric": "accuracy", "value": 0.9, "source": "a tutorial", "selection": "last"}
            for name in list(strategies)[1:2]
        ],
        "reference_lines": [
            {"label": "others' ResNet18", "value": 0.9302},
            {"label": "others' VGG16", "value": 0.9264},
        ],
        "run_id": RUN_ID,
        "versions": {"torch": "2.9.0", "transferlab": "0.1.0"},
        "device": "cpu",
        "device_name": "A CPU of 16 cores",
        "threads": 2,
        "seed": 7,
    }
