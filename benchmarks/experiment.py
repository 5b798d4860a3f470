"""What a run of an experiment found: `python -m benchmarks.experiment hymenoptera --ran "kedro run ..."`.

Reads the newest tables that `kedro run` has left in the project and writes
`experiment_<name>.json`: for each strategy the test accuracy of each trial, and what the trials cost.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import result


def newest(folder: Path, table: str) -> pd.DataFrame:
    """Read the newest version of a strategy's table."""
    versions = sorted((folder / table).glob(f"*/{table}"))
    return pd.read_csv(versions[-1])


def found(folder: Path) -> dict[str, Any]:
    """Summarise the trials of a strategy."""
    metrics, cost = newest(folder, "metrics.csv"), newest(folder, "cost.csv")
    test = metrics[(metrics["split"] == "test") & (metrics["metric"] == "accuracy")].sort_values("trial")
    means = cost[["epochs", "views", "seconds", "feature_seconds", "peak_memory_mb"]].mean().to_dict()
    return {
        "accuracy": [float(value) for value in test["value"]],
        "selection": test["selection"].iloc[0],
        "version": test["run_id"].iloc[0],
        "trained_on": cost[["device_name", "threads"]].iloc[0].to_dict(),
        **means,
    }


def table(report: dict[str, Any]) -> result.Table:
    """Make a table with a row for each strategy."""
    rows = []
    for strategy, of_it in report["strategies"].items():
        values = of_it["accuracy"]
        spread = f"{100 * statistics.stdev(values):.2f}" if len(values) > 1 else ""
        numbers = [f"{of_it[key]:.0f}" for key in ("epochs", "views")]
        costs = [result.seconds(of_it[key]) for key in ("seconds", "feature_seconds")]
        rows.append([strategy, str(len(values)), f"{100 * statistics.mean(values):.2f}%", spread, *numbers, *costs])
    columns = ["strategy", "trials", "test accuracy", "sd", "epochs", "views", "a trial", "frozen layers, once"]
    ran = "; ".join(f"`{command}`" for command in report["options"]["ran"])
    threads = sorted({of_it["trained_on"]["threads"] for of_it in report["strategies"].values()})
    made = report["machine"]
    where = (
        f"threads: {', '.join(map(str, threads))}, torch {made['torch']}, {made['cores']} cores, {made['processor']}"
    )
    note = f"{ran}. {where}, beside other work."
    return result.Table(f"The experiment {report['options']['name']}", columns, rows, note)


def main() -> None:
    """Collect the strategies that have been evaluated."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("name", help="of the experiment")
    parser.add_argument("--ran", nargs="+", required=True, help="the commands that made the tables")
    parser.add_argument("--project", type=Path, default=Path(), help="the folder that kedro ran in")
    wanted = result.parse(parser)
    folders = sorted((wanted.project / "data/07_model_output" / wanted.name).glob("*/metrics.csv"))
    strategies = {folder.parent.name: found(folder.parent) for folder in folders}
    table(result.write(f"experiment_{wanted.name}", wanted, {"strategies": strategies})).show()


if __name__ == "__main__":
    main()
