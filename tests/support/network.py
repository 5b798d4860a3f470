"""Watches whom processes ask on the network, and lets them ask nobody."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

WATCH = """
import socket
import sys


def watch(event, arguments):
    if event == "socket.getaddrinfo" or (event == "socket.connect" and arguments[0].family != socket.AF_UNIX):
        with open({log!r}, "a") as file:
            print(event, arguments, file=file)
        raise OSError("no network in this test")


sys.addaudithook(watch)
"""
CONSENT = ("DO_NOT_TRACK", "KEDRO_DISABLE_TELEMETRY", "GITHUB_REPOSITORY_OWNER")


@contextmanager
def watched(log: Path) -> Iterator[None]:
    """Every Python process begun meanwhile writes to `log` whom it asks; no variable declines telemetry for it."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        Path(folder, "sitecustomize.py").write_text(WATCH.format(log=str(log)))
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        for variable in CONSENT:
            patch.delenv(variable, raising=False)
        yield
