"""Ranks networks by what their frozen features tell about images.

Shapes: N images, F features.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import nn

from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.data.store import ImageStore
from transferlab.core.data.store_builder import Report, build
from transferlab.core.loading.images import Images, Split
from transferlab.core.models import factory, forward
from transferlab.core.models.backbones.model import Model
from transferlab.core.ranking.probe import log_evidence, probe_accuracy
from transferlab.core.runtime.device import Machine
from transferlab.core.transforms.input import Input


@dataclass(frozen=True)
class Candidate:
    """A network to rank.

    Attributes:
        model: name and weights.
        input: how it sees images.
    """

    model: Model
    input: Input


@dataclass(frozen=True)
class LabelledImages:
    """The images that candidates are ranked on.

    Attributes:
        root: the folder that paths are relative to.
        rows: of the index, those to use.
        statistics: of the training split: `classes`, `mean`, `std`.
        decoding: how images are decoded.
    """

    root: Path
    rows: pd.DataFrame
    statistics: dict[str, Any]
    decoding: Decoding


@dataclass(frozen=True)
class Ranked:
    """What was found of a candidate.

    Attributes:
        candidate: the network.
        accuracy: of a cross-validated linear probe on its frozen features.
        log_evidence: LogME.
        features: F, how many there are.
        parameters: of the network.
        size: px of its input.
        feature_seconds: computing the features took.
        probe_seconds: both scores took.
    """

    candidate: Candidate
    accuracy: float
    log_evidence: float
    features: int
    parameters: int
    size: int
    feature_seconds: float
    probe_seconds: float


def sample(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return at most so many rows of an index, stratified by class, always the same ones, in the index's order."""
    if len(rows) <= max(most, rows["label"].nunique()):
        return rows
    chosen, _ = train_test_split(
        np.arange(len(rows)), train_size=most, stratify=_rare_together(rows["label"]), random_state=0
    )
    return rows.iloc[np.sort(chosen)]


def _rare_together(labels: pd.Series[int]) -> NDArray[np.int64]:
    """Return strata: classes with one image alone are one stratum, since a stratum needs two."""
    alone = (labels.map(labels.value_counts()) < 2).to_numpy()
    strata: NDArray[np.int64] = np.where(alone, -1, labels.to_numpy())
    return np.zeros_like(strata) if alone.sum() == 1 else strata


def rank(
    candidates: Sequence[Candidate], images: LabelledImages, machine: Machine, folder: Path, report: Report
) -> list[Ranked]:
    """Rank candidates on labelled images, the most accurate probe first.

    Args:
        candidates: the networks.
        images: with their labels.
        machine: where features are computed.
        folder: an empty one, for the decoded images.
        report: called with (decoded, all).

    Raises:
        BuildError: no image could be used.
        ProbeError: there are too few images.
        WeightsError: weights cannot be had or do not fit.
    """
    views = [factory.view_of(each.model, each.input, images.statistics) for each in candidates]
    resizes = [view.stored_as for view in views]
    stores, accepted, _ = build(images.root, images.rows, resizes, folder, images.decoding, report)
    found = [
        _probed(candidate, stores[resize.key], accepted, images.statistics, machine)
        for candidate, resize in zip(candidates, resizes, strict=True)
    ]
    return sorted(found, key=lambda one: -one.accuracy)


def _probed(
    candidate: Candidate, store: ImageStore, rows: pd.DataFrame, statistics: dict[str, Any], machine: Machine
) -> Ranked:
    """Compute a candidate's features and score them."""
    checkpoint = factory.initial(candidate.model, candidate.input, statistics["classes"], statistics, seed=0)
    network, labels_N = factory.load(checkpoint, machine), rows["label"].to_numpy()
    began = time.perf_counter()
    images = Images(Split("train", store, np.arange(len(rows)), labels_N), checkpoint.header.view, machine)
    features_NF = features(network, checkpoint.header.head, images, machine)
    between = time.perf_counter()
    groups_N = rows["group"].to_numpy() if (rows["group"] != "").any() else None
    accuracy, evidence = probe_accuracy(features_NF, labels_N, groups_N), log_evidence(features_NF, labels_N)
    return Ranked(
        candidate,
        accuracy,
        evidence,
        features=features_NF.shape[1],
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        size=checkpoint.header.view.size,
        feature_seconds=between - began,
        probe_seconds=time.perf_counter() - between,
    )


def features(network: nn.Module, head: Sequence[str], images: Images, machine: Machine) -> NDArray[np.float32]:
    """Return what the head of a network is given, (N, F); of maps and tokens, their mean."""
    with forward.inputs_of(network, head[-1:]) as (gathered,):  # those before make auxiliary logits
        forward.logits(network, images.in_order(), machine)
    found: NDArray[np.float32] = torch.cat(gathered).numpy()
    return found
