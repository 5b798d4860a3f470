"""Runs `kedro` commands, each in a fork of one process that has imported what takes longer to import than to run.

Reads one JSON request per line (the arguments of `_become_kedro`) and answers with the exit code.
"""

import atexit
import ctypes
import importlib
import json
import logging
import os
import resource
import signal
import sys
import threading

HEAVY = (
    "kedro.framework.cli", "matplotlib.figure", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "timm",
    "torchvision", "transferlab.cli.run", "transferlab.hooks.run", "transferlab.pipelines.report.nodes",
    "transferlab.pipelines.transfer.nodes",
)  # fmt: skip


def serve() -> None:
    for module in HEAVY:
        importlib.import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                _become_kedro(**json.loads(line))
            except SystemExit as end:
                _end(end.code or 0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201
    _end(0)


def _become_kedro(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    output: str,
    errors: str,
    largest_file: int | None,
    stop: tuple[int, str] | None,
) -> None:
    for descriptor, file in enumerate((os.devnull, output, errors)):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    _give_up_privileges()
    if largest_file is not None:
        sys.dont_write_bytecode = True  # Python does not notice that it could write half of one only
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if stop is not None:
        _get_signal(*stop)
    sys.argv = ["kedro", *arguments]
    from kedro.framework import cli, project

    type(project.LOGGING)()  # sets logging up, as the first import does, from this project's file
    cli.main()


def _end(code: int) -> None:
    """End as Python does, but leave its memory to the system: to free each object that was imported takes a second."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _get_signal(number: int, after: str) -> None:
    """Get a signal at a definite moment: when this line about a trial is logged."""

    def get_it(record: logging.LogRecord) -> bool:
        if after in record.getMessage():
            os.kill(os.getpid(), number)
        return True

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    logging.getLogger("transferlab.console.progress").addFilter(get_it)


def _give_up_privileges() -> None:
    """Let a file's permissions bind root too, as they bind everybody else (Linux; elsewhere root stays root)."""
    if sys.platform == "linux":
        version_3, this_process = 0x20080522, 0
        header = (ctypes.c_uint32 * 2)(version_3, this_process)
        no_capabilities = (ctypes.c_uint32 * 6)()
        ctypes.CDLL(None, use_errno=True).capset(header, no_capabilities)


if __name__ == "__main__":
    serve()
