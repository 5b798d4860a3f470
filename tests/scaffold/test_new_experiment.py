import struct
import zlib

import numpy as np
import pytest
import yaml
from PIL import Image

from transferlab import settings
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.parse import check_networks
from transferlab.console.errors import UserError
from transferlab.core.data.listing.layout import LayoutError
from transferlab.core.data.split import SplitError
from transferlab.scaffold import new_experiment as module
from transferlab.scaffold.new_experiment import new_experiment

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")

UNICODE = ["花", 'Käfer "gross"', "NA", "no: [yaml]"]


def photographs(folder, classes, count=25, size=(40, 40), mode="L"):
    rng = np.random.default_rng(0)
    for tone, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, size, dtype=np.uint8) + np.uint8(40 * tone)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")
    return folder


def dataset_in(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))["dataset"]


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "project" / "conf" / "base").mkdir(parents=True)
    return tmp_path / "project" / "conf"


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


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        ((".",), {"test": 0.2, "validation": 0.1, "seed": 0}),
        (("train", "val"), {"validation": 0.1, "seed": 0}),
        (("train", "valid", "test"), {"validation": 0, "seed": 0}),
    ],
)
def test_given_parts_are_kept(conf, tmp_path, folders, split):
    for part in folders:
        photographs(tmp_path / "photos" / part, ["a", "b", "c"], count=22)
    written = new_experiment(tmp_path / "photos", conf)
    assert written.file == conf / "photos" / "parameters.yml"
    assert dataset_in(written.file)["split"] == split
    loader = ExperimentConfigLoader(str(conf), env="photos", **settings.CONFIG_LOADER_ARGS)
    check_networks(loader.experiment, "photos")
    assert list(loader.experiment.strategies) == ["scratch", "feature_extraction", "fine_tuning", "staged"]


def test_few_images_are_not_spared_for_validation_and_small_ones_are_not_blown_up(conf, tmp_path):
    few = new_experiment(photographs(tmp_path / "few", "ab", count=8), conf)
    assert dataset_in(few.file)["split"]["validation"] == 0
    assert "_input: {size: 128}" in few.file.read_text()
    large = new_experiment(photographs(tmp_path / "large", "ab", size=(130, 150), mode="RGB"), conf)
    assert "_input: {size: 224}" in large.file.read_text()


@pytest.mark.parametrize("installed", [True, False])
def test_the_network_is_one_whose_weights_are_there(conf, tmp_path, monkeypatch, installed):
    monkeypatch.setattr(module, "PACKAGE", "json" if installed else "no_such_package")
    text = new_experiment(photographs(tmp_path / "photos", "ab"), conf).file.read_text()
    assert ("package://efficientnet_lite0" in text) == installed
    assert ("weights: IMAGENET1K_V1" in text) != installed


def test_a_folder_in_the_project_is_named_relative_to_it(conf, tmp_path):
    inside = photographs(conf.parent / "my photos", "ab")
    assert dataset_in(new_experiment(inside, conf).file)["source"]["path"] == "my photos"
    outside = photographs(tmp_path / "Ganz woanders!", "ab")
    written = new_experiment(outside, conf)
    assert written.name == "ganz_woanders"
    assert dataset_in(written.file)["source"]["path"] == str(outside)


def test_nothing_is_overwritten_or_written_by_half(conf, tmp_path):
    folder = photographs(tmp_path / "photos", "ab")
    (conf / "photos").mkdir()
    with pytest.raises(UserError, match="photos already"):
        new_experiment(folder, conf)
    for name in ("base", "local", "../up", ".hidden", "a b"):
        with pytest.raises(UserError, match="--name"):
            new_experiment(folder, conf, name)
    with pytest.raises(LayoutError, match="only one class"):
        new_experiment(photographs(tmp_path / "single", "a"), conf)
    rare = photographs(tmp_path / "rare", "a", count=30)
    (rare / "b").mkdir()
    Image.new("L", (40, 40)).save(rare / "b" / "1.png")
    with pytest.raises(SplitError, match="class 'b'"):
        new_experiment(rare, conf)
    assert sorted(path.name for path in conf.iterdir()) == ["base", "photos"]


def test_images_that_cannot_be_looked_at_do_not_stop_it(conf, tmp_path):
    folder = photographs(tmp_path / "photos", "ab")
    first, second = folder / "a" / "0.png", folder / "a" / "1.png"
    bomb = bytearray(first.read_bytes())
    bomb[16:24] = struct.pack(">II", 20_000, 20_000)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    first.write_bytes(bomb)
    second.write_bytes(b"no image")
    assert len(new_experiment(folder, conf).listing) == 50
