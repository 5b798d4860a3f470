"""Export of a checkpoint to ONNX, checked against torch before anything is written.

The graph takes pixels in [0, 1] that are resized and cropped, and gives probabilities: normalisation and softmax are
inside. Resize and crop stay outside, described in `model.json` and done by the script `predict.py`, since a resize
inside the graph would not be Pillow's.

Shapes: B images of a batch, S px of the square the network sees, K classes.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from transferlab.core.data.decoding.batch import Decoded, decode_all
from transferlab.core.errors import MendableError
from transferlab.core.files.folders import whole_folder
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.forward import EVALUATION_BATCH
from transferlab.core.runtime.device import Machine
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View

OPSET = 20
BATCHES = (1, 7, EVALUATION_BATCH)
TOLERANCE = 1e-4  # of a probability
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_CPU = Machine(torch.device("cpu"), torch.float32, "", 1)


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


def export_onnx(
    checkpoint: Checkpoint,
    files: Sequence[Path],
    folder: Path,
    about: Mapping[str, Any] | None = None,
    card: Callable[[Mapping[str, Any]], str] | None = None,
    tolerance: float = TOLERANCE,
) -> dict[str, Any]:
    """Write `model.onnx`, `model.json` and `predict.py` into a new folder, if onnxruntime gives what torch gives.

    Args:
        checkpoint: of a trial.
        files: images to compare on, such as those of the test split; those that cannot be used are left out.
        folder: where to; it must not exist.
        about: more for `model.json`, such as licences and measured figures.
        card: writes `README.md` from what `model.json` says; None writes none.
        tolerance: the largest difference of a probability that is allowed.

    Returns:
        What `model.json` says.

    Raises:
        CheckpointError: the checkpoint does not fit the network that it names.
        ExportError: a package is missing, the folder exists, no image can be used, the network cannot be exported, or
            onnxruntime gives another class or probability. Nothing is written then.
    """
    _check_possible(folder)
    model = Deployed(factory.load(checkpoint, _CPU).to(memory_format=torch.contiguous_format), checkpoint.header.view)
    with whole_folder(folder.parent, lambda: folder.name) as unfinished:
        _write_graph(model.eval(), checkpoint, unfinished / "model.onnx")
        compared = _compare(model, unfinished / "model.onnx", files, checkpoint.header.view, tolerance)
        described = {**_describe(checkpoint), **(about or {}), "compared_with_torch": compared}
        text = json.dumps(described, indent=2, ensure_ascii=False)
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        script = Path(__file__).with_name("standalone.py").read_text(encoding="utf-8")
        if card:
            (unfinished / "README.md").write_text(card(described), encoding="utf-8")
        (unfinished / "predict.py").write_text(script, encoding="utf-8")
    return described


def _check_possible(folder: Path) -> None:
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise ExportError(
            f"export needs {', '.join(missing)}: install the extra `export`, e.g. `uv sync --extra export` "
            "or `pip install 'transferlab[export]'`"
        )
    if folder.exists():
        raise ExportError(f"{folder} exists: choose another folder, or remove it")


def _write_graph(model: Deployed, checkpoint: Checkpoint, path: Path) -> None:
    size = checkpoint.header.view.size
    example_B3SS = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    try:
        with _quiet():
            torch.onnx.export(
                model,
                (example_B3SS,),
                path,
                input_names=["image"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises errors of many kinds, and long ones
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"{checkpoint.header.model} cannot be exported to ONNX: {reason}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes on its own progress from the user's terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _compare(model: Deployed, path: Path, files: Sequence[Path], view: View, tolerance: float) -> dict[str, Any]:
    """Run images through torch and onnxruntime, at each batch size.

    Raises:
        ExportError: a class or a probability differs, or no image can be used.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    count, largest = 0, 0.0
    for x_B3SS in _pixels(files, view):
        count += len(x_B3SS)
        with torch.inference_mode():
            expected_BK = model(x_B3SS).numpy()
        for batch in BATCHES:
            parts = torch.split(x_B3SS, batch)
            found_BK = np.concatenate([session.run(None, {"image": part.numpy()})[0] for part in parts])
            largest = max(largest, float(np.abs(found_BK - expected_BK).max()))
            _check_same(found_BK, expected_BK, batch, tolerance)
    if not count:
        raise ExportError("no image to compare onnxruntime with torch on: give files that can be decoded")
    return {"images": count, "batch_sizes": list(BATCHES), "largest_difference": largest}


def _check_same(found_BK: NDArray[np.float32], expected_BK: NDArray[np.float32], batch: int, tolerance: float) -> None:
    """Compare classes and probabilities; where two classes are within the tolerance, either may come first."""
    difference = float(np.abs(found_BK - expected_BK).max())
    if not difference <= tolerance:
        raise ExportError(
            f"onnxruntime gives other probabilities than torch (by up to {difference:.2g} at batches of {batch}; "
            f"allowed are {tolerance:g}): nothing is written"
        )
    first_B = np.take_along_axis(expected_BK, found_BK.argmax(axis=1)[:, None], axis=1)[:, 0]
    if (expected_BK.max(axis=1) - first_B > tolerance).any():
        raise ExportError(f"onnxruntime gives other classes than torch at batches of {batch}: nothing is written")


def _pixels(files: Sequence[Path], view: View) -> Iterator[Tensor]:
    """Yield the usable images as batches of pixels x_B3SS in [0, 1], as the evaluation sees them."""
    images: list[NDArray[np.uint8]] = []
    for outcome in decode_all(files, [view.stored_as], workers=0):
        if isinstance(outcome, Decoded):
            images.append(outcome.images[0])
        if len(images) == EVALUATION_BATCH:
            yield _render(images, view)
            images = []
    if images:
        yield _render(images, view)


def _render(images: Sequence[NDArray[np.uint8]], view: View) -> Tensor:
    pixels = HostImages(images, torch.device("cpu"))
    return view.pixels(pixels, view.draw(pixels.shape_N2, (), None)).contiguous()


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what `model.json` says of a checkpoint; `input` are the arguments of the script's `load`."""
    header = checkpoint.header.to_json()
    view = asdict(checkpoint.header.view)
    kept = ("model", "weights", "strategy", "trial", "seed", "selection", "epoch", "metrics", "versions", "recipe")
    return {
        "classes": header["classes"],
        "input": {key: view[key] for key in ("size", "resize", "mode", "held_out", "interpolation")},
        "input_is": "RGB, float32 in [0, 1], (batch, 3, size, size); normalisation and softmax are in the graph",
        "opset": OPSET,
        **{key: header[key] for key in kept},
    }
