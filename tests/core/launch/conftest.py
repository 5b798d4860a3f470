"""Processes that are there at once, for tests that ask what they do and not how they start."""

import multiprocessing

import pytest

from transferlab.core.launch import elastic, elastic_worker, pool, pool_worker


@pytest.fixture
def from_a_fork_server(monkeypatch):
    """Start processes from a server that has imported torch once, where the system has such a thing."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload([pool_worker.__name__, elastic_worker.__name__])
        for launcher in (pool, elastic):
            monkeypatch.setattr(launcher, "START_METHOD", "forkserver")
