"""Runs `kedro` commands, each in a fork of one process that has imported what takes longer to import than to run.

Reads one JSON request per line (the arguments of `_become_kedro`) and answers with the exit code.
"""

import importlib
import json
import os
import sys

HEAVY = ("matplotlib.figure", "pandas", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "timm", "torchvision")


def serve() -> None:
    for module in HEAVY:
        importlib.import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become_kedro(**json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


def _become_kedro(arguments: list[str], cwd: str, environment: dict[str, str], output: str, errors: str) -> None:
    for descriptor, file in enumerate((os.devnull, output, errors)):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["kedro", *arguments]
    from kedro.framework.cli import main

    main()


if __name__ == "__main__":
    serve()
