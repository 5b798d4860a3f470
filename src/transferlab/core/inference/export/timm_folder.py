"""Files by which timm opens a network of its own: `timm.create_model("local-dir:FOLDER", pretrained=True)`.

timm reads `config.json` and `model.safetensors`, as it does from the Hugging Face hub
(https://huggingface.co/docs/timm/hf_hub).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save

from transferlab.core.inference.export.deployed import Deployed, ExportError
from transferlab.core.models.backbones import from_timm
from transferlab.core.models.checkpoint import Checkpoint

FAMILY = "timm/"


def write_timm(checkpoint: Checkpoint, model: Deployed, folder: Path) -> None:
    """Write the files, and check that timm makes the same network of them.

    Raises:
        ExportError: it does not.
    """
    header, view = checkpoint.header, checkpoint.header.view
    name = header.model.removeprefix(FAMILY)
    known = timm.get_pretrained_cfg(name)
    config: dict[str, Any] = {
        "architecture": name,
        "num_classes": len(header.classes),
        "label_names": list(header.classes),
        "model_args": from_timm.made_for(name, view.size),
        "pretrained_cfg": {
            "input_size": [3, view.size, view.size],
            "crop_pct": view.size / view.resize if view.held_out == "centre_crop" else 1.0,
            "crop_mode": "squash" if "squash" in (view.mode, view.held_out) else "center",
            "interpolation": view.interpolation,
            "mean": list(view.mean),
            "std": list(view.std),
            "num_classes": len(header.classes),
            "first_conv": known.first_conv if known else None,
            "classifier": header.head[0] if len(header.head) == 1 else list(header.head),
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.tensors.items()}
    (folder / "model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    x_B3SS = torch.rand(2, 3, view.size, view.size, generator=torch.Generator().manual_seed(0))
    try:
        opened = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
        with torch.inference_mode():
            is_same = torch.allclose(opened(x_B3SS), model.network(x_B3SS), atol=1e-5)
    except Exception as error:  # timm raises errors of many kinds
        raise ExportError(f"timm cannot open the folder ({error}): nothing is written") from error
    if not is_same:
        raise ExportError("timm makes another network of the folder: nothing is written")
