"""From a folder of photographs to a report, with the commands that the README gives."""

from class_folders import photographs

UNICODE = ["花", 'Käfer "gross"', "NA", "no: [yaml]"]


def test_the_written_experiment_runs_whole(project):
    folder = photographs(project.root / "photos" / "花 und ${Tiere}", UNICODE)
    done = project.kedro("transferlab", "new-experiment", str(folder), "--name", "flora")
    assert done.returncode == 0, done.stderr
    assert "kedro run --pipeline=transfer --env=flora" in done.stdout
    stages = {"scratch": ["train"], "feature_extraction": ["head"], "fine_tuning": ["tune"], "staged": ["head", "tune"]}
    project.run(
        "flora",
        "_backbone.name=timm/test_resnet,_backbone.weights=tiny.pth,_input.size=32,training.trials=2",
        *(f"strategies.{name}.stages.{stage}.epochs=1" for name in stages for stage in stages[name]),
    )
    comparison = project.table("08_reporting/flora/comparison.csv")
    assert set(comparison["strategy"]) == set(stages)
    predictions = project.table("07_model_output/flora/staged/predictions.parquet")
    assert set(predictions["truth"]) == set(UNICODE)
