"""Try all faults and write the table: `PYTHONPATH=src python -m benchmarks.faults`.

Writes `benchmarks/results/faults.json` and `docs/faults.md`; ends with 1 where something crashed. A fault is one more
entry in a module beside this one; a module with a function `rows` is one more entry of `GROUPS`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.faults import archives, downloads, folders, images, killed, stored
from benchmarks.faults.page import document, page
from benchmarks.faults.row import CRASHED

PROJECT = Path(__file__).parents[2]
GROUPS = {
    "Image files": images.rows,
    "Folders, tables of labels, duplicates": folders.rows,
    "Archives": archives.rows,
    "Downloads": downloads.rows,
    "Flipped bits and hostile files": stored.rows,
    "Killed processes": killed.rows,
}


def main() -> None:
    """Run every group and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, help="kill so many processes anew; by default the last result is taken")
    parser.add_argument("--folder", type=Path, default=PROJECT, help="write below this folder")
    wanted = parser.parse_args()
    if wanted.kills:
        subprocess.run([sys.executable, "-m", "benchmarks.kills", f"--kills={wanted.kills}"], check=True)
    groups = {}
    for title, rows in GROUPS.items():
        print(title, flush=True)
        groups[title] = list(rows(np.random.default_rng(wanted.seed)))
    result = document(groups, wanted.seed)
    texts = {
        "benchmarks/results/faults.json": json.dumps(result, indent=2, ensure_ascii=False) + "\n",
        "docs/faults.md": page(result),
    }
    for name, text in texts.items():
        (wanted.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (wanted.folder / name).write_text(text, encoding="utf-8")
    crashes = [row for rows in groups.values() for row in rows if CRASHED in row.outcome]
    sys.exit(f"{len(crashes)} faults crashed: {[row.fault for row in crashes]}" if crashes else 0)


if __name__ == "__main__":
    main()
