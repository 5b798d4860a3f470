"""Tabulates the layers of a strategy's network and what each stage trains."""

from __future__ import annotations

import pandas as pd
from torch import Tensor

from transferlab.core.models import freezing
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.factory import build
from transferlab.core.strategies.strategy import Strategy


def summary(strategy: Strategy, checkpoint: Checkpoint) -> pd.DataFrame:
    """List the layers that have parameters: layer, type, shape, parameters, and `trainable_<stage>` per stage.

    Raises:
        PolicyError: a stage's policy does not fit the network.
    """
    network = build(checkpoint)
    trained = {
        stage: freezing.scales(config.trainable, network, checkpoint.header.head)
        for stage, config in strategy.stages.items()
    }
    table = []
    for layer, module in network.named_modules():
        own = {f"{layer}.{key}" if layer else key: p for key, p in module.named_parameters(recurse=False)}
        if own:
            table.append(
                {
                    "layer": layer or "(root)",
                    "type": type(module).__name__,
                    "shape": "x".join(map(str, max(own.values(), key=Tensor.numel).shape)),
                    "parameters": sum(p.numel() for p in own.values()),
                    **{
                        f"trainable_{stage}": sum(p.numel() for name, p in own.items() if name in scales)
                        for stage, scales in trained.items()
                    },
                }
            )
    return pd.DataFrame(table)
