"""From a command to its first training step: `python -m benchmarks.startup`.

`kedro run --pipeline=transfer` of the embedded experiment, in a copy of the project whose images are decoded already,
on a terminal of its own, as a user would see it: the first training step is when the progress bar first names an epoch.
The run is then ended. This benchmark, alone, needs kedro and a system with pseudo-terminals.

Writes `startup.json`.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path
from typing import Any

from benchmarks import result

PROJECT = Path(__file__).parents[1]
PARTS = ("conf", "src", "pyproject.toml", ".telemetry")
MOMENTS = {"training begins": "training on", "first step": r"epoch \d+ of \d+"}
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
ROWS, COLUMNS = 50, 250
MOST_SECONDS = 300.0


def copy_of_project(folder: Path) -> Path:
    """Copy the project without its data."""
    for part in PARTS:
        from_here = PROJECT / part
        (shutil.copytree if from_here.is_dir() else shutil.copy)(from_here, folder / part)
    return folder


def environment(project: Path) -> dict[str, str]:
    """As in a terminal, with the copy's own source, whose bytecode Python keeps between the runs."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(project / "src"), "TERM": "xterm-256color"}


def kedro(pipeline: str, options: list[str]) -> list[str]:
    """Return the command line of a pipeline."""
    return [sys.executable, "-m", "kedro", "run", f"--pipeline={pipeline}", *options]


def moments(command: list[str], project: Path) -> dict[str, float]:
    """Seconds from the command to each of `MOMENTS`; then the command is ended."""
    ours_end, its_end = pty.openpty()
    fcntl.ioctl(its_end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=project,
        env=environment(project),
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        start_new_session=True,
    )
    os.close(its_end)
    try:
        return _seen(ours_end, started)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours_end)


def _seen(terminal: int, started: float) -> dict[str, float]:
    """Read what is drawn until the last of `MOMENTS` is there."""
    text, seen = b"", dict[str, float]()
    while set(seen) != set(MOMENTS):
        try:
            text += os.read(terminal, 1 << 16)
        except OSError:  # the command has ended
            raise RuntimeError(f"no training step was seen:\n{_plain(text)[-2000:]}") from None
        now = time.perf_counter() - started
        if now > MOST_SECONDS:
            raise RuntimeError(f"no training step within {MOST_SECONDS:.0f} s:\n{_plain(text)[-2000:]}")
        plain = _plain(text)
        seen |= {moment: now for moment, words in MOMENTS.items() if moment not in seen and re.search(words, plain)}
    return seen


def _plain(text: bytes) -> str:
    return CONTROL.sub(b"", text).decode(errors="replace")


def table(report: dict[str, Any]) -> result.Table:
    """Make the table of seconds to each moment."""
    rows = [[moment, result.seconds(seconds["median"])] for moment, seconds in report["moments"].items()]
    title = "From `kedro run --pipeline=transfer` to the first training step"
    return result.Table(title, ["until", "seconds"], rows, result.made_on(report))


def main() -> None:
    """Decode once, then begin to train several times."""
    parser = result.options(__doc__.partition(":")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--params", help="of kedro run, for both commands")
    wanted = result.parse(parser, repeats=1, params="dataset.split.limit=200")
    options = [f"--params={wanted.params}"] if wanted.params else []
    with tempfile.TemporaryDirectory() as folder:
        project = copy_of_project(Path(folder))
        subprocess.run(
            kedro("data", options), cwd=project, env=environment(project), check=True, stdout=subprocess.DEVNULL
        )
        runs = [moments(kedro("transfer", options), project) for _ in range(wanted.repeats)]
    measured = {moment: result.repeats([run[moment] for run in runs]) for moment in MOMENTS}
    table(result.write("startup", wanted, {"moments": measured})).show()


if __name__ == "__main__":
    main()
