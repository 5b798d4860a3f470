"""Formats the other tables of the page as rows of cells, so that the template only places them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from transferlab.reporting.page.grid import Cell, Grid, grid
from transferlab.reporting.recommendation import seconds_alone
from transferlab.reporting.wording import NOTHING, capital, count, duration, number, title

_COST_COLUMNS = (
    "One trial, alone", "One epoch", "Images per second", "Epochs", "Views of an image", "Trainable parameters",
    "Peak memory", "Trials", "Device",
)  # fmt: skip


def cost(table: pd.DataFrame) -> Grid:
    """List what one trial of each strategy takes, alone: means over trials, with the parts and range of its time."""
    rows = []
    for name, own in table.groupby("strategy", sort=False):
        mean = own.mean(numeric_only=True)
        first = own.iloc[0]
        cells = [
            Cell(duration(seconds_alone(own).mean()), _parts(own), words=True),
            Cell(duration(mean["seconds_per_epoch"])),
            Cell(f"{mean['images_per_second']:,.0f}" if pd.notna(mean["images_per_second"]) else NOTHING),
            Cell(count(mean["epochs"])),
            Cell("fresh each epoch" if first["views"] == 0 else count(first["views"]), words=True),
            Cell(count(first["trainable_parameters"]), f"of {count(first['total_parameters'])}"),
            Cell(f"{mean['peak_memory_mb']:,.0f} MB" if pd.notna(mean["peak_memory_mb"]) else NOTHING),
            Cell(str(len(own))),
            Cell(first["device_name"], _computed_on(first), words=True),
        ]
        rows.append((capital(title(str(name))), cells))
    return grid(_COST_COLUMNS, rows)


def _computed_on(trial: pd.Series) -> str:
    """Name the kind of device, its threads and, if recorded, how many trials shared the machine."""
    at_a_time = trial.get("parallel_trials", 1)
    beside = f", {at_a_time:.0f} trials at a time" if at_a_time > 1 else ""
    return f"{trial['device']}, {count(trial['threads'], 'thread')}{beside}"


def _parts(own: pd.DataFrame) -> str:
    """Write the range of the training time over trials and, if features were cached, the time of both."""
    seconds, features = own["seconds"], own["feature_seconds"].mean()
    span = f"{duration(seconds.min())} to {duration(seconds.max())}" if len(seconds) > 1 else ""
    if features == 0:
        return span
    training = f"training {duration(seconds.mean())}" + (f" ({span})" if span else "")
    size = f"{own['feature_mb'].max():,.0f} MB"
    return f"{training} + features {duration(features)} ({size}), shared by all trials"


def across_splits(duplicates: pd.DataFrame) -> pd.DataFrame:
    """Return the pairs that are in different splits, nearest first, after those with different labels in any split."""
    contradicting = duplicates["class_a"] != duplicates["class_b"]
    shown = duplicates[contradicting | (duplicates["split_a"] != duplicates["split_b"])]
    agree = shown["class_a"] == shown["class_b"]
    across: pd.DataFrame = shown.assign(agree=agree).sort_values(["agree", "distance"], kind="stable")
    return across.drop(columns="agree").rename(columns={"distance": "bits that differ"})


def images(facts: Mapping[str, Any]) -> Grid:
    """Count the images of each class in each split, with sums."""
    splits: Mapping[str, Mapping[str, int]] = facts["images"]

    def row(name: str, counts: Sequence[int]) -> tuple[str, list[Cell]]:
        return name, [Cell(count(n)) for n in (*counts, sum(counts))]

    rows = [row(name, [of_class.get(name, 0) for of_class in splits.values()]) for name in facts["classes"]]
    total = row("All classes", [sum(of_class.values()) for of_class in splits.values()])
    return grid([*(capital(split) for split in splits), "All"], [total, *rows])


def per_class(table: pd.DataFrame, classes: Sequence[str]) -> Grid:
    """List F1 of every class and strategy, mean over trials, with precision and recall below it."""
    grouped = table.groupby(["class", "strategy"])[["precision", "recall", "f1"]].mean()
    means = {key: tuple(row) for key, row in zip(grouped.index, grouped.to_numpy(), strict=True)}
    support = table.groupby("class")["support"].max()
    names = list(dict.fromkeys(table["strategy"]))

    def cell(class_name: str, strategy: str) -> Cell:
        if (class_name, strategy) not in means:
            return Cell(NOTHING)
        precision, recall, f1 = means[class_name, strategy]
        return Cell(number(f1, "f1"), f"P {number(precision, 'precision')} · R {number(recall, 'recall')}")

    rows = (
        (name, [Cell(count(support.get(name, 0))), *(cell(name, strategy) for strategy in names)]) for name in classes
    )
    return grid(["Test images", *(capital(title(name)) for name in names)], rows)


def mistakes(table: pd.DataFrame) -> Grid:
    """List test images that trials got wrong, with how many trials of each strategy did."""
    names = [name.removeprefix("wrong_") for name in table.columns if name.startswith("wrong_")]
    rows = (
        (
            row["path"],
            [
                Cell(row["truth"], words=True),
                Cell(row["prediction"], words=True),
                Cell(f"{row['wrong']} of {row['trials']}"),
                Cell(f"{row['confidence']:.0%}"),
                *(Cell(f"{row[f'wrong_{name}']} of {row[f'trials_{name}']}") for name in names),
            ],
        )
        for row in table.to_dict("records")
    )
    heads = ["Truth", "Called most often", "Wrong, of all trials", "Mean confidence when wrong"]
    return grid([*heads, *(capital(title(name)) for name in names)], rows)


def checkpoints(metrics: pd.DataFrame) -> Grid:
    """List the checkpoint and the run that each strategy's metrics were computed from."""
    columns = ["strategy", "split", "selection", "run_id", "checkpoint_version"]
    rows = (
        (capital(title(row["strategy"])), [Cell(str(row[column])) for column in columns[1:]])
        for row in metrics[columns].drop_duplicates().to_dict("records")
    )
    return grid(["Split", "Selection", "Run", "Checkpoint version"], rows)


def summary(table: pd.DataFrame) -> Grid:
    """List a model's layers with the parameters that each stage trains, sums first."""
    stages = [name for name in table.columns if name.startswith("trainable_")]
    numbers = ["parameters", *stages]
    trained = [f"Trained in stage {title(stage.removeprefix('trainable_'))}" for stage in stages]
    heads = ["Type", "Shape", "Parameters", *trained]
    total = ("All layers", [Cell(""), Cell(""), *(Cell(count(table[column].sum())) for column in numbers)])
    layers = (
        (row["layer"], [Cell(row["type"]), Cell(str(row["shape"])), *(Cell(count(row[column])) for column in numbers)])
        for row in table.to_dict("records")
    )
    return grid(heads, [total, *layers])
