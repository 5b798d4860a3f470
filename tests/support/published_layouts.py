"""Generated images in the layouts of the published data sets, packed as they are."""

import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

WORDNET_IDS = [
    "n02086240", "n02087394", "n02088364", "n02089973", "n02093754",
    "n02096294", "n02099601", "n02105641", "n02111889", "n02115641",
]  # fmt: skip
CIFAR_CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def photograph(rng, width: int, height: int, tint: int) -> Image.Image:
    """Noise whose tone tells the class."""
    image_HWC = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
    image_HWC[..., tint % 3] += np.uint8(15 * (tint + 1))
    return Image.fromarray(image_HWC)


def hymenoptera(folder: Path) -> str:
    """`hymenoptera_data.zip` in `folder`, with the file that is no photograph; its SHA-256."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(folder / "hymenoptera_data.zip", "w") as archive:
        archive.writestr("hymenoptera_data/train/ants/imageNotFound.gif", b"not found")
        for tint, name in enumerate(("ants", "bees")):
            for part, count in (("train", 8), ("val", 5)):
                for i in range(count):
                    image = _encoded(photograph(rng, 50, 40, tint), "JPEG")
                    archive.writestr(f"hymenoptera_data/{part}/{name}/{i}.jpg", image)
    return sha256(folder / "hymenoptera_data.zip")


def imagewoof(folder: Path) -> str:
    """`imagewoof2-160.tgz` in `folder`, with one held-out photograph of each class from ILSVRC's; its SHA-256."""
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "imagewoof2-160.tgz", "w:gz") as archive:
        _add(archive, "imagewoof2-160/noisy_imagewoof.csv", b"path,noisy_labels_0\n")
        for tint, name in enumerate(WORDNET_IDS):
            files = [f"train/{name}/{name}_{i}.JPEG" for i in range(3)]
            files += [f"val/{name}/{name}_9.JPEG", f"val/{name}/ILSVRC2012_val_0000{tint}.JPEG"]
            for file in files:
                _add(archive, f"imagewoof2-160/{file}", _encoded(photograph(rng, 56, 40, tint), "JPEG"))
    return sha256(folder / "imagewoof2-160.tgz")


def cifar10_copies(folder: Path, train: int, test: int) -> str:
    """`cifar10_images.tar.xz` with JPEG copies in class folders, so many of each class; its SHA-256."""
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "cifar10_images.tar.xz", "w:xz") as archive:
        for tint, name in enumerate(CIFAR_CLASSES):
            for split, count in (("train", train), ("test", test)):
                for i in range(count):
                    image = _encoded(photograph(rng, 32, 32, tint), "JPEG")
                    _add(archive, f"cifar10_images/{split}/{name}/{i:04d}.jpg", image)
    return sha256(folder / "cifar10_images.tar.xz")


def cifar10_original(folder: Path) -> dict[str, np.ndarray]:
    """`cifar-10-python.tar.gz` as Krizhevsky packed it, with two images of each class in each part.

    Gives the images of each part, image_NHWC, in their order; the label of image i is i % 10.
    """
    rng = np.random.default_rng(0)
    parts = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    images = {part: rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8) for part in parts}
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for part, image_NHWC in images.items():
            data = image_NHWC.transpose(0, 3, 1, 2).reshape(20, -1)
            _add(archive, f"cifar-10-batches-py/{part}", pickle.dumps({"data": data, "labels": [*range(10)] * 2}))
        _add(archive, "cifar-10-batches-py/batches.meta", pickle.dumps({"label_names": CIFAR_CLASSES}))
    return images


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _encoded(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format=kind)
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
