"""Makes an ONNX graph smaller and faster: weights and activations of 8 bits, calibrated on training images.

Static quantisation of onnxruntime in its QDQ format, weights per channel
(https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html). One scale per tensor, or ranges found
at run time, cost fine-tuned depthwise networks a third of their accuracy; one per channel does not.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.core.inference.export import graphs
from transferlab.core.inference.export.deployed import ExportError, Photograph, batches, measure
from transferlab.core.models.checkpoint_header import CheckpointHeader

CALIBRATION_IMAGES = 128
MARGIN = 0.01


@dataclass(frozen=True)
class Int8:
    """How a graph is quantised.

    Attributes:
        training: training images, on which the ranges of activations are measured.
        margin: how much accuracy it may cost: 0.01 is one point.
    """

    training: Sequence[Photograph]
    margin: float = MARGIN


def quantize(path: Path, how: Int8, photographs: Sequence[Photograph], header: CheckpointHeader) -> dict[str, Any]:
    """Replace a graph by its int8 form, if that is as accurate.

    Args:
        path: of the float graph.
        how: see `Int8`.
        photographs: labelled images to measure on, such as those of the test split.
        header: of the checkpoint, which says how the network sees an image.

    Returns:
        Accuracy, bytes and images per second before and after.

    Raises:
        ExportError: it costs more accuracy than `how.margin`, or there is no image to calibrate or measure on.
    """
    smaller = path.with_suffix(".int8.onnx")
    used = _quantize(path, smaller, how.training, header)
    before, after = (measure(graphs.runner(file, "onnx"), photographs, header) for file in (path, smaller))
    figures = {
        "calibrated_on": used,
        "margin": how.margin,
        "images": after.images,
        "accuracy": after.accuracy,
        "accuracy_float32": before.accuracy,
        "bytes": smaller.stat().st_size,
        "bytes_float32": path.stat().st_size,
        "images_per_second": round(after.images_per_second, 1),
        "images_per_second_float32": round(before.images_per_second, 1),
    }
    if before.accuracy - after.accuracy > how.margin:
        raise ExportError(
            f"in int8 it gets {after.accuracy:.1%} of {after.images} images right instead of {before.accuracy:.1%}, "
            f"which is more than {100 * how.margin:g} points less: nothing is written (export it without --int8, or "
            "allow more with --margin)"
        )
    smaller.replace(path)
    return figures


def _quantize(path: Path, target: Path, training: Sequence[Photograph], header: CheckpointHeader) -> int:
    """Write the int8 graph; return how many images it was calibrated on."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    images = [x_3SS for x_B3SS, _ in batches(training[:CALIBRATION_IMAGES], header) for x_3SS in x_B3SS.numpy()]
    if not images:
        raise ExportError("no training image to calibrate int8 on: give files that can be decoded")

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """Gives one image at a time, as onnxruntime asks for them."""

        def __init__(self) -> None:
            self.left: Iterator[NDArray[np.float32]] = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image_3SS = next(self.left, None)
            return None if image_3SS is None else {"image": image_3SS[None]}

    prepared = path.with_suffix(".prepared.onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime tells of steps that it leaves out
    try:
        quant_pre_process(path, prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    finally:
        root.setLevel(level)
        prepared.unlink(missing_ok=True)
    return len(images)
