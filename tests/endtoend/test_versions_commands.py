"""`kedro transferlab versions` and `prune` on what real runs have left."""

import pytest
from tiny_project import STRATEGIES, TinyProject


@pytest.fixture
def copy(tiny, tmp_path) -> TinyProject:
    """A copy of the tiny project, to remove from, with one evaluation more."""
    project = TinyProject.copy(tiny.root, tmp_path / "copy", tiny.server)
    project.run("--nodes=scratch.evaluate")
    return project


def results(project) -> set:
    """Every file but the lock that keeps two prunes apart, which a dry run takes too."""
    return {file for file in project.files() if file.name != ".prune"}


def test_versions_are_listed_and_pruned(copy):
    whole, evaluated = (copy.versions("07_model_output/{}/scratch/metrics.csv")[at] for at in (0, -1))
    done = copy.kedro("transferlab", "versions", "--env=tiny")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    first = next(number for number, line in enumerate(lines) if evaluated in line)
    assert "transfer" in lines[first]
    assert lines[first].split()[-1] == "complete"
    assert lines[first + 1].split()[0] == "scratch"
    assert lines[first + 1].split()[-1] == "evaluated"
    last = next(number for number, line in enumerate(lines) if whole in line)
    assert "data, transfer, report" in lines[last]
    assert {line.split()[0] for line in lines[last + 1 : last + 5]} == set(STRATEGIES)

    before = results(copy)
    done = copy.kedro("transferlab", "prune", "--env=tiny", "--keep=1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "add --yes to remove them" in " ".join(done.stdout.split())
    assert results(copy) == before, "a dry run"

    done = copy.kedro("transferlab", "prune", "--env=tiny", "--keep=1", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    left = results(copy)
    assert left <= before
    goes = [line.split()[0] for line in done.stdout.splitlines() if line.split()[-1:] == ["goes"]]
    assert not [file for file in left if any(version in file.parts for version in goes)]
    assert not [file for file in before - left if "runs" not in file.parts and not set(goes) & set(file.parts)]
    assert f"Removed {len(goes)} of" in " ".join(done.stdout.split())


def test_what_an_experiment_takes_is_said_and_removed_when_chosen(copy):
    before = copy.files()
    done = copy.kedro("transferlab", "clean", "--env=tiny", "--stores", "--caches")
    assert (done.returncode, done.stderr) == (0, "")
    assert "add --yes to remove it" in " ".join(done.stdout.split())
    assert copy.files() == before, "a dry run"
    done = copy.kedro("transferlab", "clean", "--env=tiny", "--yes")
    assert (done.returncode, "--stores, --caches or --all" in done.stderr) == (2, True)
    done = copy.kedro("transferlab", "clean", "--env=tiny", "--all", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert not [file for file in copy.files() if "tiny" in file.relative_to(copy.root).parts]


def test_what_to_keep_must_be_said(tiny):
    done = tiny.kedro("transferlab", "prune", "--env=tiny", "--yes")
    assert done.returncode == 2
    assert "--keep N, --keep-best N or --since DATE" in done.stderr
