"""What a user sees and what is on disk when a run cannot go on."""

import os
import shutil
import signal
import sys

import pandas as pd
import pytest

from transferlab.core.files.hashing import digest
from transferlab.core.models.checkpoint import Checkpoint


def calm(done, *words: str) -> None:
    """The run failed with one message, which has the words, and no traceback."""
    assert done.returncode not in (0, None), done.stdout
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    assert done.stderr.startswith("Error: "), text
    assert len(done.stderr.splitlines()) < 8, text
    for word in words:
        assert word in done.stderr


def test_bad_parameters_stop_the_run_before_anything_is_written(fresh):
    done = fresh.kedro(
        "run", "--env=tiny", "--params=strategies.scratch.stages.train.epochs=0,training.trails=3,dataset.workers=0"
    )
    calm(done, "strategies.scratch.stages.train.epochs: 0", "training.trails: 3", "'trials'", "dataset.workers: 0")
    assert not (fresh.root / "data").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--env=tyni"], ["--env=tyni", "experiments are tiny"]),
        (["--env=tiny", "--params=dataset.source.path=gone"], ["acquire", "dataset.source.path", "'gone'"]),
        (["--env=tiny", "--pipeline=transfr"], ["'transfr'", "transfer"]),
        (["--env=tiny", "--runner=ThreadRunner"], ["ThreadRunner", "ParallelRunner"]),
        (
            ["--env=tiny", "--runner=ParallelRunner", "--params=training.compute.launcher=ray"],
            ["ParallelRunner", "in one queue", "leave it out"],
        ),
        (["--env=tiny", "--nodes=scratch.train"], ["scratch.initial_model", "no version", "--only-missing-outputs"]),
    ],
    ids=["experiment", "folder", "pipeline", "runner", "runner on a cluster", "input"],
)
def test_a_mistake_is_one_calm_message(fresh, options, words):
    calm(fresh.kedro("run", *options), *words)


def test_where_there_is_no_configuration_the_option_that_names_it_is_told(fresh):
    shutil.rmtree(fresh.root / "conf")
    calm(fresh.kedro("run"), str(fresh.root / "conf"), "run --conf-source=path/to/conf")


def test_weights_that_are_damaged_stop_the_run_before_any_work(fresh):
    (fresh.root / "weights.pth").write_bytes(b"no weights")
    done = fresh.kedro("run", "--env=tiny")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert 'model.weights: "weights.pth" - weights.pth is no file of weights, or is damaged' in done.stderr
    assert not (fresh.root / "data" / "06_models" / "tiny").exists()


def test_training_that_is_stopped_and_finds_no_space_ends_with_the_same_bits(tiny):
    train = "--nodes=scratch.build_model,scratch.train"
    shutil.rmtree(tiny.root / "data/06_models/tiny/scratch/fingerprints.json")  # else what is finished is reused
    before = tiny.files()
    done = tiny.faulty(train, stop=(signal.SIGTERM, "trial 1 of 2 done"))
    assert done.returncode == 143
    assert done.stderr == (
        "Error: stopped by SIGTERM. Everything that was finished is kept.\nTo go on from there, "
        "add --from-nodes=scratch.train: training goes on after epoch 3 of trial 1 (scratch)\n"
    )
    assert "Traceback" not in done.stdout
    new = {str(file.relative_to(tiny.root / "data")) for file in tiny.files() - before}
    assert not any(".unfinished-" in name or "checkpoints" in name or "history" in name for name in new)
    kept = ("initial_model", "summary", "scratch/unfinished/", "tiny/runs/", "parameters_used")
    assert all(any(part in name for part in kept) for name in new), "only what was finished"

    done = tiny.faulty("--nodes=scratch.train", largest_file=500_000)
    calm(done, "scratch.train: File too large", "scratch/unfinished/trial_1.pt", "run again: it goes on where it was")

    done = tiny.faulty("--nodes=scratch.train", stop=(signal.SIGINT, "trial 2 of 2 done"))
    assert done.returncode == 130
    assert "goes on after epoch 3 of trial 2 (scratch)" in done.stderr

    killed = tiny.root / "data/06_models/tiny/scratch/checkpoints/2026-01-01T00.00.00.000Z"
    (killed / ".unfinished-1").mkdir(parents=True)
    output = " ".join(tiny.run("--nodes=scratch.train").split())
    assert "trial 1 goes on after epoch 3" in output
    assert "removed what a killed process left unfinished" in output
    assert not killed.exists()
    for trial in (0, 1):
        first, last = (
            Checkpoint.read(tiny.file("06_models/{}/scratch/checkpoints", version) / f"trial_{trial}.safetensors")
            for version in (0, -1)
        )
        assert (digest(first.tensors), first.header) == (digest(last.tensors), last.header)
    path = "07_model_output/{}/scratch/history.csv"
    first, last = (tiny.table(path, version).drop(columns="seconds") for version in (0, -1))
    pd.testing.assert_frame_equal(first, last, check_exact=True)


def test_what_diverged_trials_had_is_kept_but_is_no_version_and_goes_when_they_finish(tiny):
    versions, wild = tiny.versions("06_models/{}/staged/checkpoints"), "strategies.staged.stages.tune.optimizer.lr=1e30"
    done = tiny.faulty("--nodes=staged.train", f"--params={wild}")
    folder = tiny.root / "data" / "06_models" / "tiny" / "staged" / "diverged"
    calm(
        done, "staged.train: the loss became", f"What it had after epoch 1 is kept in {folder / 'trial_0.safetensors'}"
    )
    kept = {folder / f"trial_{trial}.safetensors" for trial in (0, 1)}
    assert set(folder.iterdir()) == kept
    listed = tiny.kedro("transferlab", "versions", "--env=tiny").stdout
    assert "diverged" not in listed
    done = tiny.kedro("transferlab", "prune", "--env=tiny", "--keep=100", "--yes")
    assert done.returncode == 0, done.stderr
    assert set(folder.iterdir()) == kept
    assert tiny.versions("06_models/{}/staged/checkpoints") == versions
    assert [Checkpoint.read(file).header.epoch for file in kept] == [1, 1]
    tiny.run("--nodes=staged.train", "--params=training.fresh=true")
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(
    sys.platform != "linux" and os.geteuid() == 0, reason="the permissions of a file do not bind root here"
)
def test_a_folder_that_cannot_be_written_is_one_calm_message(tiny):
    folder = tiny.root / "data" / "07_model_output" / "tiny" / "scratch" / "metrics.csv"
    folder.chmod(0o555)
    try:
        done = tiny.faulty("--nodes=scratch.evaluate")
    finally:
        folder.chmod(0o755)
    calm(done, "Permission denied", str(folder), "and run again", "add --from-nodes=scratch.evaluate")


def test_damage_is_named_before_a_number_comes_of_it(tiny):
    file = tiny.file("06_models/{}/scratch/checkpoints") / "trial_1.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (pixels,) = (tiny.root / "data" / "03_primary" / "tiny" / "images").glob("*/pixels.bin")
    images = pixels.read_bytes()
    try:
        calm(tiny.faulty("--nodes=scratch.evaluate"), str(file), "damaged", "restore a copy")
        pixels.write_bytes(images[:-1] + bytes([images[-1] ^ 1]))
        calm(tiny.faulty("--nodes=scratch.evaluate"), str(pixels.parent), "damaged", "--nodes=data.decode_images")
        assert "decoded again" in " ".join(tiny.run("--nodes=data.decode_images").split())
        assert pixels.read_bytes() == images
    finally:
        file.write_bytes(whole)
