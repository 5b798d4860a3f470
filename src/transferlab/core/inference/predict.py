"""Predictions for image files from a checkpoint alone: it carries the classes, the architecture and the view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from transferlab.core.data.decoding.decode import decode_rgb
from transferlab.core.models import factory, forward
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import evaluation_batch
from transferlab.core.runtime.device import Compute, Machine, resolve
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View


def predict(checkpoint: Checkpoint, files: Sequence[Path], machine: Machine | None = None) -> pd.DataFrame:
    """Class probabilities of photographs, decoded and seen as the test images were.

    Args:
        checkpoint: of a trial.
        files: image files, at least one.
        machine: where; by default the best device there is.

    Returns:
        One row per file: path, prediction, and a column `p_<class>` per class, which sum to 1.

    Raises:
        UnusableImageError: a file is no image that can be used.
    """
    machine = machine or resolve(Compute())
    classes = checkpoint.header.classes
    batches = _batches([Path(file) for file in files], checkpoint.header.view, machine)
    logits_NK = forward.logits(factory.load(checkpoint, machine), batches, machine)
    p_NK = logits_NK.cpu().double().softmax(dim=1).numpy()
    return pd.DataFrame(
        {
            "path": [str(file) for file in files],
            "prediction": [classes[k] for k in p_NK.argmax(axis=1)],
            **{f"p_{name}": p_NK[:, k] for k, name in enumerate(classes)},
        }
    )


def _batches(files: Sequence[Path], view: View, machine: Machine) -> Iterator[Tensor]:
    """The files as batches x_B3SS."""
    count = evaluation_batch(machine.device, 3, view.size, view.size)
    for start in range(0, len(files), count):
        photographs = [decode_rgb(file.read_bytes(), file.name) for file in files[start : start + count]]
        stored = [np.asarray(view.stored_as(photograph)) for photograph in photographs]
        images = HostImages(stored, machine.device)
        x_B3SS = view.render(images, view.draw(images.shape_N2, (), None))
        yield x_B3SS.to(memory_format=machine.memory_format)
