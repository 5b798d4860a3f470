"""Writes the figures of docs/speed.md from the JSON files: `python -m benchmarks.table`; none is typed by hand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import (
    bound,
    compiling,
    experiment,
    growth,
    others,
    predict,
    rendering,
    result,
    script,
    startup,
    time_to,
    trial_axis,
    waiting,
)

PAGE = Path(__file__).parents[1] / "docs" / "speed.md"
BEGIN, END = "<!-- figures: python -m benchmarks.table -->", "<!-- end of figures -->"
TABLES = {
    "script": script.table,
    "script_resnet18": script.table,
    "time_to": time_to.table,
    "others": others.table,
    "bound": bound.table,
    "bound_resnet18": bound.table,
    "rendering": rendering.table,
    "compiling": compiling.table,
    "growth": growth.table,
    "trial_axis": trial_axis.table,
    "waiting": waiting.table,
    "predict": predict.table,
    "startup": startup.table,
    "experiment_hymenoptera": experiment.table,
    "experiment_cifar10_224": experiment.table,
    "experiment_cifar10_scratch": experiment.table,
}


def tables(folder: Path) -> str:
    """Make a table for each result that there is."""
    found = {name: folder / f"{name}.json" for name in TABLES if (folder / f"{name}.json").is_file()}
    made = [TABLES[name](json.loads(file.read_text(encoding="utf-8"))).markdown() for name, file in found.items()]
    return "\n".join(made) or "Nothing has been measured yet.\n"


def main() -> None:
    """Write the tables into the page, or print those of quick runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--quick", action="store_true", help="print the tables of quick runs; the page stays as it is")
    if parser.parse_args().quick:
        print(tables(result.QUICK_RESULTS))
        return
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n{tables(result.RESULTS)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
