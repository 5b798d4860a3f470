"""A whole run in which every trial has a split of its own."""

import math
import re

import pytest
import yaml
from tiny_project import PARAMETERS, TinyProject

STRATEGIES = ("scratch", "feature_extraction")
CHANGES = {"training": {"trials": 3}, "dataset": {"split": {"resplits": 3, "groups": {"path": r"(\w\w)\.png$"}}}}


@pytest.fixture(scope="module")
def project(tmp_path_factory, server) -> TinyProject:
    """The tiny project after a run with three re-splits of groups: an image of each class with the same number."""
    project = TinyProject(tmp_path_factory.mktemp("re_splits"), server)
    parameters = yaml.safe_load(PARAMETERS)
    for block, changes in CHANGES.items():
        for key, value in changes.items():
            own = parameters[block].get(key)
            parameters[block][key] = own | value if isinstance(own, dict) else value
    parameters["strategies"] = {name: parameters["strategies"][name] for name in STRATEGIES}
    parameters["strategies"]["feature_extraction"]["select"] = "best"
    (project.root / "conf" / "tiny" / "parameters.yml").write_text(yaml.safe_dump(parameters))
    project.run()
    return project


def test_trials_are_tested_on_images_of_their_own_and_groups_stay_whole(project):
    index = project.table("03_primary/{}/index.parquet")
    for column in ("split", "split_1", "split_2"):
        assert (index.groupby("group")[column].nunique() == 1).all()
    predictions = [project.table(f"07_model_output/{{}}/{name}/predictions.parquet") for name in STRATEGIES]
    for table in predictions:
        for trial, column in enumerate(("split", "split_1", "split_2")):
            tested = set(table.loc[table["trial"] == trial, "path"])
            assert tested == set(index.loc[index[column] == "test", "path"])
    assert len({*map(frozenset, predictions[0].groupby("trial")["path"].agg(list))}) > 1


def test_the_features_of_all_re_splits_are_computed_once(project):
    cached = list(project.root.glob("data/04_feature/tiny/*.safetensors"))
    assert len(cached) == 3, "two augmented views for training, one for validation and test, of all images"


def test_every_figure_has_a_corrected_interval(project):
    index, table = (project.table(f"{at}") for at in ("03_primary/{}/index.parquet", "08_reporting/{}/comparison.csv"))
    in_any_test = (index[["split", "split_1", "split_2"]] == "test").any(axis=1)
    assert set(table["test_images"]) == {in_any_test.sum()}
    assert set(table["groups"]) == {index.loc[in_any_test, "group"].nunique()}
    assert set(table["splits"]) == {3}
    assert set(table["splitting"]) == {"re-splits"}
    ranked = table[table["metric"] == "accuracy"]
    assert ranked[["low", "high", "low_images", "high_images", "behind_at_most"]].notna().all(axis=None)
    ratio = (index[["split", "split_1", "split_2"]] == "test").sum() / (
        index[["split", "split_1", "split_2"]] == "train"
    ).sum()
    half = 4.302652730 * ranked["sd"] * math.sqrt(1 / 3 + ratio.mean())
    assert list(ranked["high"] - ranked["mean"]) == pytest.approx(list(half))
    differences = project.table("08_reporting/{}/differences.csv")
    assert differences[["low_images", "high_images", "trial_sd", "trials_needed"]].notna().all(axis=None)
    assert set(differences["trials"]) == {3}


def test_the_page_says_what_its_intervals_are_over(project):
    page = project.file("08_reporting/{}/report.html").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", re.sub(r"<style.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL))
    assert "Trials have random splits of their own: 3 splits" in text
    assert "corrected for that (Nadeau and Bengio 2003)" in text
    assert re.search(r"95% interval over 3 re-splits \(test images in \d+ groups\)", text)
    assert re.search(r"Test images are in \d+ groups, which stay on one side of every split", text)
    assert not re.search(r"\bnan\b", text)
    assert "over trials alone [" not in text


def test_trials_that_do_not_use_each_split_equally_often_are_refused(project):
    done = project.kedro("run", "--env=tiny", "--params=training.trials=4")
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert "training.trials: 4 - but dataset.split (resplits: 3) makes 3 splits" in told
    assert "set it to 3 or a multiple" in told
