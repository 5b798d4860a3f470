"""Written whole or not at all, and a session loads the version that it saved itself."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny
import yaml
from dataset_kinds import KINDS, NEW, OLD, OTHER, checkpoint, version
from kedro.io import DatasetError

from transferlab.core.models.checkpoint import CheckpointError
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.columns import COLUMNS
from transferlab.datasets.table import TableDataset

HISTORY = pd.DataFrame(
    {"strategy": ["a"], "stage": ["s"], "split": ["train"], "trial": [0], "epoch": [1], "loss": [0.5],
     "accuracy": [0.5], "learning_rate": [0.1]}
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_session_loads_what_it_saved_itself(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    path = tmp_path / name
    version(dataset, path, OLD).save(data)
    mine, theirs = version(dataset, path, NEW), version(dataset, path, OTHER)
    assert mine.resolve_load_version() == OLD, "nothing of its own yet"
    theirs.save(data)
    mine.save(data)
    assert mine.resolve_load_version() == NEW, "not the later one of the other session"
    assert theirs.resolve_load_version() == OTHER
    assert version(dataset, path, "2026-01-04T00.00.00.000Z").resolve_load_version() == OTHER, "a later one: the latest"
    assert version(dataset, path, NEW, load=OLD).resolve_load_version() == OLD, "the one asked for"


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_not_saved_twice(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    version(dataset, tmp_path / name, NEW).save(data)
    with pytest.raises(DatasetError, match="must not exist"):
        version(dataset, tmp_path / name, NEW).save(data)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_never_saved_does_not_exist_and_says_so(tmp_path, kind):
    dataset, name, _ = KINDS[kind]
    for missing in (version(dataset, tmp_path / name, NEW), dataset(filepath=str(tmp_path / name))):
        assert not missing.exists()
        with pytest.raises(DatasetError, match="--only-missing-outputs"):
            missing.load()


class Breaks:
    """Fails in the middle of being written, whatever it is written as."""

    header: dict[str, str] = {}  # noqa: RUF012
    columns, tensors = (), {}

    def assign(self):
        return self

    def savefig(self, file, **_):
        file.write(b"\x89PNG half")
        raise OSError("disk full")

    def to_csv(self, file, **_):
        self.savefig(file)

    def encode(self):
        raise OSError("disk full")

    def to_bytes(self, shared):
        raise OSError("disk full")


@pytest.mark.parametrize("kind", KINDS)
def test_a_save_that_raises_leaves_no_version(tmp_path, kind):
    dataset, name, data = KINDS[kind]
    path = tmp_path / name
    version(dataset, path, OLD).save(data)
    broken = {"trials": {0: checkpoint(), 1: Breaks()}, "json": {"a": Breaks()}}.get(kind, Breaks())
    failing = version(dataset, path, NEW)
    with pytest.raises(DatasetError):
        failing.save(broken)
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and NEW in str(file)]
    later = version(dataset, path, OTHER)
    assert later.exists()
    assert later.resolve_load_version() == OLD
    later.load()


# The processes import our helpers too.
WITH_HELPERS = f"import sys; sys.path.insert(0, {str(Path(tiny.__file__).parent)!r})\n"
SLOW_SAVE = """
import sys, time
from pathlib import Path
from kedro.io import Version
from tiny import header
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.table import TableDataset

class Slow:
    columns, tensors = (), {}
    def assign(self):
        return self
    def to_csv(self, file, **_):
        file.write(b"strategy,value"); file.flush(); print("half", flush=True); time.sleep(60)
    def to_bytes(self, shared):
        print("half", flush=True); time.sleep(60)

kind, path, version = sys.argv[1:]
if kind == "table":
    TableDataset(filepath=path, version=Version(None, version)).save(Slow())
else:
    import torch
    whole = Checkpoint({"w": torch.zeros(2)}, header(trial=0))
    TrialsDataset(filepath=path, version=Version(None, version)).save({0: whole, 1: Slow()})
"""


@pytest.mark.parametrize("kind", ["table", "trials"])
def test_a_save_that_is_killed_leaves_no_version_and_the_next_run_names_it(tmp_path, kind, caplog):
    dataset, name, data = KINDS[kind]
    path = tmp_path / name
    version(dataset, path, OLD).save(data)
    command = [sys.executable, "-c", WITH_HELPERS + SLOW_SAVE, kind, str(path), NEW]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    assert not version(dataset, path, OTHER, load=NEW).exists()
    later = version(dataset, path, OTHER)
    assert later.exists()
    assert later.resolve_load_version() == OLD
    (orphan,) = tmp_path.rglob(".unfinished-*")
    later.save(data)
    assert later.resolve_load_version() == OTHER
    assert orphan.exists(), "saving does not look for it, a run does when it begins"
    later.sweep()
    assert not (path / NEW).exists()
    (message,) = caplog.messages
    assert message.startswith(f"{path / NEW}: removed what a killed process left unfinished")
    later.sweep()
    assert len(caplog.messages) == 1, "said once"


SAVE_ALL = """
import json, sys
import pandas as pd, torch
from kedro.io import DatasetError, Version
from tiny import header
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.datasets.checkpoints import TrialsDataset
from transferlab.datasets.table import TableDataset

folder, who = sys.argv[1:]
kinds = {
    "table.csv": (TableDataset, pd.DataFrame({"who": [who] * 50})),
    "checkpoints": (TrialsDataset, {0: Checkpoint({"w": torch.zeros(50)}, header(trial=0, strategy=who))}),
}
print("ready", flush=True)
sys.stdin.readline()
outcome = {}
for number in range(80):
    name = ["table.csv", "checkpoints"][number % 2]
    dataset, data = kinds[name]
    version = f"2026-01-01T00.00.{number:02d}.000Z"
    try:
        dataset(filepath=f"{folder}/{name}", version=Version(None, version)).save(data)
        outcome[f"{name}/{version}"] = ""
    except DatasetError as error:
        outcome[f"{name}/{version}"] = str(error)
print(json.dumps(outcome))
"""


def test_of_two_processes_that_save_the_same_version_one_does_and_the_other_is_told(tmp_path):
    command = [sys.executable, "-c", WITH_HELPERS + SAVE_ALL, str(tmp_path)]
    savers = {
        who: subprocess.Popen([*command, who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for who in ("one", "other")
    }
    for process in savers.values():
        assert process.stdout.readline() == "ready\n"
    for process in savers.values():
        process.stdin.write("go\n")
        process.stdin.flush()
    outcomes = {who: json.loads(process.communicate()[0]) for who, process in savers.items()}
    for saved in outcomes["one"]:
        ((loser, told),) = {who: outcome[saved] for who, outcome in outcomes.items() if outcome[saved]}.items()
        assert str(tmp_path / saved) in told
        assert "run again" in told or "must not exist" in told
        name, number = saved.split("/")
        if name == "table.csv":
            saved_by = set(version(TableDataset, tmp_path / name, OTHER, load=number).load()["who"])
        else:
            saved_by = {version(TrialsDataset, tmp_path / name, OTHER, load=number).load()[0].header.strategy}
        assert saved_by == set(savers) - {loser}


def test_a_trial_that_is_lost_is_missed(tmp_path):
    dataset = version(TrialsDataset, tmp_path / "checkpoints", NEW)
    dataset.save({trial: checkpoint(trial=trial) for trial in (0, 1, 3)})
    stored = dataset.load()
    (stored.folder / "trial_1.safetensors").unlink()
    assert list(stored) == [0, 1, 3]
    with pytest.raises(CheckpointError, match=r"trial_1\.safetensors is gone"):
        dict(stored)
    (stored.folder / "trials.json").unlink()
    (stored.folder / "trial_0 copy.safetensors").touch()
    assert list(dataset.load()) == [0, 3], "a folder without a list has what it has"


@pytest.mark.parametrize(("kind", "damaged"), [("json", b'{"a": '), ("table", b""), ("table", b'a,b\n1,"2\n')])
def test_a_file_that_cannot_be_read_is_named(tmp_path, kind, damaged):
    dataset, name, data = KINDS[kind]
    saved = dataset(filepath=str(tmp_path / name))
    saved.save(data)
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(DatasetError, match=rf"^\S*{name} is damaged .*: restore a copy of it, or run the node"):
        saved.load()


def test_a_flipped_bit_in_the_values_of_a_table_is_noticed(tmp_path):
    table = pd.DataFrame({"label": range(1000)})
    saved = TableDataset(filepath=str(tmp_path / "index.parquet"))
    saved.save(table)
    content = bytearray((tmp_path / "index.parquet").read_bytes())
    content[len(content) // 3] ^= 1
    (tmp_path / "index.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"index\.parquet is damaged"):
        saved.load()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (pd.DataFrame({"x": [1]}), r"it has no column 'strategy', but \['x'\]"),
        (HISTORY.assign(loss="low"), "its column 'loss' must hold numbers, not 'low'"),
        (pd.DataFrame(), "No columns to parse"),
    ],
)
def test_a_table_of_another_kind_is_named(tmp_path, table, told):
    dataset = TableDataset(filepath=str(tmp_path / "history.csv"), content="history")
    for fine in (HISTORY, HISTORY.iloc[:0], HISTORY.assign(seconds=1.0)):
        dataset.save(fine)
        assert len(dataset.load()) == len(fine)
    dataset.save(table)
    with pytest.raises(
        DatasetError, match=rf"history.csv is damaged \({told}.*: restore a copy of it, or run the node"
    ):
        dataset.load()


def test_the_catalog_says_what_tables_hold():
    catalog = yaml.safe_load((Path(__file__).parents[2] / "conf" / "base" / "catalog.yml").read_text())
    tables = [entry for entry in catalog.values() if str(entry.get("type")).endswith(".TableDataset")]
    assert {entry["content"] for entry in tables if "content" in entry} == set(COLUMNS)
