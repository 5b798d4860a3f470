"""Published experiments run whole: generated images in the published layouts, tiny networks, the real command."""

import json

import published_layouts

TINY_NETWORK = "timm/test_resnet"


def test_imagewoof_from_a_server(project, serve, tmp_path):
    content = published_layouts.imagewoof(tmp_path)
    stages = {
        "pretrained": ("head", "tune"), "random_init": ("train",), "frozen_features": ("head",),
        "tuned": ("head", "tune"), "scratch_one_cycle": ("train",),
    }  # fmt: skip
    ours = ("frozen_features", "tuned", "scratch_one_cycle")
    output = project.run(
        "imagewoof",
        f"dataset.source.url={serve(tmp_path)}/imagewoof2-160.tgz",
        f"dataset.source.sha256={content}",
        f"_backbones.resnet50.name={TINY_NETWORK},_backbones.resnet50.weights=tiny.pth",
        "_published_input.size=32,_published_input.resize=32,training.trials=2",
        *(f"strategies.{name}.input.size=32,strategies.{name}.input.resize=36" for name in ours),
        *(f"strategies.{name}.stages.{stage}.epochs=1" for name in stages for stage in stages[name]),
    )
    assert "50 images accepted" in output
    index = project.table("03_primary/imagewoof/index.parquet")
    assert index.groupby("split").size().to_dict() == {"train": 30, "test": 20}
    assert "Old English sheepdog" in set(index["class"])

    metrics = project.table("07_model_output/imagewoof/pretrained/metrics.csv")
    assert set(metrics["split"]) == {"test", "test/ilsvrc_val"}
    predictions = project.table("07_model_output/imagewoof/pretrained/predictions.parquet")
    first = predictions[(predictions["trial"] == 0) & predictions["path"].str.contains("ILSVRC2012_val")]
    row = metrics[(metrics["trial"] == 0) & (metrics["split"] == "test/ilsvrc_val") & (metrics["metric"] == "accuracy")]
    assert len(first) == 10
    assert row["value"].item() == (first["truth"] == first["prediction"]).mean()
    comparison = project.table("08_reporting/imagewoof/comparison.csv").set_index(["strategy", "metric"])
    assert comparison.loc[("tuned", "accuracy"), "test_images"] == 20
    assert comparison.loc[("tuned", "accuracy_ilsvrc_val"), "test_images"] == 10

    history = project.table("07_model_output/imagewoof/pretrained/history.csv")
    assert set(history.loc[history["epoch"] == 0, "split"]) == {"test"}
    assert len(project.table("07_model_output/imagewoof/random_init/steps.parquet")) == 2  # a batch, for each trial
    page = project.report("imagewoof")
    assert "The pretraining has seen data like this" in page
    assert "Accuracy ilsvrc val (10 images)" in page
    assert "tutorial, ResNet-50, 6:17 minutes" in page


def test_cifar10_staged_from_copies_in_a_mirror(project, tmp_path):
    content = published_layouts.cifar10_copies(tmp_path, train=5, test=2)
    output = project.run(
        "cifar10_staged",
        f"dataset.mirror={tmp_path}",
        f"dataset.source.copies.sha256={content}",
        f"_backbones.resnet18.name={TINY_NETWORK},_backbones.resnet18.weights=tiny.pth",
        "dataset.split.validation=0.2,training.trials=1",
        "strategies.staged.stages.head.epochs=1,strategies.staged.stages.tune.epochs=1",
        "strategies.scratch.stages.train.epochs=1",
        to="report.compare,report.collect_facts",  # the figures are drawn by the other test
    )
    assert "strongly compressed JPEG copies" in output
    index = project.table("03_primary/cifar10_staged/index.parquet")
    assert index.groupby("split").size().to_dict() == {"train": 40, "validation": 10, "test": 20}
    untrained = project.table("07_model_output/cifar10_staged/pretrained_untrained/history.csv")
    assert untrained[["epoch", "split"]].to_numpy().tolist() == [[0, "validation"]]
    summary = project.table("06_models/cifar10_staged/staged/summary.csv")
    assert 0 < summary["trainable_head"].sum() < summary["trainable_tune"].sum() == summary["parameters"].sum()
    (facts,) = (project.root / "data" / "08_reporting" / "cifar10_staged" / "facts.json").rglob("facts.json")
    assert "strongly compressed JPEG copies" in json.loads(facts.read_text())["description"]


def test_hymenoptera_from_a_mirror(project, tmp_path):
    content = published_layouts.hymenoptera(tmp_path)
    stages = {
        "scratch": ("train",), "fine_tuning": ("tune",), "feature_extraction": ("head",),
        "scratch_one_cycle": ("train",), "head_then_tuning": ("head", "tune"), "late_layers": ("head", "tune"),
        "small_then_full": ("head", "small", "full"), "classifier_start": (), "classifier_then_head": ("head",),
    }  # fmt: skip
    project.run(
        "hymenoptera",
        f"dataset.mirror={tmp_path}",
        f"dataset.source.sha256={content}",
        f"_backbones.resnet18.name={TINY_NETWORK},_backbones.resnet18.weights=tiny.pth",
        "_input.size=32,_input.resize=36,training.trials=2,strategies.small_then_full.stages.small.size=16",
        *(f"strategies.{name}.stages.{stage}.epochs=1" for name in stages for stage in stages[name]),
        "strategies.feature_extraction.stages.head.views=2",
    )
    comparison = project.table("08_reporting/hymenoptera/comparison.csv")
    accuracy = comparison[comparison["metric"] == "accuracy"].set_index("strategy")
    assert set(accuracy.index) == set(stages)
    assert set(accuracy["test_images"]) == {10}
    history = project.table("07_model_output/hymenoptera/late_layers/history.csv")
    assert set(history["split"]) == {"train", "test"}
    untrained = project.table("07_model_output/hymenoptera/classifier_start/history.csv")
    assert set(untrained["epoch"]) == {0}
    page = project.report("hymenoptera")
    assert "best test epoch, mean of 10 runs" in page
    assert "imageNotFound.gif" in page


def test_cifar10_224_from_copies_in_a_mirror(project, tmp_path):
    content = published_layouts.cifar10_copies(tmp_path, train=4, test=2)
    stages = {
        "feature_extraction": ("head",), "fine_tuning": ("tune",), "frozen_features": ("head",),
        "frozen_features_large": ("head",), "tuned_large": ("head", "tune"),
    }  # fmt: skip
    project.run(
        "cifar10_224",
        f"dataset.mirror={tmp_path}",
        f"dataset.source.copies.sha256={content}",
        *(
            f"_backbones.{name}.name={TINY_NETWORK},_backbones.{name}.weights=tiny.pth"
            for name in ("resnet18", "resnet50")
        ),
        "_input.size=32,_input.resize=36,_whole.size=32,_whole.resize=32,training.trials=1",
        *(f"strategies.{name}.stages.{stage}.epochs=1" for name in stages for stage in stages[name]),
        to="report.compare,report.collect_facts",
    )
    cost = project.table("07_model_output/cifar10_224/frozen_features/cost.csv")
    assert cost["views"].item() == 2
    assert cost["feature_mb"].item() > 0
    assert (
        len(project.table("07_model_output/cifar10_224/fine_tuning/steps.parquet")) == 3
    )  # batches of 16 in 40 images


def test_cifar10_scratch_from_copies_in_a_mirror(project, tmp_path):
    content = published_layouts.cifar10_copies(tmp_path, train=3, test=2)
    project.run(
        "cifar10_scratch",
        f"dataset.mirror={tmp_path}",
        f"dataset.source.copies.sha256={content}",
        "training.trials=1,strategies.scratch.stages.train.epochs=1,strategies.scratch_one_cycle.stages.train.epochs=2",
        to="report.compare,report.collect_facts",
    )
    history = project.table("07_model_output/cifar10_scratch/scratch_one_cycle/history.csv")
    assert list(history.loc[history["split"] == "test", "epoch"]) == [0, 1, 2]


def test_hymenoptera_as_it_is(project, shared_data):
    project.run("hymenoptera", f"dataset.mirror={shared_data}", pipeline="data")
    index = project.table("03_primary/hymenoptera/index.parquet")
    assert index.groupby("split").size().to_dict() == {"train": 244, "test": 153}
    assert index["path"].str.endswith(".jpeg").sum() == 1
    left_out = project.table("02_intermediate/hymenoptera/quarantine.csv")
    assert left_out[["path", "status"]].to_numpy().tolist() == [["train/ants/imageNotFound.gif", "quarantined"]]
