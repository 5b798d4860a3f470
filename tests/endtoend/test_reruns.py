"""Every step can be rerun alone, from the real command line. A rerun adds versions; the oldest is the first run's."""

import pandas as pd
import pytest
import yaml


def test_evaluate_alone_reads_the_old_checkpoints_and_writes_new_versions(tiny):
    trained = tiny.versions("06_models/{}/scratch/checkpoints")
    before = tiny.versions("07_model_output/{}/scratch/metrics.csv")
    output = tiny.run("--nodes=scratch.evaluate")
    last = output.splitlines()[-1]
    assert last.startswith("Scratch: test accuracy ")
    assert last.endswith("metrics.csv")
    assert tiny.versions("06_models/{}/scratch/checkpoints") == trained
    (new,) = set(tiny.versions("07_model_output/{}/scratch/metrics.csv")) - set(before)
    metrics = tiny.table("07_model_output/{}/scratch/metrics.csv")
    assert set(metrics["run_id"]) == {new}
    assert set(metrics["checkpoint_version"]) == {trained[-1]}
    old = tiny.table("07_model_output/{}/scratch/metrics.csv", -2)
    pd.testing.assert_series_equal(metrics["value"], old["value"])


def test_the_same_seed_gives_the_same_numbers(tiny):
    others = tiny.versions("06_models/{}/scratch/checkpoints")
    tiny.run("--namespaces=staged", "--params=training.fresh=true")
    for path in ("07_model_output/{}/staged/metrics.csv", "07_model_output/{}/staged/history.csv"):
        first, second = tiny.table(path, 0), tiny.table(path)
        measured = [name for name in ("loss", "accuracy", "learning_rate", "value") if name in first]
        assert tiny.versions(path)[0] != tiny.versions(path)[-1]
        pd.testing.assert_frame_equal(first[measured], second[measured], check_exact=True)
    assert tiny.versions("06_models/{}/scratch/checkpoints") == others, "the other strategies are left alone"


def test_a_parameter_of_the_command_line_keeps_its_siblings_and_the_report_sees_what_is_stale(tiny):
    option = "--params=strategies.feature_extraction.stages.head.epochs=1"
    tiny.run("--nodes=feature_extraction.build_model,feature_extraction.train", option)
    history = tiny.table("07_model_output/{}/feature_extraction/history.csv")
    assert history["epoch"].max() == 1
    cost = tiny.table("07_model_output/{}/feature_extraction/cost.csv")
    assert set(cost["views"]) == {2}, "a sibling of epochs"
    trained = {name: tiny.versions(f"06_models/{{}}/{name}/checkpoints") for name in ("scratch", "staged")}
    (used,) = map(yaml.safe_load, [tiny.file("02_intermediate/{}/parameters_used.yml").read_text()])
    assert used["strategies"]["feature_extraction"]["stages"]["head"]["epochs"] == 1
    listed = "".join(tiny.kedro("transferlab", "versions", "--env=tiny").stdout.split())
    assert "--paramsstrategies.feature_extraction.stages.head.epochs=1" in listed
    output = tiny.run("--pipeline=report", "--params=training.trials=7")
    assert output.startswith("Experiment tiny: results go to ")
    assert "done" not in output.partition("Test accuracy")[0], "the report trains nothing"
    assert trained == {name: tiny.versions(f"06_models/{{}}/{name}/checkpoints") for name in trained}
    page = tiny.file("08_reporting/{}/report.html").read_text(encoding="utf-8")
    assert "kedro run --nodes=feature_extraction.evaluate" in page
    assert "<code>strategies.feature_extraction.stages.head.epochs=1</code>" in page
    recipes = tiny.document("08_reporting/{}/facts.json")["recipes"]
    assert yaml.safe_load(recipes["feature_extraction"])["feature_extraction"]["stages"]["head"]["epochs"] == 1
    assert "Feature extraction: the recipe" in page


def test_from_nodes_runs_what_follows(tiny):
    before = {name: tiny.versions(f"08_reporting/{{}}/{name}") for name in ("metrics.csv", "comparison.csv")}
    output = tiny.run("--from-nodes=report.compare", "--to-nodes=report.draw_differences")
    assert tiny.versions("08_reporting/{}/metrics.csv") == before["metrics.csv"]
    assert len(tiny.versions("08_reporting/{}/comparison.csv")) == len(before["comparison.csv"]) + 1
    assert "Test accuracy" in output
    assert "Report:" not in output, "this run made no page"


def test_only_missing_outputs_runs_nothing_when_nothing_is_missing(tiny):
    before = tiny.files()
    output = tiny.run("--only-missing-outputs")
    assert output.startswith("Experiment tiny: results go to data/08_reporting/tiny\n"), "nothing is trained"
    assert "Nothing to do: every output is there." in output
    assert tiny.files() == before


def test_the_data_pipeline_stops_at_the_data(fresh):
    output = fresh.run("--pipeline=data")
    used, not_used = output.splitlines()[-2:]
    assert used.startswith("Data: 3 classes, 120 images (72 train, 18 validation, 30 test)")
    assert not_used.startswith("Not used: 1 file, with reasons: ")
    assert output.count("3 classes") == 1
    assert {folder.name for folder in (fresh.root / "data").iterdir()} == {"01_raw", "02_intermediate", "03_primary"}
    assert fresh.document("03_primary/{}/statistics.json")["classes"] == ["circle", "square", "stripes"]


@pytest.mark.parametrize("how", ["--runner=ParallelRunner", "--async"])
def test_other_ways_of_running_give_the_same_numbers(tiny, how):
    tiny.run(how, "--tags=scratch,untrained", "--pipeline=transfer", "--params=training.fresh=true")
    for name in ("scratch", "untrained"):
        first, second = (tiny.table(f"07_model_output/{{}}/{name}/metrics.csv", at) for at in (0, -1))
        pd.testing.assert_series_equal(first["value"], second["value"], check_exact=True)


def test_options_that_exclude_each_other_are_told(tiny):
    done = tiny.kedro("run", "--env=tiny", "--pipeline=data", "--pipelines=report")
    assert done.returncode == 1
    assert "Options '--pipeline' and '--pipelines' cannot be used together" in done.stderr
