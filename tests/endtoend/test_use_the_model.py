"""`predict` and `export` on what a real run has left."""

import json

import numpy as np
import pandas as pd
import pytest


def test_the_test_files_give_the_stored_predictions_to_the_bit(tiny, tmp_path):
    stored = tiny.table("07_model_output/{}/scratch/predictions.parquet")
    index = tiny.table("03_primary/{}/index.parquet")
    test = index.loc[index["split"] == "test"]
    (tmp_path / "list.csv").write_text(
        "path,label\n"
        + "".join(
            f"{tiny.root / 'images' / path},{name}\n" for path, name in zip(test["path"], test["class"], strict=True)
        )
    )
    for number, own in stored.groupby("trial"):
        done = tiny.kedro(
            *("transferlab", "predict", str(tmp_path / "list.csv"), f"scratch/trial_{number + 1}", "--env=tiny"),
            *("--out", str(tmp_path / "p.parquet")),
        )
        assert (done.returncode, done.stderr) == (0, "")
        predicted = pd.read_parquet(tmp_path / "p.parquet")
        columns = [name for name in stored if name.startswith("p_")]
        assert list(predicted["label"]) == list(own["truth"])
        assert np.array_equal(predicted[columns], own[columns])
        accuracy = (own["truth"] == own["prediction"]).mean()
        assert f"Measured on 30 labelled images: accuracy {accuracy:.1%}" in done.stdout


def test_a_folder_is_predicted_by_the_recommended_strategy(tiny, tmp_path):
    done = tiny.kedro(
        "transferlab", "predict", str(tiny.root / "images"), "--env=tiny", "--out", str(tmp_path / "p.csv")
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, promise, page, _, count, last = done.stdout.splitlines()
    assert first.startswith("Model: ")
    assert "the mean of 2 trials" in first
    assert promise.startswith("Prediction sets hold the true class of 90% of images like the validation images")
    assert "calibrated on 18," in promise
    assert page == f"Page: {tmp_path / 'p.html'}; contact sheet: {tmp_path / 'p.png'}"
    assert count.startswith("121 images found: 120 predicted, 1 refused; ")
    assert last == f"Predictions: {tmp_path / 'p.csv'}"
    table = pd.read_csv(tmp_path / "p.csv")
    refused = table[table["prediction"].isna()]
    assert len(table) == 121
    assert list(refused["path"]) == [str(tiny.root / "images" / "circle" / "torn.png")]
    assert refused["reason"].notna().all()
    assert {path.name for path in tmp_path.iterdir()} == {"p.csv", "p.html", "p.png"}


def test_the_pipeline_saves_a_table_and_a_contact_sheet(tiny):
    said = tiny.run("--pipeline=predict", "--params=predict.source=images,predict.model=staged/trial_1")
    assert "Predictions: 121 images found: 120 predicted, 1 refused:" in said
    assert len(tiny.table("07_model_output/{}/predictions.parquet")) == 121
    assert tiny.file("08_reporting/{}/figures/contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    assert "least sure" in tiny.file("08_reporting/{}/predictions.html").read_text()
    assert not (tiny.root / "data" / "07_model_output" / "tiny" / "predictions_unfinished").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone",), "gone does not exist: give image files, a folder"),
        (("images", "scrach"), "'scrach' is no strategy of tiny and no file; did you mean 'scratch'"),
        (("images", "--out=p.xlsx"), "must end in .csv or .parquet"),
    ],
)
def test_bad_input_is_one_error_and_writes_nothing(tiny, arguments, message):
    before = set(tiny.root.iterdir())
    done = tiny.kedro("transferlab", "predict", *arguments, "--env=tiny")
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert set(tiny.root.iterdir()) == before


def test_before_any_run_the_command_that_trains_is_named(fresh):
    done = fresh.kedro("transferlab", "predict", "images", "--env=tiny")
    assert done.returncode == 1
    assert "tiny has no finished trials yet: train first: `" in done.stderr
    done = fresh.kedro("run", "--pipeline=predict", "--env=tiny")
    assert done.returncode == 1
    assert "predict.source is not set" in done.stderr


def test_a_network_is_exported_with_its_card(tiny, tmp_path):
    pytest.importorskip("onnx", reason="the extra `export` is not installed")
    pytest.importorskip("onnxscript", reason="the extra `export` is not installed")
    out = tmp_path / "model"
    version = tiny.versions("06_models/{}/scratch/checkpoints")[0]  # later ones, of other tests, may not be evaluated
    export = ("transferlab", "export", f"scratch@{version}/trial_2", "--env=tiny", "--out", str(out))
    done = tiny.kedro(*export)
    assert done.returncode == 0, done.stderr
    assert "The export gives what torch gives on 30 images" in done.stdout
    assert {file.name for file in out.iterdir()} == {
        "model.onnx",
        "model.json",
        "predict.py",
        "README.md",
        "LICENSE.md",
    }
    about, card = json.loads((out / "model.json").read_text()), (out / "README.md").read_text()
    assert about["trial"] == 1
    assert about["when_it_does_not_know"]["calibrated_on"] == 18
    assert "the experiment `tiny`: 72 train images" in card
    assert "photographs in two splits" in card
    again = tiny.kedro(*export)
    assert again.returncode == 1
    assert "exists: choose another folder" in again.stderr
