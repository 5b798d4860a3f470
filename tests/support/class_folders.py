"""Folders of photographs for tests: noise, lighter from class to class."""

import numpy as np
from PIL import Image


def photographs(folder, classes, count=25, size=(40, 40), mode="L"):
    rng = np.random.default_rng(0)
    for tone, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 60, size, dtype=np.uint8) + np.uint8(40 * tone)
            Image.fromarray(pixels).convert(mode).save(folder / name / f"{i}.png")
    return folder
