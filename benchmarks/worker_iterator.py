"""Runs an iterator in a process of its own, one step per request."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import TypeVar

T = TypeVar("T")


def iterate(make: Callable[..., Iterator[T]], *args: object) -> Iterator[T]:
    """Yield the items of `make(*args)`, made in another process that waits between requests and ends with them."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make, args))
    process.start()
    there.close()
    try:
        while True:
            here.send(None)
            yield here.recv()
    except (EOFError, ConnectionError):  # it has come to its end, good or bad
        pass
    finally:
        here.close()
        process.join()
    if process.exitcode:
        raise RuntimeError(f"{make.__name__} failed in its process, see above")


def _serve(there: Connection, make: Callable[..., Iterator[object]], args: tuple[object, ...]) -> None:
    steps = make(*args)
    with there:
        try:
            while True:
                there.recv()
                there.send(next(steps))
        except (EOFError, StopIteration):
            return
