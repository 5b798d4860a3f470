"""Commands start fast: what is heavy is imported when a node or a command needs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "timm", "sklearn", "scipy", "matplotlib", "pandas", "onnx", "pyarrow")
LOADED = f"print('loaded:', *[name for name in {HEAVY} if name in sys.modules])"
IMPORTS = f"""
import os, sys
import transferlab.settings, transferlab.cli
print(*[name for name in {(*HEAVY, "numpy")} if name in sys.modules])
print(os.environ.get("GOMP_SPINCOUNT"))
"""
PARSES = f"""
import sys
from transferlab import settings
from transferlab.config.errors import ConfigError
loader = settings.CONFIG_LOADER_CLASS("conf", env=sys.argv[1], runtime_params=RUNTIME, **settings.CONFIG_LOADER_ARGS)
try:
    print("read:", *loader.experiment.strategies)
except ConfigError as error:
    print(error)
{LOADED}
"""
STOPPED_AT_KEDRO = """
import sys

class CtrlC:
    def find_spec(self, name, *_):
        if name == "kedro":
            raise KeyboardInterrupt

sys.meta_path.insert(0, CtrlC())
from transferlab.__main__ import main

main()
"""
DECODES = f"""
import io, sys
from contextlib import redirect_stdout
from pathlib import Path
from transferlab.core.data.decoding import pool
from transferlab.core.data.decoding.batch import decode_one

def look(file):
    told = io.StringIO()
    with redirect_stdout(told):
        {LOADED}
    return type(decode_one(file, [])).__name__, told.getvalue()

if __name__ == "__main__":
    import torch  # as the process of a run has
    print(*pool.run(look, [Path(sys.argv[1])], 1))
"""


def output(code, *arguments, **options):
    done = subprocess.run([sys.executable, *code, *arguments], capture_output=True, text=True, check=True, **options)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("users", "expected"),
    [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_neither_settings_nor_commands_load_what_is_heavy(users, expected):
    ours = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    heavy, turns = output(["-c", IMPORTS], env=ours | users)
    assert heavy == ""
    assert turns == expected, "threads that wait leave the cores to those that work, unless the user says otherwise"


@pytest.mark.parametrize(
    ("runtime", "told"),
    [
        ({}, "read: "),
        ({"training": {"trails": 3}}, "training.trails: 3 - unknown key; did you mean 'trials'?"),
    ],
)
@pytest.mark.parametrize("experiment", ["solar_cells", "hymenoptera"])  # a package, a download
def test_neither_a_sound_configuration_nor_a_mistake_loads_what_is_heavy(experiment, runtime, told):
    *lines, heavy = output(["-c", PARSES.replace("RUNTIME", repr(runtime))], experiment, cwd=PROJECT)
    assert told in lines[-1]
    assert heavy == "loaded:"


def test_a_run_trains_before_it_loads_what_measures_and_draws():
    pipelines = ", ".join(
        f"transferlab.pipelines.{name}.pipeline" for name in ("data", "transfer", "report", "predict", "learning_curve")
    )
    (line,) = output(["-c", f"import sys, {pipelines}\n{LOADED}"])
    assert not {"sklearn", "scipy", "matplotlib", "onnx"} & {*line.split()}


def test_processes_that_decode_images_load_nothing_else_that_is_heavy(tmp_path):
    (tmp_path / "decodes.py").write_text(DECODES)
    (tmp_path / "photo.ppm").write_bytes(b"P6 1 1 255\n123")
    assert output(["decodes.py"], "photo.ppm", cwd=tmp_path) == [repr(("Decoded", "loaded:\n"))]


def test_ctrl_c_while_the_console_script_imports_kedro_shows_no_traceback():
    done = subprocess.run([sys.executable, "-c", STOPPED_AT_KEDRO], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (130, "")


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
