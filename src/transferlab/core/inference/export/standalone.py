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
    along, down = image.width / full_W, image.height / full_H
    sampled = (along * seen_W / size, 0, along * x, 0, down * seen_H / size, down * y)
    image = image.transform((size, size), Image.Transform.AFFINE, sampled, kernel)
    return np.asarray(image, np.float32).transpose(2, 0, 1)[None] / np.float32(255)


if __name__ == "__main__":
    folder = Path(__file__).parent
    about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for photo in sys.argv[1:]:
        p_K = session.run(None, {"image": load(photo, **about["input"])})[0][0]
        print(photo, about["classes"][p_K.argmax()], f"{p_K.max():.4f}", sep="\t")  # noqa: T201 - it is a script
