"""Measures trials on a split, and gives the scores by which training decides: higher ones are better.

Shapes: T trials, N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from transferlab.core import metrics
from transferlab.core.loading.features import StageInput
from transferlab.core.loading.images import Split
from transferlab.core.metrics import Metric
from transferlab.core.runtime.device import Machine
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import distributed
from transferlab.core.training.history import SplitResult
from transferlab.core.training.learners import Learner
from transferlab.core.training.spec import TrialSpec


def measured(
    spec: TrialSpec, split: Split, learner: Learner, source: StageInput, machine: Machine
) -> list[SplitResult]:
    """Measure each trial on a split, of which this rank runs its share."""
    [rows] = distributed.shares(torch.arange(len(split)), distributed.count())[distributed.number()]
    batches = (source.batch(0, some) for some in torch.split(rows, source.evaluation_batch))
    return evaluate(learner, batches, torch.from_numpy(split.labels)[rows], machine, spec.decides_by)


def on_a_batch(split: Split, learner: Learner, source: StageInput, machine: Machine) -> list[SplitResult]:
    """Measure each trial on the first batch of a split."""
    rows = torch.arange(min(len(split), source.evaluation_batch))
    return evaluate(learner, iter([source.batch(0, rows)]), torch.from_numpy(split.labels)[rows], machine)


def score(spec: TrialSpec, found: SplitResult) -> float:
    """Return the value of the metric that decides, with the sign that makes higher ones better."""
    assert found.value is not None  # noqa: S101 - it is asked for where anything decides
    return metrics.signed(spec.metric, found.value)


def monitored(spec: TrialSpec, stage: Stage, found: SplitResult) -> float:
    """Return the score that a stage's plateau schedule and patience go by."""
    return -found.loss if stage.monitor == "loss" else score(spec, found)


def evaluate(
    learner: Learner, inputs: Iterator[Tensor], labels_N: Tensor, machine: Machine, metric: Metric | None = None
) -> list[SplitResult]:
    """Return each trial's mean cross-entropy and accuracy over the images of a split, and a metric if one is asked for.

    Args:
        learner: the trials.
        inputs: batches of this rank's share of the split.
        labels_N: of the same images, on the CPU; a rank may have none.
        machine: device and precision.
        metric: which.
    """
    sums_T3 = torch.zeros(learner.count, 3, dtype=torch.float64)  # on the CPU: MPS has no float64
    logits_TNK = learner.evaluate(inputs, machine).cpu() if len(labels_N) else torch.empty(learner.count, 0, 0)
    for place, logits_NK in enumerate(logits_TNK if len(labels_N) else ()):
        loss = functional.cross_entropy(logits_NK.double(), labels_N, reduction="sum")
        hits = (logits_NK.argmax(dim=1) == labels_N).sum()
        sums_T3[place] = torch.stack([loss, hits.double(), torch.full_like(loss, len(labels_N))])
    found = [SplitResult(loss / count, hits / count) for loss, hits, count in distributed.total(sums_T3).tolist()]
    values: Sequence[float | None]
    match metric:
        case None:
            values = [None] * len(found)
        case "accuracy":
            values = [one.accuracy for one in found]
        case "log_loss":
            values = [one.loss for one in found]
        case _:
            values = _values(metric, logits_TNK, labels_N)
    return [one._replace(value=value) for one, value in zip(found, values, strict=True)]


def _values(metric: Metric, logits_TNK: Tensor, labels_N: Tensor) -> list[float]:
    """Return each trial's value of a metric that is no mean over images, so that it needs those of all ranks."""
    parts = [part for part in distributed.gathered(logits_TNK) if part.numel()]
    truth_N = torch.cat(distributed.gathered(labels_N)).numpy()
    p_TNK = torch.cat(parts, dim=1).double().softmax(dim=-1).numpy()
    return [metrics.SCORES[metric](p_NK, truth_N) if np.isfinite(p_NK).all() else math.nan for p_NK in p_TNK]
