import struct
import zlib

import pytest
import yaml
from class_folders import photographs
from PIL import Image

from transferlab import settings
from transferlab.config.loader import ExperimentConfigLoader
from transferlab.config.parse import check_networks
from transferlab.console.errors import UserError
from transferlab.core.data.listing.table import LayoutError
from transferlab.core.data.split.config import SplitError
from transferlab.scaffold import new_experiment as module
from transferlab.scaffold.new_experiment import new_experiment

pytestmark = pytest.mark.filterwarnings("ignore:register_new_resolver")


def dataset_in(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))["dataset"]


@pytest.fixture
def conf(tmp_path):
    (tmp_path / "project" / "conf" / "base").mkdir(parents=True)
    return tmp_path / "project" / "conf"


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
    with pytest.raises(UserError, match="--name: 'base' is reserved"):
        new_experiment(folder, conf, "base")
    for name in ("local", "../up", ".hidden", "a b"):
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


def test_what_was_found_and_what_it_takes_is_told_before_anything_is_written(conf, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FROM_HUB", ("timm/test_resnet", "r160_in1k"))
    monkeypatch.setattr(module, "PACKAGE", "no_such_package")
    folder = photographs(tmp_path / "photos" / "Training", ["cat", "dog"], count=30, size=(40, 60))
    photographs(tmp_path / "photos" / "Testing", ["cat", "dog"], count=10, size=(50, 40), mode="RGB")
    (folder / "cat" / "notes.txt").write_text("no image")
    (folder / "dog" / "raw.CR2").write_bytes(b"")
    told = []

    def tell(line):
        assert not (conf / "photos").exists()
        told.append(line)

    def seconds(work, classes):
        assert told[-1].startswith("Network: "), "what is known need not wait for the time"
        return 30.0

    monkeypatch.setattr(module, "seconds", seconds)
    written = new_experiment(folder.parent, conf, tell=tell)
    assert written.file.exists()
    text = "\n".join(told)
    assert told[0] == "81 images of 2 classes: dog 41, cat 40"
    assert "Parts: train 61, test 20" in text
    assert "40 to 60 px wide, 40 to 50 px high, of mode L" in text
    assert "RGB" in text
    assert "that will be quarantined: .cr2 1" in text
    assert "Set aside: 1 file\n  1: Its suffix '.txt' is none of an image that can be decoded." in text
    assert "Network: timm/test_resnet at 128 px, beside transferlab/small_resnet" in text
    assert told[-1] == "Time: about 1 min on this machine as it is now, for 3 trials of four strategies"


def test_the_name_is_the_title_and_all_networks_share_one_resize(conf, tmp_path):
    folder = photographs(tmp_path / "photos", "ab")
    text = new_experiment(folder, conf, "wild_bees").file.read_text()
    assert 'title: "Wild bees"' in text
    assert 'title: "photos"' in new_experiment(folder, conf).file.read_text()
    assert 'size: "${_input.size}", interpolation: bicubic' in text


def test_an_image_folder_of_the_hub_becomes_an_experiment(conf, tmp_path):
    folder = photographs(tmp_path / "photos", ["x"], count=30)
    rows = [f"x/{i}.png,{'ab'[i % 2]}" for i in range(30)]
    (folder / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    written = new_experiment(folder, conf)
    assert dataset_in(written.file)["layout"] == {"name": "image_folder"}
    assert written.listing["class"].value_counts().to_dict() == {"a": 15, "b": 15}
