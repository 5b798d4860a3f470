"""History, steps and cost as training would record them, for the tables of conftest."""

import numpy as np
import pandas as pd

SECONDS = {"scratch": 95.0, "feature_extraction": 4.2, "fine_tuning": 88.0, "staged_unfreezing": 61.0}
STAGES = {"staged_unfreezing": [("head", 3), ("all", 5)]}


def _stages(name):
    return [(stage, epochs) for stage, epochs in STAGES.get(name, [("all", 8)])]


def simulate_history(rng, strategies, trials):
    rows = []
    for name, skill in strategies.items():
        for trial in range(trials):
            stages = [stage for stage, epochs in _stages(name) for _ in range(epochs)]
            for epoch in range(len(stages) + 1):
                reached = skill - (skill - 0.1) * np.exp(-0.9 * epoch) + rng.normal(0, 0.008)
                for split, accuracy in (("train", reached - 0.03), ("validation", reached)):
                    if epoch or split != "train":
                        rows.append(
                            {
                                "strategy": name,
                                "trial": trial,
                                "stage": stages[max(0, epoch - 1)],
                                "epoch": epoch,
                                "split": split,
                                "loss": 2.3 * (1 - accuracy),
                                "accuracy": np.clip(accuracy, 0, 1),
                                "learning_rate": 1e-3,
                                "seconds": 1.0,
                            }
                        )
    return pd.DataFrame(rows)


def simulate_steps(rng, strategies, trials, per_epoch=20):
    rows = []
    for i, name in enumerate(strategies):
        stages = [stage for stage, epochs in _stages(name) for _ in range(epochs)]
        total = per_epoch * len(stages)
        for trial in range(trials):
            for step in range(1, total + 1):
                rate = 1e-3 if i < 2 else 1e-3 * (1 + np.cos(np.pi * step / total)) / 2
                loss = 0.1 + 2.2 * np.exp(-step / 40) * np.exp(rng.normal(0, 0.2))
                epoch = (step - 1) // per_epoch
                rows.append((name, trial, stages[epoch], epoch + 1, step, rate, loss))
    return pd.DataFrame(rows, columns=["strategy", "trial", "stage", "epoch", "step", "learning_rate", "loss"])


def simulate_cost(rng, strategies, trials):
    rows = []
    for name in strategies:
        for trial in range(trials):
            seconds = SECONDS.get(name, 10.0) * (1 + 0.05 * rng.random())
            rows.append(
                {
                    "strategy": name,
                    "trial": trial,
                    "total_parameters": 11_181_642,
                    "trainable_parameters": 5_130 if name == "feature_extraction" else 11_181_642,
                    "epochs": 8,
                    "views": 4 if name == "feature_extraction" else 0,
                    "seconds": seconds,
                    "feature_seconds": 8.0 if name == "feature_extraction" else 0.0,
                    "feature_mb": 96.0 if name == "feature_extraction" else 0.0,
                    "seconds_per_epoch": seconds / 8,
                    "images_per_second": 8000 / seconds,
                    "peak_memory_mb": 812.0,
                    "device": "cpu",
                    "device_name": "A CPU of 16 cores",
                    "threads": 2,
                }
            )
    return pd.DataFrame(rows)
