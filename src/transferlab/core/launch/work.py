"""Estimates how much there is to compute in a trial, so that a cluster can begin with the longest."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from transferlab.core.models import factory
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training.spec import TrialSpec


def flops_of_image(checkpoint: Checkpoint) -> int:
    """Count the floating point operations of one image's forward pass at the input's size."""
    size, network = checkpoint.header.view.size, factory.build(checkpoint).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops())


def passes(spec: TrialSpec, finished: int = 0) -> float:
    """Estimate how many forward passes of one image the epochs after `finished` cost; a backward pass costs two."""
    total = 0.0
    for stage in spec.strategy.stages.values():
        done = min(finished, stage.epochs)
        finished -= done
        total += (stage.epochs - done) * len(spec.train.rows) * _passes_of_image(stage, spec.initial.header.view.size)
    return total


def _passes_of_image(stage: Stage, size: int) -> float:
    """Estimate the passes of an image in an epoch: none through frozen layers whose outputs are kept."""
    if stage.trainable == "head":
        return 0.01 if stage.distinct_views else 1.0
    return 3.0 * ((stage.size or size) / size) ** 2
