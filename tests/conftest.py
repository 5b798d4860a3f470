"""What every test may ask for."""

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tiny_project import KedroServer


# A busy machine is no failure of a property.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_configure() -> None:
    """Give each of the suite's processes, one per core, one thread that does not spin. Torch is imported later."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background deaf to it


def pytest_collection_finish() -> None:
    """Look for garbage in what tests make alone: what was imported for them stays."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let libraries that look for leaks in the end find none."""
    gc.unfreeze()


# Whole runs, real processes, networks of every family: minutes on two cores. `-m "not slow"` leaves them out.
SLOW = ("endtoend", "core/launch", "experiments", "benchmarks", "faults", "core/inference", "core/models/backbones")
SLOW_FILES = (
    "test_compiled_features.py", "test_context.py", "test_decode_pool.py", "test_divergence.py", "test_features.py",
    "test_figures.py", "test_page_in_browser.py", "test_prefix.py", "test_prune.py", "test_startup.py",
    "test_versions.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests by their folder or file, so that none can be forgotten, and let them begin first."""
    tests = Path(__file__).parent

    def turn(item: pytest.Item) -> int:
        place = item.path.relative_to(tests).as_posix()
        folder = next((number for number, slow in enumerate(SLOW) if place.startswith(slow)), len(SLOW))
        return folder + (folder == len(SLOW) and item.path.name not in SLOW_FILES)

    for item in items:
        if turn(item) <= len(SLOW):
            item.add_marker(pytest.mark.slow)
    items.sort(key=turn)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photographs for tests: beside the project, or where TRANSFERLAB_TEST_DATA points."""
    folder = Path(os.environ.get("TRANSFERLAB_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "hymenoptera_data.zip").is_file():
        pytest.skip(f"no hymenoptera_data.zip in {folder}: set TRANSFERLAB_TEST_DATA to a folder that has it")
    return folder


@pytest.fixture(scope="session")
def server() -> Iterator["KedroServer"]:
    """Run `kedro` commands in forks of one process; see `KedroServer`."""
    from tiny_project import KedroServer

    serving = KedroServer()
    yield serving
    serving.close()


@pytest.fixture
def from_a_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes from a server that has imported torch once, where the system has such a thing.

    For tests that ask what processes do and not how they start.
    """
    from transferlab.core.launch import elastic, elastic_worker, pool, pool_worker

    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.set_forkserver_preload([pool_worker.__name__, elastic_worker.__name__])
        for launcher in (pool, elastic):
            monkeypatch.setattr(launcher, "START_METHOD", "forkserver")


@pytest.fixture(scope="session")
def bucket() -> Iterator[str]:
    """The URL of an S3 bucket of moto's server, which listens on loopback and is found by the environment."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    fsspec = pytest.importorskip("fsspec")
    pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
    serving = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    serving.start()
    host, port = serving.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("models")
        yield "s3://models"
    serving.stop()
