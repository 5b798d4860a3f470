"""What follows a whole run where conf asks for it: it is published and logged; and the published version is used."""

import pandas as pd
import pytest
from tiny_project import STRATEGIES, TinyProject


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def ended(first_run, store, tmp_path_factory) -> tuple[TinyProject, str]:
    """A copy of the tiny project whose second run, of trials that are reused, was published and logged."""
    project = TinyProject.copy(first_run[0].root, tmp_path_factory.mktemp("project") / "copy", first_run[0].server)
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    with (project.root / "conf" / "tiny" / "parameters.yml").open("a") as file:
        file.write(f"tracking: {{mlflow: 'sqlite:///{store}/mlflow.db', experiment: shapes}}\n")
    return project, project.run(f"--params=report.publish={store.as_uri()}/published")


def client(store):
    import mlflow

    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{store}/mlflow.db")


def runs(store):
    found = client(store)
    return found.search_runs([found.get_experiment_by_name("shapes").experiment_id], max_results=1000)


def test_it_says_where(ended, store):
    project, output = ended
    version = project.versions("08_reporting/{}/report.html")[-1]
    assert f"Published: {store.as_uri()}/published/tiny/{version}" in output
    assert f"Logged: tiny in sqlite:///{store}/mlflow.db" in output
    assert (
        store / "published" / "tiny" / version / "scratch.checkpoints" / "checkpoints" / "trial_0.safetensors"
    ).is_file()


def test_its_trials_are_reused_to_the_bit(ended):
    project, printed = ended
    output = " ".join(printed.split())
    for name in STRATEGIES:
        assert f"{name}: finished at " in output
    assert "training on" not in output
    for path in ("07_model_output/{}/scratch/history.csv", "07_model_output/{}/staged/cost.csv"):
        assert project.file(path).read_bytes() == project.file(path, -2).read_bytes()
    old, new = (project.file("06_models/{}/staged/checkpoints", version) for version in (-2, -1))
    assert all((new / file.name).read_bytes() == file.read_bytes() for file in old.iterdir())


def test_a_run_has_its_strategies_and_they_their_trials(ended, store):
    found = {run.info.run_id: run for run in runs(store)}
    names = {run.info.run_name for run in found.values()}
    assert names == {"tiny", *STRATEGIES, *(f"{name}, trial {n}" for name in STRATEGIES for n in (1, 2))}
    assert len(found) == 1 + 4 + 8
    for run in found.values():
        parent = found.get(run.data.tags.get("mlflow.parentRunId"))
        above = {"tiny": None, **dict.fromkeys(STRATEGIES, "tiny")}.get(
            run.info.run_name, run.info.run_name.partition(",")[0]
        )
        assert (parent.info.run_name if parent else None) == above
        assert run.info.status == "FINISHED"


def test_what_is_logged_is_what_is_in_the_tables(ended, store):
    project, _ = ended
    history, metrics, cost = (project.table(f"08_reporting/{{}}/{name}.csv") for name in ("history", "metrics", "cost"))
    log = client(store)
    for run in (run for run in runs(store) if ", trial" in run.info.run_name):
        strategy, trial = run.data.params["strategy"], int(run.data.params["trial"]) - 1
        for (split), rows in history[(history.strategy == strategy) & (history.trial == trial)].groupby("split"):
            for column in ("loss", "accuracy"):
                points = log.get_metric_history(run.info.run_id, f"{split}/{column}")
                assert {point.step: point.value for point in points} == dict(zip(rows.epoch, rows[column], strict=True))
        own = metrics[(metrics.strategy == strategy) & (metrics.trial == trial)]
        measured = {f"measured/{row.split}/{row.metric}": row.value for row in own.itertuples() if pd.notna(row.value)}
        assert measured.items() <= run.data.metrics.items()
        (spent,) = cost[(cost.strategy == strategy) & (cost.trial == trial)].to_dict("records")
        assert run.data.metrics["cost/seconds"] == spent["seconds"]
        assert run.data.params["threads"] == "1"
        logged = {file.path for file in log.list_artifacts(run.info.run_id, "checkpoints")}
        shared = {"checkpoints/shared.safetensors"} if strategy in ("feature_extraction", "untrained") else set()
        assert logged == {f"checkpoints/trial_{trial}.safetensors"} | shared, "a trial alone can predict"


def test_a_strategy_has_the_interval_of_the_report_and_the_run_what_decides(ended, store):
    comparison = ended[0].table("08_reporting/{}/comparison.csv").query("metric == 'accuracy'").set_index("strategy")
    logged = {run.info.run_name: run.data.metrics for run in runs(store)}
    assert logged["tiny"] == {f"accuracy/{name}": comparison["mean"][name] for name in STRATEGIES}
    for name in STRATEGIES:
        assert logged[name]["accuracy/low"] == comparison["low_images"][name]


def test_the_run_has_the_answer_and_the_report(ended, store):
    (run,) = [run for run in runs(store) if run.info.run_name == "tiny"]
    files = {file.path for file in client(store).list_artifacts(run.info.run_id)}
    assert {"report.html", "comparison.csv", "history.csv", "parameters_used.yml", "figures"} <= files
    assert run.data.tags["mlflow.note.content"].startswith("**")
    assert run.data.params["strategies.scratch.stages.train.optimizer.lr"] == "0.003"


def test_a_repeated_run_is_not_logged_twice_and_a_torn_log_is_made_anew(ended, store):
    before = sorted(run.info.run_name for run in runs(store))
    assert "Logged already: tiny" in ended[0].run("--nodes=report.write_page")
    assert sorted(run.info.run_name for run in runs(store)) == before
    (run,) = [run for run in runs(store) if run.info.run_name == "tiny"]
    client(store).update_run(run.info.run_id, status="RUNNING")  # as a kill leaves it
    assert "Logged: tiny" in ended[0].run("--nodes=report.write_page")
    assert sorted(run.info.run_name for run in runs(store)) == before
    assert run.info.run_id not in {run.info.run_id for run in runs(store)}


def test_a_published_strategy_predicts_in_another_project_and_is_fetched_there(ended, store, tmp_path, server):
    (url,) = [line.removeprefix("Published: ") for line in ended[1].splitlines() if line.startswith("Published: ")]
    other = TinyProject(tmp_path, server)
    done = other.kedro("transferlab", "predict", "images/circle", f"{url}/staged", "--env=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"of {url}/staged; the mean of 2 trials" in " ".join(done.stdout.split())
    found = pd.read_csv(other.root / "predictions.csv")
    assert len(found) == 41
    assert {"prediction_set", "unfamiliar"} <= set(found.columns), "what calibrates them is published too"
    done = other.kedro("transferlab", "fetch", f"{store.as_uri()}/published", "--env=tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    version = url.rpartition("/")[2]
    assert done.stdout == f"Fetched: tiny {version}\n"
    assert other.table("07_model_output/{}/staged/metrics.csv").equals(
        pd.read_csv(store / "published" / "tiny" / version / "staged.metrics" / "metrics.csv")
    )
