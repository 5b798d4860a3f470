"""The command that kills trainings works; how many have been killed, and what was lost, is in docs/measured.md."""

import json
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_killed_trainings_end_with_the_same_bits(tmp_path):
    command = [
        sys.executable,
        "-m",
        "benchmarks.kills",
        "--kills",
        "5",
        "--seed",
        "1",
        "--to",
        str(tmp_path / "kills.json"),
    ]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True)
    report = json.loads((tmp_path / "kills.json").read_text())
    assert report["kills"] >= 5
    assert report["trainings"] >= 1
    assert report["with other bits"] == 0
    assert sum(report["kills by finished epochs in the state"].values()) == report["kills"]
