"""What a user sees and what is on disk when a run cannot go on."""

import pytest


def calm(done, *words: str) -> None:
    """The run failed with one message, which has the words, and no traceback."""
    assert done.returncode not in (0, None), done.stdout
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    assert done.stderr.startswith("Error: "), text
    assert len(text.splitlines()) < 8, text
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
        (["--env=tiny", "--nodes=scratch.train"], ["scratch.initial_model", "no version", "--only-missing-outputs"]),
    ],
    ids=["experiment", "folder", "pipeline", "runner", "input"],
)
def test_a_mistake_is_one_calm_message(fresh, options, words):
    calm(fresh.kedro("run", *options), *words)


def test_weights_that_are_damaged_stop_the_run_and_say_how_to_go_on(fresh):
    (fresh.root / "weights.pth").write_bytes(b"no weights")
    done = fresh.kedro("run", "--env=tiny")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "weights.pth" in done.stderr
    assert "--from-nodes=" in done.stderr
    assert "build_model" in done.stderr.partition("--from-nodes=")[2]


def test_an_interrupted_training_leaves_nothing_half_written(tiny):
    before = tiny.files()
    long = "--params=strategies.scratch.stages.train.epochs=5000"
    done = tiny.interrupt("--nodes=scratch.build_model,scratch.train", long, after="training on")
    assert done.returncode == 130
    assert done.stderr == (
        "Error: stopped. Everything that was finished is kept.\nTo go on from there, add --from-nodes=scratch.train\n"
    )
    assert "Traceback" not in done.stdout
    new = {str(file.relative_to(tiny.root / "data")) for file in tiny.files() - before}
    assert not any(".unfinished-" in name or "checkpoints" in name or "history" in name for name in new)
    kept = ("initial_model", "summary", "scratch/unfinished/")  # the last is what a rerun goes on from
    assert all(any(part in name for part in kept) for name in new), "only what was finished"
