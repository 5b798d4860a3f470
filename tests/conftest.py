"""What every test may ask for."""

import os
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Give each of the suite's processes, one per core, one thread that does not spin. Torch is imported later."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


# Whole runs, real processes, networks of every family: minutes on two cores. `-m "not slow"` leaves them out.
SLOW = ("endtoend", "experiments", "faults", "benchmarks", "core/launch", "core/models/backbones", "core/inference")
SLOW_FILES = ("test_page_in_browser.py", "test_figures.py", "test_prefix.py", "test_features.py", "test_context.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests by their folder or file, so that none can be forgotten."""
    tests = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(tests).as_posix()
        if place.startswith(SLOW) or item.path.name in SLOW_FILES:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photographs for tests: beside the project, or where TRANSFERLAB_TEST_DATA points."""
    folder = Path(os.environ.get("TRANSFERLAB_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "hymenoptera_data.zip").is_file():
        pytest.skip(f"no hymenoptera_data.zip in {folder}: set TRANSFERLAB_TEST_DATA to a folder that has it")
    return folder
