import hashlib
import inspect
import io
import pickle
import shutil
import tarfile
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torchvision
from PIL import Image

from transferlab.core.data.archives.extract import extract
from transferlab.core.data.download import Downloads, SourceError
from transferlab.core.data.sources import Acquired, Copies, TorchvisionSource, acquire, torchvision_set
from transferlab.core.validation import FieldProblems

PARTS = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
CLASSES = ["airplane", "cat"]


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A mirror with a small CIFAR-10 in Krizhevsky's format, which torchvision's class takes for the real one."""
    rng = np.random.default_rng(0)
    images = {part: rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8) for part in PARTS}
    files = {
        part: pickle.dumps({"data": image_NHWC.transpose(0, 3, 1, 2).reshape(6, -1), "labels": [0, 1] * 3})
        for part, image_NHWC in images.items()
    }
    files["batches.meta"] = pickle.dumps({"label_names": CLASSES})
    (tmp_path / "mirror").mkdir()
    archive = tmp_path / "mirror" / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, content in files.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content))
    md5 = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setattr(kind, "train_list", [[part, md5[part]] for part in PARTS[:-1]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5["batches.meta"]})
    content = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(torchvision_set.ARCHIVE_SHA256, "CIFAR10", content)
    return images


def test_every_image_is_written_once_without_loss(cifar, tmp_path):
    source = TorchvisionSource(dataset="CIFAR10")
    found = acquire(source, Downloads(tmp_path / "downloads", [str(tmp_path / "mirror")]))
    assert found == Acquired(tmp_path / "downloads" / "CIFAR10-png")
    assert len(list((found.path / "train").rglob("*.png"))) == 30
    for part, image_NHWC in cifar.items():
        for i, image_HWC in enumerate(image_NHWC):
            split, number = ("test", i) if part == "test_batch" else ("train", 6 * PARTS.index(part) + i)
            file = found.path / split / CLASSES[i % 2] / f"{number:05d}.png"
            assert np.array_equal(np.asarray(Image.open(file)), image_HWC)
    (tmp_path / "mirror" / "cifar-10-python.tar.gz").unlink()
    assert acquire(source, Downloads(tmp_path / "downloads")) == found


def test_copies_are_taken_where_a_mirror_has_them(cifar, tmp_path):
    with tarfile.open(tmp_path / "mirror" / "copies.tar", "w") as archive:
        info = tarfile.TarInfo("images/train")
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    content = hashlib.sha256((tmp_path / "mirror" / "copies.tar").read_bytes()).hexdigest()
    copies = Copies(filename="copies.tar", sha256=content, subfolder="images", note="They are copies.")
    source = TorchvisionSource(dataset="CIFAR10", copies=copies)
    found = acquire(source, Downloads(tmp_path / "downloads", [str(tmp_path / "mirror")]))
    assert found == Acquired(tmp_path / "mirror" / "copies.tar", "images", "They are copies.")
    assert (extract(found.path, tmp_path / "extracted", found.subfolder) / "train").is_dir()


def test_a_mirror_without_copies_gives_the_original(cifar, tmp_path):
    source = TorchvisionSource(dataset="CIFAR10", copies=Copies(filename="copies.tar", sha256="0" * 64))
    found = acquire(source, Downloads(tmp_path / "downloads", [str(tmp_path / "mirror")]))
    assert (found.path.name, found.note) == ("CIFAR10-png", "")


def test_without_network_or_mirror_the_archive_is_named(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr("transferlab.core.data.download.FIRST_WAIT_SECONDS", 0.001)
    with pytest.raises(SourceError) as caught:
        acquire(TorchvisionSource(dataset="CIFAR10"), Downloads(tmp_path / "downloads"))
    for part in ("http://127.0.0.1:9/cifar-10-python.tar.gz", str(tmp_path / "downloads"), "dataset.mirror"):
        assert part in str(caught.value)
    assert not (tmp_path / "downloads" / "CIFAR10-png").exists()


def test_wrong_fields_are_named():
    with pytest.raises(FieldProblems) as caught:
        Copies(filename="../up.tar", sha256="abc")
    assert {problem.field for problem in caught.value.problems} == {"filename", "sha256"}


@pytest.mark.parametrize("dataset", torchvision_set.ARCHIVE_SHA256)
def test_torchvision_still_reads_the_archives_that_are_known(dataset):
    kind = getattr(torchvision.datasets, dataset)
    assert kind.url.endswith(kind.filename)
    assert kind.filename.startswith(dataset.lower().replace("cifar", "cifar-"))


def photograph(file, colour):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(file)


def test_files_are_taken_as_they_are(tmp_path):
    original = tmp_path / "EuroSAT-torchvision" / "eurosat" / "2750"
    for name, colour in [("Forest", "green"), ("River", "blue")]:
        photograph(original / name / f"{name}_1.jpg", colour)
    found = acquire(TorchvisionSource(dataset="EuroSAT"), Downloads(tmp_path))
    assert found == Acquired(tmp_path / "EuroSAT-images")
    files = sorted(found.path.rglob("*.*"))
    assert [file.relative_to(found.path).as_posix() for file in files] == ["Forest/00000.jpg", "River/00001.jpg"]
    assert files[0].read_bytes() == (original / "Forest" / "Forest_1.jpg").read_bytes()
    shutil.rmtree(tmp_path / "EuroSAT-torchvision")
    assert acquire(TorchvisionSource(dataset="EuroSAT"), Downloads(tmp_path)) == found


def test_parts_are_those_that_the_class_knows(tmp_path):
    base = tmp_path / "OxfordIIITPet-torchvision" / "oxford-iiit-pet"
    for name in ("Abyssinian_1", "beagle_2"):
        photograph(base / "images" / f"{name}.jpg", "red")
    (base / "annotations").mkdir()
    (base / "annotations" / "trainval.txt").write_text("Abyssinian_1 1 1 1\nbeagle_2 2 2 1\n")
    (base / "annotations" / "test.txt").write_text("beagle_2 2 2 1\nAbyssinian_1 1 1 1\n")
    found = acquire(TorchvisionSource(dataset="OxfordIIITPet"), Downloads(tmp_path))
    files = sorted(file.relative_to(found.path).as_posix() for file in found.path.rglob("*.png"))
    assert files == [
        "test/Abyssinian/00001.png", "test/Beagle/00000.png", "train/Abyssinian/00000.png", "train/Beagle/00001.png",
    ]  # fmt: skip


@pytest.mark.parametrize("dataset", get_args(get_type_hints(TorchvisionSource)["dataset"]))
def test_torchvision_has_every_data_set_that_can_be_named(dataset):
    assert "download" in inspect.signature(getattr(torchvision.datasets, dataset)).parameters


def test_a_data_set_that_torchvision_cannot_get_says_where_its_files_belong(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(torchvision.datasets.EuroSAT, "download", offline)
    with pytest.raises(SourceError, match=r"cannot get EuroSAT \(Network is unreachable\).*EuroSAT-torchvision"):
        acquire(TorchvisionSource(dataset="EuroSAT"), Downloads(tmp_path))
    assert not (tmp_path / "EuroSAT-images").exists()
