"""Commands start fast: what is heavy is imported when a node or a command needs it."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "pandas", "numpy")
IMPORTS = f"""
import sys
import transferlab.settings, transferlab.cli
import os
print(*[name for name in {HEAVY} if name in sys.modules])
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("users", "expected"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_neither_settings_nor_commands_load_what_is_heavy(users, expected):
    ours = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], env=ours | users, capture_output=True, text=True, check=True
    )  # fmt: skip
    heavy, turns = done.stdout.split("\n")[:2]
    assert heavy == ""
    assert turns == expected, "threads that wait leave the cores to those that work, unless the user says otherwise"


def test_ctrl_c_while_importing_is_one_line():
    done = subprocess.run(
        [sys.executable, "-c", "import transferlab.settings; raise KeyboardInterrupt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (130, -2)
    assert done.stderr == "Error: stopped before anything had begun.\n"
    done = subprocess.run(
        [sys.executable, "-c", "import transferlab.settings; raise ValueError('a bug')"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ValueError: a bug" in done.stderr
