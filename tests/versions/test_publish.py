"""Versions published to real stores and fetched again: in memory, in a folder, and S3 as moto serves it on loopback."""

import errno
import json
import os

import fsspec
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from kedro.io import DataCatalog, MemoryDataset, Version
from kedro.pipeline import node, pipeline

from transferlab.core.files.remote import Remote, RemoteError
from transferlab.datasets.document import JSONDataset, PageDataset
from transferlab.datasets.runs import RunsDataset
from transferlab.datasets.table import TableDataset
from transferlab.versions.catalogue import Versions
from transferlab.versions.fetch import fetch
from transferlab.versions.publish import publish
from transferlab.versions.published import PublishError

OLD, NEW = (f"2026-01-0{day}T00.00.00.000Z" for day in (1, 2))
KINDS = {"a.checkpoints": (TableDataset, "csv"), "a.metrics": (TableDataset, "csv"), "about": (JSONDataset, "json"),
         "report": (PageDataset, "html")}  # fmt: skip
PIPELINE = pipeline([node(lambda x: x, "photos", name, name=name) for name in KINDS])


class Project:
    """An experiment's folder, with the versions that runs have left."""

    def __init__(self, root):
        self.root = root
        self.runs = RunsDataset(filepath=str(root / "runs"))

    def dataset(self, name, version=None):
        kind, suffix = KINDS[name]
        return kind(filepath=str(self.root / f"{name}.{suffix}"), version=Version(None, version))

    @property
    def versions(self):
        named = {name: self.dataset(name) for name in KINDS}
        return Versions(DataCatalog({**named, "runs": self.runs, "experiment": MemoryDataset("flowers")}), PIPELINE)

    def run(self, version, measured=None):
        row = {"split": "test", "run_id": version, "checkpoint_version": measured or version, "metric": "accuracy"}
        if measured is None:
            self.dataset("a.checkpoints", version).save(pd.DataFrame({"weight": [0.5, 0.25]}))
        self.dataset("a.metrics", version).save(pd.DataFrame([{**row, "value": 0.5}]))
        self.dataset("about", version).save({"version": version})
        self.dataset("report", version).save(f"<p>{version}</p>" * 100)

    def files(self):
        """Every file of a version and its content."""
        found = [file for file in self.root.rglob("*") if file.is_file() and "runs" not in file.parts]
        return {file.relative_to(self.root).as_posix(): file.read_bytes() for file in found}


@pytest.fixture
def here(tmp_path):
    project = Project(tmp_path / "here")
    project.run(OLD)
    project.run(NEW, measured=OLD)
    return project


@pytest.fixture
def elsewhere(tmp_path):
    return Project(tmp_path / "elsewhere")


@pytest.fixture(params=["memory", "file", "s3"])
def url(request, tmp_path):
    if request.param == "s3":
        return f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return f"memory://{tmp_path.name}" if request.param == "memory" else (tmp_path / "published").as_uri()


def test_what_is_published_comes_back_to_the_byte(here, elsewhere, url):
    places = [f"{url}/flowers/{version}" for version in (OLD, NEW)]
    assert publish(here.versions, url) == places, "the metrics of the new one refer to the old one"
    listed = json.loads((Remote(places[1]) / "files.json").read())
    assert {len(file["sha256"]) for inside in listed["files"].values() for file in inside.values()} == {64}
    assert listed["refers_to"] == [OLD]
    assert fetch(elsewhere.versions, url) == [OLD, NEW]
    assert elsewhere.files() == here.files()
    assert [elsewhere.versions.state(version) for version in (OLD, NEW)] == ["complete", "complete"]


def test_a_version_without_models_is_published_and_fetched_by_its_name_alone(here, elsewhere, tmp_path):
    url, data_alone = (tmp_path / "published").as_uri(), "2026-01-03T00.00.00.000Z"
    here.dataset("about", data_alone).save({"version": data_alone})
    assert publish(here.versions, url) == [f"{url}/flowers/{version}" for version in (OLD, NEW)]
    assert publish(here.versions, url, data_alone) == [f"{url}/flowers/{data_alone}"]
    assert fetch(elsewhere.versions, url) == [OLD, NEW]
    assert fetch(elsewhere.versions, url, data_alone) == [data_alone]


def test_where_no_version_has_a_model_none_is_chosen(elsewhere, tmp_path):
    url = (tmp_path / "published").as_uri()
    elsewhere.dataset("about", OLD).save({"version": OLD})
    with pytest.raises(PublishError, match=rf"kedro run --env=flowers --pipeline=transfer`.*; finished are {OLD}"):
        publish(elsewhere.versions, url)
    publish(elsewhere.versions, url, OLD)
    with pytest.raises(PublishError, match=rf"no finished version with a model: .*; published are {OLD}"):
        fetch(elsewhere.versions, url)


def test_doing_it_again_changes_nothing(here, elsewhere, url):
    publish(here.versions, url, OLD)
    assert publish(here.versions, url, OLD) == []
    assert fetch(elsewhere.versions, f"{url}/flowers/{OLD}") == [OLD]
    assert fetch(elsewhere.versions, url, OLD) == []


def test_a_version_without_its_list_is_none(here, elsewhere, url):
    publish(here.versions, url, OLD)
    (Remote(url) / "flowers" / OLD / "files.json").remove()
    with pytest.raises(PublishError, match="flowers has no finished version"):
        fetch(elsewhere.versions, url)
    assert publish(here.versions, url, OLD) == [f"{url}/flowers/{OLD}"]
    assert fetch(elsewhere.versions, url) == [OLD]


def test_a_damaged_file_is_noticed_and_nothing_is_fetched(here, elsewhere, url, tmp_path):
    publish(here.versions, url, OLD)
    damaged = Remote(url) / "flowers" / OLD / "report" / "report.html"
    content = bytearray(damaged.read())
    content[7] ^= 1
    (tmp_path / "damaged").write_bytes(content)
    damaged.upload(tmp_path / "damaged")
    with pytest.raises(PublishError, match=r"report\.html is damaged: its sha256 is .*; nothing was fetched"):
        fetch(elsewhere.versions, url)
    assert elsewhere.files() == {}
    assert elsewhere.versions.not_ended == {}


def test_nothing_is_replaced(here, elsewhere, url):
    publish(here.versions, url, OLD)
    elsewhere.run(OLD)
    (elsewhere.root / "report.html" / OLD / "report.html").write_text("mine")
    before = elsewhere.files()
    with pytest.raises(PublishError, match=r"holds other files of this version, and nothing is replaced"):
        publish(elsewhere.versions, url, OLD)
    with pytest.raises(PublishError, match=r"holds other files than the published version, and nothing is replaced"):
        fetch(elsewhere.versions, url, OLD)
    assert elsewhere.files() == before
    assert fetch(here.versions, url, OLD) == []


class Full(MemoryFileSystem):
    """A store that fails at one write, which it tears."""

    protocol = "full"
    store, pseudo_dirs, writes, at = {}, [""], 0, None

    def pipe_file(self, path, value, mode="overwrite", **options):
        if self._fails():
            super().pipe_file(path, value[: len(value) // 2], mode=mode, **options)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().pipe_file(path, value, mode=mode, **options)

    def put_file(self, local, path, **options):
        if self._fails():
            raise ConnectionResetError("gone")
        super().put_file(local, path, **options)

    @classmethod
    def _fails(cls):
        cls.writes += 1
        return cls.writes == cls.at


def test_an_upload_that_is_interrupted_at_any_write_is_no_version(here, elsewhere):
    fsspec.register_implementation("full", Full, clobber=True)
    for at in range(1, 6):  # four files, and the list
        Full.writes, Full.at, url = 0, at, f"full://{at}"
        with pytest.raises(RemoteError, match=r"cannot be used \((OSError|ConnectionResetError)"):
            publish(here.versions, url, OLD)
        with pytest.raises(PublishError, match="has no finished version"):
            fetch(elsewhere.versions, url)
        assert elsewhere.files() == {}
        assert publish(here.versions, url, OLD) == [f"{url}/flowers/{OLD}"]
    assert fetch(elsewhere.versions, url) == [OLD]
    assert elsewhere.files() == {path: content for path, content in here.files().items() if OLD in path}


def test_a_fetch_that_was_killed_between_two_datasets_goes_on(here, elsewhere, tmp_path):
    url = (tmp_path / "published").as_uri()
    publish(here.versions, url, OLD)
    elsewhere.dataset("about", OLD).save({"version": OLD})
    elsewhere.runs.begin(OLD).end(is_whole=False)  # as a kill leaves it
    assert elsewhere.versions.state(OLD) == "unfinished"
    assert fetch(elsewhere.versions, url) == [OLD]
    assert elsewhere.versions.state(OLD) == "complete"


def test_a_version_that_is_not_finished_is_not_published(here, tmp_path):
    url = (tmp_path / "published").as_uri()
    mark = here.runs.begin(NEW)
    with pytest.raises(PublishError, match=rf"'{NEW}' is under way, so it cannot be published; did you mean '{OLD}'"):
        publish(here.versions, url, NEW)
    mark.end(is_whole=False)
    with pytest.raises(PublishError, match="is unfinished"):
        publish(here.versions, url, NEW)
    with pytest.raises(PublishError, match=r"'2030' is not there, so it cannot be published; finished are"):
        publish(here.versions, url, "2030")
    assert publish(here.versions, url) == [f"{url}/flowers/{OLD}"]


def test_another_version_or_experiment_is_told(here, elsewhere, tmp_path):
    url = (tmp_path / "published").as_uri()
    publish(here.versions, url, OLD)
    with pytest.raises(PublishError, match=rf"no finished version '{OLD[:-1]}'; did you mean '{OLD}'"):
        fetch(elsewhere.versions, url, OLD[:-1])
    other = elsewhere.versions
    other._name = MemoryDataset("trees")
    with pytest.raises(PublishError, match="is a version of flowers: add --env=flowers"):
        fetch(other, f"{url}/flowers/{OLD}")


@pytest.mark.parametrize("path", ["../../evil", "/etc/evil", "a/../../evil"])
def test_a_list_that_leads_elsewhere_is_refused(here, elsewhere, tmp_path, path):
    url = (tmp_path / "published").as_uri()
    publish(here.versions, url, OLD)
    file = tmp_path / "published" / "flowers" / OLD / "files.json"
    listed = json.loads(file.read_text())
    listed["files"]["about"][path] = {"size": 1, "sha256": "0" * 64}
    file.write_text(json.dumps(listed))
    with pytest.raises(PublishError, match="names files outside of its folder"):
        fetch(elsewhere.versions, url, OLD)
    assert elsewhere.files() == {}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": NEW}, f"is the list of the version '{NEW}'"),
        ({"files": {"a.checkpoints": {}}}, r"names no files of a\.checkpoints"),
        ({"files": {"a.checkpoints": {".": {"size": 1, "sha256": "0"}}}}, r"names no files of a\.checkpoints, or some"),
    ],
)
def test_a_list_that_is_another_versions_or_names_no_files_is_refused(here, elsewhere, tmp_path, change, told):
    url = (tmp_path / "published").as_uri()
    publish(here.versions, url, OLD)
    file = tmp_path / "published" / "flowers" / OLD / "files.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(PublishError, match=f"{told}.*: nothing was fetched"):
        fetch(elsewhere.versions, url, OLD)
    assert elsewhere.files() == {}
