"""What every test may ask for."""

import os
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Give each of the suite's processes, one per core, one thread that does not spin. Torch is imported later."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real photographs for tests: beside the project, or where TRANSFERLAB_TEST_DATA points."""
    folder = Path(os.environ.get("TRANSFERLAB_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / "hymenoptera_data.zip").is_file():
        pytest.skip(f"no hymenoptera_data.zip in {folder}: set TRANSFERLAB_TEST_DATA to a folder that has it")
    return folder
