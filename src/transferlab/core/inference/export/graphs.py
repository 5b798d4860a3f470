"""The files of an exported network: an ONNX graph, or a program of `torch.export`.

Shapes: B images of a batch, S px of the square the network sees, K classes.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transferlab.core.inference.export.deployed import Deployed, ExportError, Run

Kind = Literal["onnx", "torch"]
OPSET = 20


@dataclass(frozen=True)
class Format:
    """A kind of file: its name, the library that runs it, and what must be installed to make it."""

    file: str
    library: str
    packages: tuple[str, ...]


FORMATS: dict[Kind, Format] = {
    "onnx": Format("model.onnx", "onnx", ("onnx", "onnxscript", "onnxruntime")),
    "torch": Format("model.pt2", "pytorch", ()),
}


def check_installed(packages: Sequence[str]) -> None:
    """Check that what an export needs is installed.

    Raises:
        ExportError: something is missing.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ExportError(
            f"export needs {', '.join(missing)}: install the extra `export`, e.g. `uv sync --extra export` "
            "or `pip install 'transferlab[export]'`"
        )


def write_graph(model: Deployed, name: str, size: int, kind: Kind, path: Path) -> None:
    """Write a network; any batch size will do.

    Args:
        model: the network.
        name: of the network, for messages.
        size: px of the square that it sees.
        kind: of the file.
        path: of the file.

    Raises:
        ExportError: torch cannot export it.
    """
    example_B3SS = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    dynamic_shapes = ({0: torch.export.Dim("batch")},)
    try:
        with _quiet():
            if kind == "torch":
                torch.export.save(torch.export.export(model, (example_B3SS,), dynamic_shapes=dynamic_shapes), path)
                return
            torch.onnx.export(
                model,
                (example_B3SS,),
                path,
                input_names=["image"],
                output_names=["probabilities"],
                dynamic_shapes=dynamic_shapes,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # torch's exporter raises errors of many kinds, and long ones
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"{name} cannot be exported ({kind}): {reason}") from error


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


def runner(path: Path, kind: Kind) -> Run:
    """Return what runs a written file as its users will."""
    if kind == "torch":
        program = torch.export.load(path).module()

        def run(x_B3SS: Tensor) -> NDArray[np.float32]:
            with torch.inference_mode():
                p_BK: NDArray[np.float32] = program(x_B3SS).numpy()
            return p_BK

        return run
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run_graph(x_B3SS: Tensor) -> NDArray[np.float32]:
        p_BK: NDArray[np.float32] = session.run(None, {"image": x_B3SS.numpy()})[0]
        return p_BK

    return run_graph
