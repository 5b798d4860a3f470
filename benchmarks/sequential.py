"""Do trials that stop early keep their error, and what do they save? `python -m benchmarks.sequential`.

Each experiment resamples trials of a stored run (`experiment_<name>.json`): once one strategy under two names, which
must not be told apart, and once all of its strategies, which may stop when they are. Writes `sequential.json`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import result
from transferlab.core.evaluation.sequential import Race, SequentialTrials

Pools = dict[str, NDArray[np.float64]]
RULES = (SequentialTrials(at_least=3, at_most=10), SequentialTrials(at_least=3, at_most=20))


def raced(pools: Pools, rule: SequentialTrials, rng: np.random.Generator) -> tuple[Race, dict[str, int]]:
    """Run a race whose trials are drawn with replacement; return it and each strategy's number of trials."""
    race, drawn = Race(list(pools), rule), {name: rng.choice(pool, rule.at_most) for name, pool in pools.items()}
    used = dict.fromkeys(pools, 0)
    for trials in rule.looks(len(pools)):
        used |= dict.fromkeys(race.running, trials)
        race.look({name: drawn[name][: used[name]] for name in pools})
        if not race.running:
            break
    return race, used


def of_experiment(name: str, experiments: int) -> dict[str, Any]:
    """Simulate both questions on the trials of one stored experiment."""
    stored = json.loads((result.RESULTS / f"experiment_{name}.json").read_text())["strategies"]
    pools = {key: np.array(found["accuracy"]) for key, found in stored.items()}
    figures = {}
    for rule in RULES:
        rng = np.random.default_rng(0)
        called = {
            key: sum(bool(raced({key: pool, "again": pool}, rule, rng)[0].behind) for _ in range(experiments))
            for key, pool in pools.items()
        }
        ended = [raced(pools, rule, rng) for _ in range(experiments)]
        used = {key: float(np.mean([trials[key] for _, trials in ended])) for key in pools}
        at_once = [raced(pools, SequentialTrials(at_least=rule.at_most, at_most=rule.at_most), rng) for _ in ended]
        figures[f"{rule.at_least} to {rule.at_most}"] = {
            "share called different, under two names": {key: count / experiments for key, count in called.items()},
            "mean trials": used,
            "trials saved": 1 - sum(used.values()) / (len(pools) * rule.at_most),
            **_survivors(pools, [race for race, _ in ended], ""),
            **_survivors(pools, [race for race, _ in at_once], ", with one look after all trials"),
        }
    return figures


def _survivors(pools: Pools, races: list[Race], how: str) -> dict[str, float]:
    """Return how many strategies are left in the end, and how often the truly best is one of them."""
    best = max(pools, key=lambda key: pools[key].mean())
    return {
        f"strategies left{how}": float(np.mean([len(pools) - len(race.behind) for race in races])),
        f"the best is left{how}": float(np.mean([best not in race.behind for race in races])),
    }


def table(report: dict[str, Any]) -> result.Table:
    """Make a table with a row for each experiment and rule."""
    left = ("strategies left", "strategies left, with one look after all trials")
    rows = [
        [name, rule, result.percent(max(found["share called different, under two names"].values())),
         result.percent(found["trials saved"]), *(f"{found[key]:.2f}" for key in left),
         result.percent(found["the best is left"])]
        for name, rules in report["experiments"].items() for rule, found in rules.items()
    ]  # fmt: skip
    columns = ["experiment", "trials", "one under two names: called different", "trials saved", *left,
               "the best is left"]  # fmt: skip
    note = f"`{report['command']}`; {report['options']['experiments']} resampled experiments of each kind."
    return result.Table("Trials that stop when the answer is known", columns, rows, note)


def main() -> None:
    """Simulate, and write `sequential.json`."""
    parser = result.options(__doc__.partition("?")[0])
    parser.add_argument("--experiments", type=int, default=1000)
    wanted = result.parse(parser, experiments=20)
    found = {name: of_experiment(name, wanted.experiments) for name in ("hymenoptera",)}
    table(result.write("sequential", wanted, {"experiments": found})).show()


if __name__ == "__main__":
    main()
