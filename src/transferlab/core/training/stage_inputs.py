"""Finds what each stage runs on: images, or cached features of its frozen layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from transferlab.core.loading import features
from transferlab.core.loading.feature_cache import FeatureCache
from transferlab.core.loading.gpu_cache import GpuCache
from transferlab.core.loading.images import Images
from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.progress import Progress, ProgressCallback
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training.spec import TrialSpec
from transferlab.core.transforms.view import View


@dataclass(frozen=True)
class StageInputs:
    """What a stage runs, and on what.

    Attributes:
        running: the network, or its tail on features.
        train: the training split.
        held_out: the held-out split, or None.
        seconds: that computing the features took, once, in whichever trial or run; None if the stage runs on images.
        nbytes: size of the features.
    """

    running: nn.Module
    train: features.StageInput
    held_out: features.StageInput | None
    seconds: float | None = None
    nbytes: int = 0


class Inputs:
    """Builds the training and held-out inputs of each stage of a trial.

    Args:
        spec: of the trial.
        view: how the network sees images.
        machine: where batches are wanted.
        folder: that caches features.
        report: told while features are computed.
    """

    def __init__(self, spec: TrialSpec, view: View, machine: Machine, folder: Path, report: ProgressCallback) -> None:
        self._spec, self._view, self._machine, self._report = spec, view, machine, report
        self._feature_cache, self._gpu_cache = FeatureCache(folder, spec.keeping), GpuCache(machine.device)
        self._latest: dict[str, StageInputs] = {}

    def of(self, network: nn.Module, name: str, stage: Stage, epoch: int) -> StageInputs:
        """Return what a stage runs on: features for its tail if the prefix is frozen, else images.

        Args:
            network: with the stage's policy.
            name: of the stage; the inputs of the latest stage are kept.
            stage: the config.
            epoch: the last that the trial has finished, reported while features are computed.
        """
        if name not in self._latest:
            self._latest.clear()
            self._latest[name] = self._find(network, name, stage, epoch)
        return self._latest[name]

    def held_out(self) -> Images | None:
        """Return the held-out images as the network sees them, if there are any."""
        return Images(self._spec.held_out, self._view, self._machine) if self._spec.held_out else None

    def _find(self, network: nn.Module, name: str, stage: Stage, epoch: int) -> StageInputs:
        view, seed = self._view.at(stage.size), self._view_seed(name, stage)
        train = Images(self._spec.train, view, self._machine, stage.augmentation, seed, stage.distinct_views)
        held_out = self.held_out()
        if stage.distinct_views is not None:
            splits = [train, held_out] if held_out else [train]
            if kept := self._on_features(network, name, splits, epoch):
                seconds, nbytes = sum(s.seconds for s in kept.sources), sum(s.nbytes for s in kept.sources)
                return StageInputs(kept.tail, kept.sources[0], kept.sources[1] if held_out else None, seconds, nbytes)
        train.move_to(self._gpu_cache)
        return StageInputs(network, train, features.rendered(held_out, self._gpu_cache) if held_out else None)

    def _on_features(
        self, network: nn.Module, name: str, splits: Sequence[Images], epoch: int
    ) -> features.OnFeatures | None:
        """Return the stage's tail and features if the prefix is frozen."""
        tell = partial(self._tell, name, epoch + 1)
        return features.on_features(network, splits, self._spec.strategy.model, self._feature_cache, tell)

    def _tell(self, name: str, epoch: int, done: int, count: int) -> None:
        epochs = self._spec.strategy.epochs
        self._report(Progress(self._spec.trial, name, epoch, epochs, done, count, doing="frozen layers"))

    def _view_seed(self, name: str, stage: Stage) -> tuple[int | str, ...]:
        """Draw views that all trials share from the experiment's seed, fresh ones from the trial's."""
        return ("views", self._spec.seed) if stage.views else ("augment", self._spec.trial_seed, name)
