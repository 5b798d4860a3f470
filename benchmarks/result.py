"""What a benchmark leaves: a JSON file that says how it was made, and a table drawn from nothing but that file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch
from rich.console import Console
from rich.table import Table as Grid

from benchmarks import ours

RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = Path(tempfile.gettempdir()) / "transferlab_quick_results"
LIBRARIES = ("torch", "torchvision", "timm", "numpy", "pillow")
LOAD_BEFORE = psutil.getloadavg()[0]
QUIET = 0.5  # load of a machine that does nothing else
PIPE_WIDTH = 160


class Table(NamedTuple):
    """Figures as text: for the terminal and for docs/speed.md."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def show(self) -> None:
        """Print it."""
        grid = Grid(*self.columns)
        for row in self.rows:
            grid.add_row(*row)
        console = Console()
        console.width = console.width if console.is_terminal else PIPE_WIDTH
        console.print(self.title, grid, self.note, sep="\n", highlight=False, markup=False)

    def markdown(self) -> str:
        """Return it for a page."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"### {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


def options(description: str, data: bool = False) -> argparse.ArgumentParser:
    """Define the options that benchmarks share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    if data:
        text = "archive of photographs, train/<class> and val/<class>: the published hymenoptera_data.zip"
        parser.add_argument("--data", type=Path, required=True, help=text)
    return parser


def parse(parser: argparse.ArgumentParser, **quick: Any) -> argparse.Namespace:
    """Parse the options; with `--quick`, those in `quick` have other defaults."""
    text = f"a smoke run, results in {QUICK_RESULTS}: " + ", ".join(f"{key} {value}" for key, value in quick.items())
    parser.add_argument("--quick", action="store_true", help=text)
    if "--quick" in sys.argv:
        parser.set_defaults(**quick)
    if LOAD_BEFORE > QUIET:
        print(
            f"The machine is busy (load {LOAD_BEFORE:.1f}): seconds measured now are not worth much.", file=sys.stderr
        )
    return parser.parse_args()


def repeats(values: Sequence[float]) -> dict[str, Any]:
    """All of the values measured, and their median."""
    return {"median": statistics.median(values), "all": list(values)}


def write(name: str, wanted: argparse.Namespace, measured: dict[str, Any]) -> dict[str, Any]:
    """Write `<name>.json`; what it holds."""
    report = {
        "command": " ".join(
            ["python -m", f"benchmarks.{Path(sys.argv[0]).stem}", *map(_without_folders, sys.argv[1:])]
        ),
        "options": {key: _plain(value) for key, value in vars(wanted).items()},
        "machine": machine(),
        **measured,
    }
    file = (QUICK_RESULTS if wanted.quick else RESULTS) / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"Written: {file}", file=sys.stderr)
    return report


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    used = ours.machine()
    return {
        "processor": ours.processor(),
        "vectors": torch.backends.cpu.get_cpu_capability(),  # the instructions that torch's own kernels use
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        **used.describe(),
        "precision": str(used.dtype).removeprefix("torch."),
        "load_before": round(LOAD_BEFORE, 2),
        "system": platform.system(),
        "python": platform.python_version(),
        **{library: version(library) for library in LIBRARIES},
        "cuda": torch.version.cuda if used.device.type == "cuda" else None,
    }


def made_on(report: dict[str, Any]) -> str:
    """One line below a table: the machine and the command."""
    made, busy = report["machine"], "" if report["machine"]["load_before"] <= QUIET else " The machine was busy."
    vectors = f" ({made['vectors']})" if "vectors" in made else ""
    where = f"{made['cores']} cores, {made['processor']}{vectors}"
    device = "" if made["device"] == "cpu" else f", {made['device_name']} ({made['precision']})"
    return f"`{report['command']}`, torch {made['torch']}, {where}{device}.{busy}"


def _without_folders(argument: str) -> str:
    """Where files are on this machine is nobody's business."""
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}{Path(value).name}" if os.sep in value else argument


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value


def percent(part: float | None) -> str:
    """Write a share for a table; nothing where there is none."""
    return "" if part is None else f"{part:.1%}"


def seconds(value: float | None) -> str:
    """Write a duration for a table; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"
