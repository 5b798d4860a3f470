"""Predict with the model beside this file: `python predict.py PHOTO ...`. Needs onnxruntime, numpy and pillow."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps


def load(path: str, size: int, resize: int, mode: str, held_out: str, interpolation: str) -> NDArray[np.float32]:
    """Return a photograph as the network was trained to see it: (1, 3, size, size), float32 in [0, 1]."""
    if (file := Image.open(path)).mode[0] in "IF" or ";16" in str(file.tile):
        raise ValueError(f"{path} has values of more than 8 bits: scale them by the `levels` of model.json first")
    image = ImageOps.exif_transpose(file).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    kernel, full_W, full_H = Image.Resampling[interpolation.upper()], resize, resize
    if mode == "short_side":
        full_W, full_H = (int(resize * side / min(image.size)) for side in image.size)
    if mode == "squash" or min(image.size) > resize:  # never enlarged here: the sampling below does that
        image = image.resize((min(image.width, full_W), min(image.height, full_H)), kernel)
    x, y, seen_W, seen_H = 0, 0, full_W, full_H
    if held_out == "centre_crop":
        x, y, seen_W, seen_H = round((full_W - size) / 2), round((full_H - size) / 2), size, size
    columns_SW = weights(size, image.width, image.width / full_W, x, seen_W, interpolation)
    rows_SH = weights(size, image.height, image.height / full_H, y, seen_H, interpolation)
    seen_3SS = rows_SH @ np.asarray(image, np.float32).transpose(2, 0, 1) @ columns_SW.T
    return np.asarray(seen_3SS[None].clip(0, 255) / 255, np.float32)


def weights(size: int, side: int, scale: float, start: int, seen: int, interpolation: str) -> NDArray[np.float32]:
    """Return how much each of `side` pixels counts for each of `size` points, as torch samples them (not Pillow)."""
    point_S1 = scale * (start + seen / size * (np.arange(size)[:, None] + 0.5))
    at_S1 = point_S1.clip(0.5, side - 0.5) - 0.5  # in pixels' centres
    pixel_SK = np.floor(at_S1) + np.arange(-1, 3)
    far_SK = abs(at_S1 - pixel_SK)
    weight_SK = np.maximum(0, 1 - far_SK)
    if interpolation == "bicubic":  # Keys' cubic with a = -0.75; Pillow has -1 here
        near_SK = (1.25 * far_SK - 2.25) * far_SK**2 + 1
        weight_SK = np.where(far_SK < 1, near_SK, ((3.75 - 0.75 * far_SK) * far_SK - 6) * far_SK + 3)
    weight_SN = np.zeros((size, side), np.float32)
    inside_SK = weight_SK * ((point_S1 >= 0) & (point_S1 <= side))  # black beyond the image
    np.add.at(weight_SN, (np.arange(size)[:, None], pixel_SK.clip(0, side - 1).astype(int)), inside_SK)
    return weight_SN


if __name__ == "__main__":
    folder = Path(__file__).parent
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    refused = 0
    for photo in sys.argv[1:]:
        try:
            x_13SS = load(photo, **about["input"])
        except Exception as error:  # whatever its format raises
            print(f"{photo} cannot be used: {error}", file=sys.stderr)  # noqa: T201 - it is a script
            refused += 1
            continue
        p_K = session.run(None, {"image": x_13SS})[0][0]
        print(photo, about["classes"][p_K.argmax()], f"{p_K.max():.4f}", sep="\t")  # noqa: T201
    sys.exit(f"{refused} of {len(sys.argv) - 1} photographs cannot be used" if refused else 0)
