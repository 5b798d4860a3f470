"""What a whole run leaves. Version 0 of everything is that of the run itself: other tests add later ones."""

import re

import numpy as np
import pytest
from tiny_project import IMAGES, STRATEGIES

from transferlab.core.inference.predict import predict
from transferlab.core.models.checkpoint import Checkpoint

COLUMNS = {
    "metrics": "experiment strategy trial split selection run_id checkpoint_version metric value",
    "per_class": "experiment strategy trial split selection class precision recall f1 support run_id "
    "checkpoint_version",
    "confusion": "experiment strategy trial split selection truth prediction count run_id checkpoint_version",
    "history": "strategy trial stage epoch split loss accuracy learning_rate seconds value",
    "cost": "strategy trial total_parameters trainable_parameters epochs views seconds feature_seconds feature_mb "
    "seconds_per_epoch images_per_second peak_memory_mb device device_name precision threads devices parallel_trials "
    "node",
    "comparison": "strategy metric mean low high sd trials test_images selection low_images high_images standing "
    "behind_at_most corrected decides margin groups splits splitting",
    "differences": "strategy versus metric difference low high low_images high_images trials test_images p_exact "
    "seeds_se sample_se images_se trial_sd image_sd both_sd target images_needed trials_needed images_for_power "
    "trials_for_power",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_tables_have_their_columns_and_every_strategy(tiny, name):
    table = tiny.table(f"08_reporting/{{}}/{name}.csv", 0)
    assert set(COLUMNS[name].split()) == set(table.columns)
    others = set(table["versus"]) if name == "differences" else set()
    assert set(STRATEGIES) == set(table["strategy"]) | others


def test_the_steps_and_the_predictions_have_their_columns(tiny):
    steps = tiny.table("08_reporting/{}/steps.parquet", 0)
    assert set(steps.columns) == {"strategy", "trial", "stage", "epoch", "step", "learning_rate", "loss"}
    predictions = tiny.table("07_model_output/{}/staged/predictions.parquet", 0)
    p_NK = predictions[["p_circle", "p_square", "p_stripes"]]
    np.testing.assert_allclose(p_NK.sum(axis=1), 1)
    classes = np.array(["circle", "square", "stripes"])
    assert (classes[p_NK.to_numpy().argmax(axis=1)] == predictions["prediction"]).all()
    assert len(predictions) == 2 * round(0.25 * 3 * IMAGES)


def test_every_image_is_accounted_for(tiny):
    index = tiny.table("03_primary/{}/index.parquet", 0)
    quarantine = tiny.table("02_intermediate/{}/quarantine.csv", 0)
    assert len(index) == 3 * IMAGES
    assert list(quarantine["path"]) == ["circle/torn.png"]
    assert index.groupby("split").size().to_dict() == {"train": 72, "validation": 18, "test": 30}


def test_every_metric_says_where_it_comes_from(tiny):
    metrics = tiny.table("08_reporting/{}/metrics.csv", 0)
    run_id = tiny.versions("08_reporting/{}/metrics.csv")[0]
    assert set(metrics["run_id"]) == set(metrics["checkpoint_version"]) == {run_id}
    assert set(metrics["experiment"]) == {"tiny"}
    rules = metrics.groupby("strategy")["selection"].unique().map(list).to_dict()
    assert rules.pop("scratch") == ["best validation accuracy"]
    assert set(map(tuple, rules.values())) == {("last epoch",)}
    assert (metrics.groupby(["strategy", "metric"]).size() == 2).all(), "two trials each"
    assert tiny.document("08_reporting/{}/facts.json")["seed"] == 1


def test_training_learns(tiny):
    metrics = tiny.table("08_reporting/{}/metrics.csv", 0)
    accuracy = metrics[metrics["metric"] == "accuracy"].groupby("strategy")["value"].mean()
    assert accuracy["scratch"] > 0.8 > accuracy["untrained"]


def test_a_strategy_without_stages_is_measured_but_not_trained(tiny):
    cost = tiny.table("07_model_output/{}/untrained/cost.csv", 0)
    assert (cost[["epochs", "trainable_parameters"]] == 0).all().all()
    history = tiny.table("07_model_output/{}/untrained/history.csv", 0)
    assert set(history["epoch"]) == {0}


def test_a_checkpoint_alone_predicts_as_the_run_did(tiny):
    checkpoint = Checkpoint.read(tiny.file("06_models/{}/scratch/checkpoints", 0) / "trial_1.safetensors")
    assert checkpoint.header.strategy == "scratch"
    assert checkpoint.header.classes == ("circle", "square", "stripes")
    predictions = tiny.table("07_model_output/{}/scratch/predictions.parquet", 0)
    rows = predictions[predictions["trial"] == 1].head(8)
    found = predict(checkpoint, [tiny.root / "images" / path for path in rows["path"]])
    columns = ["p_circle", "p_square", "p_stripes"]
    np.testing.assert_allclose(found[columns], rows[columns], atol=1e-5)
    assert list(found["prediction"]) == list(rows["prediction"])


def test_the_report_is_whole_and_self_contained(tiny):
    page = tiny.file("08_reporting/{}/report.html", 0).read_text(encoding="utf-8")
    assert "<title>Shapes" in page
    assert page.count("data:image/png;base64,") + page.count("data:image/webp;base64,") >= 20
    assert not re.findall(r'(?:src|href)="(?!data:|#|https://(?:doi|arxiv))[^"]*"', page), "requests nothing"
    assert "<script" not in page
    assert "is newer" not in page, "nothing is stale"
    for name in STRATEGIES:
        assert name.replace("_", " ").capitalize() in page


def test_nothing_unfinished_is_left(tiny):
    assert not [file for file in tiny.files() if ".unfinished-" in str(file)]


def test_the_run_says_what_it_found_and_nothing_more(first_run):
    output = first_run[1]
    lines = output.splitlines()
    assert "Test accuracy on 30 images" in output
    assert lines[-1].startswith("Report: ")
    assert lines[-1].endswith("report.html")
    assert not any(word in output for word in ("WARNING", "Deprecat", "Traceback", "\x1b"))
    told = [line for line in lines if "trial" in line and "done" in line]
    assert len(told) == 2 * 3, "one line per trial"
    assert all("loss" in line and "accuracy" in line for line in told)
    assert all(line.strip() for line in lines[: lines.index(told[-1])]), "no blank lines between them"


def test_nobody_on_the_network_is_asked(first_run):
    log = first_run[0].root / "network.log"
    assert not log.exists(), log.read_text()
