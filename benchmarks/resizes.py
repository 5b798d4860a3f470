"""What does another resize change? `python -m benchmarks.resizes CHECKPOINT --images FOLDER`.

Photographs in folders named after their classes, or listed in a CSV with columns path and label, are predicted as the
evaluation sees them and again with the resize of OpenCV or torchvision in place of ours. OpenCV comes by
`uv run --with opencv-python-headless`.

Writes `resizes_<name>.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from benchmarks import ours, result
from transferlab.core.inference.export.deployed import Deployed
from transferlab.core.inference.predict import predict_items
from transferlab.core.inference.sources import Item, find_images
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.transforms.view import View

Bytes = NDArray[np.uint8]  # image_HWC
Resizer = Callable[[Bytes, int, int], Tensor]  # to a height and a width: (3, H, W) in [0, 1]


def _opencv(mode: str) -> Resizer:
    def resize(image_HWC: Bytes, height: int, width: int) -> Tensor:
        import cv2  # not a package of this project

        resized_HWC = cv2.resize(image_HWC, (width, height), interpolation=getattr(cv2, mode))
        return _unit(torch.from_numpy(resized_HWC).permute(2, 0, 1))

    return resize


def _torchvision(mode: InterpolationMode, as_float: bool, antialias: bool) -> Resizer:
    def resize(image_HWC: Bytes, height: int, width: int) -> Tensor:
        x_3HW = torch.from_numpy(image_HWC.copy()).permute(2, 0, 1)
        x_3HW = _unit(x_3HW) if as_float else x_3HW
        return _unit(tv.resize(x_3HW, [height, width], interpolation=mode, antialias=antialias)).clamp(0, 1)

    return resize


def _unit(x_3HW: Tensor) -> Tensor:
    return x_3HW if x_3HW.is_floating_point() else x_3HW.float() / 255


RESIZERS: dict[str, Resizer] = {
    "OpenCV, INTER_LINEAR (its default)": _opencv("INTER_LINEAR"),
    "OpenCV, INTER_CUBIC": _opencv("INTER_CUBIC"),
    "OpenCV, INTER_AREA": _opencv("INTER_AREA"),
    "torchvision, bytes, bicubic, antialias": _torchvision(InterpolationMode.BICUBIC, False, True),
    "torchvision, floats, bicubic, antialias": _torchvision(InterpolationMode.BICUBIC, True, True),
    "torchvision, floats, bilinear, antialias": _torchvision(InterpolationMode.BILINEAR, True, True),
    "torchvision, floats, bilinear, no antialias": _torchvision(InterpolationMode.BILINEAR, True, False),
}


def seen(path: Path, view: View, resizer: Resizer) -> Tensor:
    """Return what a network is shown (3, S, S) with another resize: the short side, then the crop at the centre."""
    with Image.open(path) as opened:
        image_HWC = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    height, width = (int(view.resize * side / min(image_HWC.shape[:2])) for side in image_HWC.shape[:2])
    x_3HW = resizer(image_HWC, height, width)
    return tv.center_crop(x_3HW, [view.size, view.size])


def measured(checkpoint: Checkpoint, items: list[Item]) -> dict[str, Any]:
    """Predict with each resize."""
    classes, view = checkpoint.header.classes, checkpoint.header.view
    if (view.mode, view.held_out) != ("short_side", "centre_crop"):
        raise ValueError("only a resize of the short side and a crop at the centre are compared")
    truth_N = np.array([classes.index(str(item.label)) for item in items])
    own = predict_items([checkpoint], items, ours.machine(), workers=0)
    p_NK = np.stack([one.probabilities for one in own if one.probabilities is not None])
    model = Deployed(factory.load(checkpoint, ours.machine()), view).eval()
    found = {"ours": _told(p_NK, p_NK, truth_N)}
    for name, resizer in RESIZERS.items():
        with torch.inference_mode():
            parts = [model(seen(item.path, view, resizer)[None]) for item in items]
        found[name] = _told(torch.cat(parts).double().numpy(), p_NK, truth_N)
    return found


def _told(p_NK: NDArray[np.float64], own_NK: NDArray[np.float64], truth_N: NDArray[np.int64]) -> dict[str, Any]:
    return {
        "accuracy": float((p_NK.argmax(axis=1) == truth_N).mean()),
        "other_class": int((p_NK.argmax(axis=1) != own_NK.argmax(axis=1)).sum()),
        "mean_change": float(np.abs(p_NK - own_NK).max(axis=1).mean()),
        "largest_change": float(np.abs(p_NK - own_NK).max()),
        "images": len(p_NK),
    }


def table(report: dict[str, Any]) -> result.Table:
    """Make a row for each resize."""
    rows = [
        [
            name,
            f"{of['accuracy']:.1%}",
            f"{of['other_class']} of {of['images']}",
            f"{of['mean_change']:.3f}",
            f"{of['largest_change']:.2f}",
        ]
        for name, of in report["resizes"].items()
    ]
    columns = ["resize", "accuracy", "another class than ours", "mean change of a probability", "largest"]
    return result.Table(f"Another resize: {report['options']['name']}", columns, rows, result.made_on(report))


def main() -> None:
    """Measure a checkpoint."""
    parser = result.options(__doc__.partition("?")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--images", required=True, help="a folder with a folder of each class, or a CSV: path, label")
    parser.add_argument("--name", required=True, help="of the result")
    wanted = result.parse(parser)
    checkpoint = Checkpoint.read(wanted.checkpoint)
    items = find_images([wanted.images], checkpoint.header.classes)
    wanted.images = Path(wanted.images)
    table(result.write(f"resizes_{wanted.name}", wanted, {"resizes": measured(checkpoint, items)})).show()


if __name__ == "__main__":
    main()
