"""Writes the folder of an exported network, or nothing.

The graph takes pixels in [0, 1] that are resized and cropped, and gives probabilities: normalisation and softmax are
inside. Resize and crop stay outside, described in `model.json` and done by the script `predict.py`, since a resize
inside the graph would not be Pillow's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from transferlab.core.files.folders import whole_folder
from transferlab.core.inference.export import graphs
from transferlab.core.inference.export.deployed import TOLERANCE, Deployed, ExportError, Photograph, compare
from transferlab.core.inference.export.graphs import FORMATS, Kind
from transferlab.core.inference.export.int8 import Int8, quantize
from transferlab.core.inference.export.timm_folder import FAMILY, write_timm
from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import PLAIN_CPU

# What the script says of onnxruntime, and what it says of torch instead.
_FOR_TORCH = (
    ("Needs onnxruntime, numpy and pillow", "Needs torch, numpy and pillow"),
    ("import onnxruntime\n", "import torch\n"),
    (
        'session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])',
        'model = torch.export.load(folder / "model.pt2").module()',
    ),
    (
        'session.run(None, {"image": x_13SS})[0][0]',
        "model(torch.from_numpy(x_13SS))[0].detach().numpy()",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Export:
    """What is exported, and how.

    Attributes:
        kind: of the file.
        int8: makes an ONNX graph smaller; None keeps float32.
        about: more for `model.json`, such as licences and measured figures.
        documents: makes further files, as text by name, from what `model.json` says: a model card, licences.
        tolerance: the largest difference of a probability to torch's that is allowed.
    """

    kind: Kind = "onnx"
    int8: Int8 | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    documents: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda about: {}
    tolerance: float = TOLERANCE


def export(checkpoint: Checkpoint, photographs: Sequence[Photograph], folder: Path, how: Export) -> dict[str, Any]:
    """Write the network, `model.json`, `predict.py` and more into a new folder, if it gives what torch gives.

    Args:
        checkpoint: of a trial.
        photographs: images to compare on, such as those of the test split; those that cannot be used are left out.
        folder: where to; it must not exist.
        how: see `Export`.

    Returns:
        What `model.json` says.

    Raises:
        CheckpointError: the checkpoint does not fit the network that it names.
        ExportError: a package is missing, the folder exists, no image can be used, the network cannot be exported, or
            its export gives another class or probability. Nothing is written then.
    """
    graphs.check_installed(FORMATS[how.kind].packages)
    if folder.exists():
        raise ExportError(f"{folder} exists: choose another folder, or remove it")
    if how.int8 and how.kind != "onnx":
        raise ExportError("int8 is made by onnxruntime: export it as ONNX (--format=onnx)")
    header = checkpoint.header
    network = factory.load(checkpoint, PLAIN_CPU).to(memory_format=torch.contiguous_format)
    model = Deployed(network, header.view).eval()
    with whole_folder(folder.parent, lambda: folder.name) as unfinished:
        path = unfinished / FORMATS[how.kind].file
        graphs.write_graph(model, header.model, header.view.size, how.kind, path)
        compared = compare(model, graphs.runner(path, how.kind), photographs, header, how.tolerance)
        described = {**_describe(checkpoint, how.kind), **how.about, "compared_with_torch": compared}
        if how.int8:
            described["int8"] = quantize(path, how.int8, photographs, header)
        if header.model.startswith(FAMILY) and header.pooled is None:  # timm has no head on several stages
            write_timm(checkpoint, model, unfinished)
        text = json.dumps(described, indent=2, ensure_ascii=False)
        (unfinished / "model.json").write_text(text, encoding="utf-8")
        (unfinished / "predict.py").write_text(_script(how.kind), encoding="utf-8")
        for name, document in how.documents(described).items():
            (unfinished / name).write_text(document, encoding="utf-8")
    return described


def _script(kind: Kind) -> str:
    script = Path(__file__).with_name("standalone.py").read_text(encoding="utf-8")
    if kind == "torch":
        for before, after in _FOR_TORCH:
            script = script.replace(before, after)
    return script


def _describe(checkpoint: Checkpoint, kind: Kind) -> dict[str, Any]:
    """Return what `model.json` says of a checkpoint; `input` are the arguments of the script's `load`."""
    header = checkpoint.header.to_json()
    view = asdict(checkpoint.header.view)
    kept = (
        "model", "pooled", "weights", "levels", "strategy", "trial", "seed", "selection", "epoch", "metrics",
        "versions", "recipe",
    )  # fmt: skip
    return {
        "file": FORMATS[kind].file,
        "library": FORMATS[kind].library,
        "classes": header["classes"],
        "input": {key: view[key] for key in ("size", "resize", "mode", "held_out", "interpolation")},
        "input_is": "RGB, float32 in [0, 1], (batch, 3, size, size); normalisation and softmax are in the graph",
        "opset": graphs.OPSET if kind == "onnx" else None,
        **{key: header[key] for key in kept},
    }
