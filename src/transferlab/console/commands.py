"""Writes commands as a user can paste them."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

# uv sets them for what it runs.
_OF_UV = ("UV_RUN_RECURSION_DEPTH", "UV")


def command(*words: str) -> str:
    """Return a `kedro` command, begun as this process was: with `uv run` where uv has started it.

    Commands of the installed package know `run` alone: `python -m transferlab` takes its options.
    """
    if words[:1] == ("run",) and not Path("pyproject.toml").is_file():
        start, words = [Path(sys.executable).name, "-m", "transferlab"], words[1:]
    else:
        start = ["kedro"]
    if any(name in os.environ for name in _OF_UV):
        start = ["uv", "run", *start]
    return shlex.join([*start, *words])
