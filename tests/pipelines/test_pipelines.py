"""The pipelines as graphs: names, groups, tags, and what is linked to what."""

import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from tiny import header, machine, split_of

from transferlab.config.parse import read
from transferlab.config.schema import Training
from transferlab.core.evaluation.predictions import predict_split
from transferlab.core.loading.feature_cache import FeatureCache, FeatureCacheConfig
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.strategies.strategy import Strategy
from transferlab.core.training.engine import DivergedError
from transferlab.datasets.checkpoints import StoredTrials
from transferlab.datasets.finished import FinishedTrialsDataset
from transferlab.datasets.folders import UnfinishedTrials
from transferlab.pipelines.data.pipeline import create_pipeline as data_pipeline
from transferlab.pipelines.learning_curve.pipeline import create_pipeline as curve_pipeline
from transferlab.pipelines.named_partial import NamedPartial
from transferlab.pipelines.report.nodes import diverged, gather, hardly_tested, recipe_of, stale
from transferlab.pipelines.report.pipeline import create_pipeline as report_pipeline
from transferlab.pipelines.transfer import jobs, nodes
from transferlab.pipelines.transfer.pipeline import create_pipeline as strategies_pipeline

STRATEGIES = ["scratch", "fine_tuning"]


@pytest.fixture(scope="module")
def whole():
    return data_pipeline() + strategies_pipeline(STRATEGIES) + report_pipeline(STRATEGIES)


def names(some) -> set[str]:
    return {each.name for each in some.nodes}


def test_nodes_are_verbs_and_outputs_are_nouns_of_the_catalog(whole):
    assert {"data.acquire", "data.extract", "data.decode_images", "data.split_images", "data.measure"} <= names(whole)
    assert {"scratch.build_model", "scratch.train", "scratch.evaluate", "report.write_page"} <= names(whole)
    free = {name for name in whole.inputs() if not name.startswith("params:")}
    assert {name.rpartition(".")[2] for name in free} == {
        "downloads", "extracted_archives", "image_folder", "feature_cache", "earlier_trials", "experiment",
        "run_id", "parameters_used",
    }  # fmt: skip
    assert whole.outputs() >= {"report"}


def test_a_namespace_is_all_of_a_strategy_and_nothing_else(whole):
    own = whole.filter(node_namespaces=["scratch"])
    assert names(own) == {f"scratch.{verb}" for verb in ("build_model", "train", "evaluate", "draw_figures", "collect")}
    assert all(output.startswith("scratch.") for output in own.all_outputs())
    assert "params:strategies.scratch" in own.inputs()
    assert not any("fine_tuning" in name for name in own.inputs())


def test_the_report_can_be_made_from_stored_tables_alone():
    report = report_pipeline(STRATEGIES)
    assert not any(verb in name for name in names(report) for verb in ("train", "build_model", "evaluate", "acquire"))
    assert "scratch.metrics" in report.inputs()


def test_one_strategy_has_no_differences_to_draw_and_an_untrained_one_no_steps():
    assert not any("differences" in name for name in names(report_pipeline(["scratch"])))
    untrained = names(report_pipeline(STRATEGIES, trained=False))
    assert not {"report.draw_learning_rates", "report.draw_step_losses"} & untrained


@pytest.mark.filterwarnings("ignore:Namespace")
def test_trials_in_rounds_are_one_node_that_makes_what_the_training_nodes_make():
    alone, together = strategies_pipeline(STRATEGIES), strategies_pipeline(STRATEGIES, in_rounds=True)
    assert together.all_outputs() == alone.all_outputs() | {"rounds"}
    assert names(together) == {name for name in names(alone) if not name.endswith(".train")} | {"train_in_rounds"}
    train = next(each for each in together.nodes if each.name == "train_in_rounds")
    assert set(train.confirms) == {f"{name}.unfinished_trials" for name in STRATEGIES}
    assert "rounds" in report_pipeline(STRATEGIES, in_rounds=True).inputs()
    assert "rounds" not in report_pipeline(STRATEGIES).inputs()


@pytest.mark.filterwarnings("ignore:Namespace")
def test_on_a_cluster_one_node_begins_the_trials_that_the_training_nodes_wait_for():
    alone, queued = strategies_pipeline(STRATEGIES), strategies_pipeline(STRATEGIES, queued=True)
    assert queued.all_outputs() == alone.all_outputs() | {"queue"}
    assert names(queued) == names(alone) | {"queue_trials"}
    order = [each.name for each in queued.nodes]
    begins = order.index("queue_trials")
    trains = order[begins + 1 : begins + 1 + len(STRATEGIES)]
    assert set(trains) == {f"{name}.train" for name in STRATEGIES}, "nothing else keeps the cluster waiting"


def test_training_waits_for_no_figure(whole):
    order = [each.name for each in whole.nodes]
    trained = max(place for place, name in enumerate(order) if name.endswith(".train"))
    assert not [name for name in order[:trained] if name.startswith("report.") or ".draw" in name]


@pytest.mark.filterwarnings("error:Namespace")
def test_a_learning_curve_needs_images_and_no_trained_strategy():
    curve = curve_pipeline(STRATEGIES)
    assert not {name for name in curve.inputs() if "checkpoints" in name or name.endswith("initial_model")}
    assert {"draw_subsets", "scratch.train_on_parts", "learning_curve.write_page"} <= names(curve)


def test_every_node_survives_the_pickle_of_a_parallel_runner_with_its_name(whole):
    for each in whole.nodes:
        copy = pickle.loads(pickle.dumps(each))  # noqa: S301 - our own
        assert copy.name == each.name
        assert copy.func.__name__ == each.func.__name__


def test_a_bound_function_keeps_its_name_and_takes_the_rest():
    def subtract(one: int, other: int, scale: int = 1) -> int:
        return scale * (one - other)

    bound = NamedPartial(subtract, 5, scale=2)
    assert bound(3) == 4
    assert bound.__name__ == "subtract"


def test_gathered_tables_keep_their_types_beside_an_empty_one():
    some, empty = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.25]}), pd.DataFrame(columns=["epoch", "loss"])
    (joined,) = gather(["history"], {"history": empty}, {"history": some}, {"history": empty})
    assert joined.equals(some)
    assert list(gather(["history"], {"history": empty}, {"history": empty})[0].columns) == ["epoch", "loss"]


def test_metrics_older_than_the_checkpoints_are_named_with_the_cure(tmp_path):
    metrics = pd.DataFrame({"strategy": ["a", "b"], "checkpoint_version": ["1", "1"]})
    (told,) = stale(metrics, {"a": StoredTrials(tmp_path, "1"), "b": StoredTrials(tmp_path, "2")})
    assert told.startswith("b: ")
    assert "kedro run --nodes=b.evaluate" in told


def test_the_recipe_of_a_checkpoint_can_be_pasted_below_strategies(tmp_path):
    stages = {
        "tune": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-3}, "augmentation": [{"name": "random_flip"}]}
    }
    trained = read(Strategy, {"model": {"name": "timm/test_resnet"}, "stages": stages})
    told = header(strategy="mine", trial=0, recipe=trained.to_json())
    (tmp_path / "trial_0.safetensors").write_bytes(Checkpoint({}, told).to_bytes())
    ((name, recipe),) = recipe_of(StoredTrials(tmp_path, "1"))
    pasted = yaml.safe_load(f"strategies:\n{recipe}")["strategies"]
    assert read(Strategy, pasted[name]) == trained
    (tmp_path / "trial_0.safetensors").write_bytes(Checkpoint({}, replace(told, recipe=None)).to_bytes())
    assert list(recipe_of(StoredTrials(tmp_path, "1"))) == [], "of an older version"


def test_diverged_trials_are_told_of():
    cost = pd.DataFrame({"strategy": ["a", "a", "b"], "trial": [0, 1, 2]})
    (told,) = diverged(cost, 2)
    assert told.startswith("b: 1 of 2 trials diverged")


def test_classes_with_hardly_any_test_images_are_named_in_one_sentence():
    classes = ["ant", "bee", "cat", "dog", "eel"]
    table = pd.DataFrame({"class": classes[:4] * 2, "support": [1, 4, 5, 3] * 2})
    (told,) = hardly_tested(table, classes)
    assert "fewer than 5 test images of eel (0), ant (1), dog (3) and 1 other class:" in told
    assert hardly_tested(table, ["cat"]) == []


def test_every_trial_sees_its_own_split(tmp_path):
    store = split_of(tmp_path, 4).store
    index = pd.DataFrame({
        "label": [0, 1, 1, 0],
        "pixel_sha256": [file["pixel_sha256"] for file in store.header["files"]],
        "split": ["train", "test", "train", "test"],
        "split_1": ["test", "train", "test", "train"],
    })  # fmt: skip
    seen = [jobs.split_of(index, store, "test", trial) for trial in range(3)]
    assert [split.rows.tolist() for split in seen] == [[1, 3], [0, 2], [1, 3]]
    assert [split.labels.tolist() for split in seen] == [[1, 0], [0, 1], [1, 0]]


def test_a_diverged_trial_leaves_the_others_no_state_and_its_last_good_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "store_for", lambda view, stores: None)
    monkeypatch.setattr(jobs, "split_of", lambda index, store, name, trial: splits[name])
    splits = {"train": split_of(tmp_path / "train", 8), "validation": split_of(tmp_path / "held_out", 4, "validation")}
    plan = {
        "model": {"name": "timm/test_resnet"},
        "input": {"size": 32, "resize": 36},
        "stages": {
            "calm": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 1e-3}, "batch_size": 4},
            "tune": {"epochs": 3, "optimizer": {"name": "sgd", "lr": 1e-3}, "batch_size": 4},
        },
    }
    statistics = {"classes": ["red", "blue"], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    training = {"trials": 2, "compute": {"device": "cpu", "threads": 1}}
    initial, _ = nodes.build_model(read(Strategy, plan), read(Training, training), statistics)
    unfinished = UnfinishedTrials(filepath=str(tmp_path / "tiny" / "unfinished"))
    places = ("checkpoints", "fingerprints", "history", "steps", "cost")
    nothing = FinishedTrialsDataset(**{name: {"filepath": str(tmp_path / "none" / name)} for name in places}).load()
    kept = tmp_path / "tiny" / "diverged" / "trial_0.safetensors"

    def train(rate, trials):
        plan["stages"]["tune"]["optimizer"]["lr"] = rate
        common = read(Training, {**training, "trials": trials})
        states = unfinished.load()
        earlier = {"tiny.unfinished_trials": states, "tiny.finished_trials": nothing}
        return nodes.train("tiny", read(Strategy, plan), common, "accuracy", initial, None, {}, tmp_path / "f", earlier)

    with pytest.raises(DivergedError, match=rf"lower optimizer\.lr.*What it had after epoch 1 is kept in {kept}"):
        train(1e25, 1)
    assert unfinished.progress() is None
    unfinished.confirm()
    settings, held_out = read(Strategy, plan), splits["validation"]
    cache = FeatureCache(tmp_path, FeatureCacheConfig())
    p_NK = predict_split(Checkpoint.read(kept), settings, held_out, machine(), cache).p_NK
    assert np.isfinite(p_NK).all()
    checkpoints, _, _, cost, _ = train(1e-3, 2)
    assert list(checkpoints) == list(cost["trial"]) == [0, 1]
    assert not kept.exists()
