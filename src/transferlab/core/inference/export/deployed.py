"""A network from pixels to probabilities, and what an export of it must give.

Shapes: N images, B of a batch, S px of the square the network sees, K classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferlab.core.data.decoding.batch import Decoded, decode_all
from transferlab.core.data.decoding.decode import Rules
from transferlab.core.errors import MendableError
from transferlab.core.models.checkpoint_header import CheckpointHeader
from transferlab.core.models.forward import EVALUATION_BATCH
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View

BATCHES = (1, 7, EVALUATION_BATCH)
TOLERANCE = 1e-4  # of a probability
Run = Callable[[Tensor], NDArray[np.float32]]  # from pixels x_B3SS in [0, 1] to probabilities (B, K)


class ExportError(MendableError):
    """A model that cannot be exported, or whose export does not give what torch gives."""


class Deployed(nn.Module):
    """A network from pixels to probabilities."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, view: View) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(view.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(view.std)[:, None, None])

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Return the probabilities (B, K) of pixels in [0, 1]."""
        p_BK: Tensor = self.network((x_B3SS - self.mean) / self.std).softmax(dim=1)
        return p_BK


class Photograph(NamedTuple):
    """A file to compare or to measure on, and the place of its class, where that is known."""

    path: Path
    label: int | None = None


def compare(
    model: Deployed, run: Run, photographs: Sequence[Photograph], header: CheckpointHeader, tolerance: float
) -> dict[str, Any]:
    """Run images through torch and an export of it, at each batch size.

    Raises:
        ExportError: a class or a probability differs, or no image can be used.
    """
    count, largest = 0, 0.0
    for x_B3SS, _ in batches(photographs, header):
        count += len(x_B3SS)
        with torch.inference_mode():
            expected_BK = model(x_B3SS).numpy()
        for batch in BATCHES:
            found_BK = np.concatenate([run(part) for part in torch.split(x_B3SS, batch)])
            largest = max(largest, float(np.abs(found_BK - expected_BK).max()))
            _check_same(found_BK, expected_BK, batch, tolerance)
    if not count:
        raise ExportError("no image to compare the export with torch on: give files that can be decoded")
    return {"images": count, "batch_sizes": list(BATCHES), "largest_difference": largest}


def _check_same(found_BK: NDArray[np.float32], expected_BK: NDArray[np.float32], batch: int, tolerance: float) -> None:
    """Compare classes and probabilities; where two classes are within the tolerance, either may come first."""
    difference = float(np.abs(found_BK - expected_BK).max())
    if not difference <= tolerance:
        raise ExportError(
            f"the export gives other probabilities than torch (by up to {difference:.2g} at batches of {batch}; "
            f"allowed are {tolerance:g}): nothing is written"
        )
    first_B = np.take_along_axis(expected_BK, found_BK.argmax(axis=1)[:, None], axis=1)[:, 0]
    if (expected_BK.max(axis=1) - first_B > tolerance).any():
        raise ExportError(f"the export gives other classes than torch at batches of {batch}: nothing is written")


class Measured(NamedTuple):
    """How good and how fast a network is on labelled images."""

    accuracy: float
    images: int
    images_per_second: float


def measure(run: Run, photographs: Sequence[Photograph], header: CheckpointHeader) -> Measured:
    """Measure accuracy, and images per second without decoding, on the images whose class is known.

    Raises:
        ExportError: there is none that can be used.
    """
    known = [photograph for photograph in photographs if photograph.label is not None]
    right, count, seconds = 0, 0, 0.0
    for x_B3SS, labels_B in batches(known, header):
        if not count:
            run(x_B3SS)  # the first pass allocates
        begun = time.perf_counter()
        p_BK = run(x_B3SS)
        seconds += time.perf_counter() - begun
        right += int((p_BK.argmax(axis=1) == labels_B).sum())
        count += len(x_B3SS)
    if not count:
        raise ExportError("no labelled image to measure accuracy on: give images in folders named after their classes")
    return Measured(right / count, count, count / seconds)


def batches(photographs: Sequence[Photograph], header: CheckpointHeader) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
    """Yield the usable images as batches of pixels x_B3SS in [0, 1], as the evaluation sees them, and their labels.

    A label that is not known is -1.
    """
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    view, rules = header.view, Rules(levels=header.levels)
    outcomes = decode_all([one.path for one in photographs], [view.stored_as], workers=0, rules=rules)
    for one, outcome in zip(photographs, outcomes, strict=True):
        if isinstance(outcome, Decoded):
            images.append(outcome.images[0])
            labels.append(-1 if one.label is None else one.label)
        if len(images) == EVALUATION_BATCH:
            yield _render(images, view), np.array(labels)
            images, labels = [], []
    if images:
        yield _render(images, view), np.array(labels)


def _render(images: Sequence[NDArray[np.uint8]], view: View) -> Tensor:
    pixels = HostImages(images, torch.device("cpu"))
    return view.pixels(pixels, view.draw(pixels.shape_N2, (), None)).contiguous()
