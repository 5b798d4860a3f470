"""What the stages of a trial run on: images, or what frozen layers have made of them."""

from __future__ import annotations

from collections.abc import Sequence
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


class Inputs:
    """Of the stages of a trial.

    Attributes:
        seconds: by stage that runs on features, what computing them took, once, whichever trial did.
        nbytes: of the features of the stage with the most.
    """

    def __init__(self, spec: TrialSpec, view: View, machine: Machine, folder: Path, report: ProgressCallback) -> None:
        self._spec, self._view, self._machine, self._report = spec, view, machine, report
        self._feature_cache, self._gpu_cache = FeatureCache(folder, spec.keeping), GpuCache(machine.device)
        self.seconds: dict[str, float] = {}
        self.nbytes = 0

    def of(
        self, network: nn.Module, name: str, stage: Stage, epoch: int
    ) -> tuple[nn.Module, features.StageInput, features.StageInput | None]:
        """What runs in a stage and on what: the tail on features where the prefix is frozen, else the network.

        Args:
            network: with the stage's policy.
            name: of the stage.
            stage: it.
            epoch: the last that the trial has finished, which is told while features are computed.
        """
        seed = self._view_seed(name, stage)
        view = self._view.at(stage.size)
        train = Images(self._spec.train, view, self._machine, stage.augmentation, seed, stage.distinct_views)
        held_out = self.held_out()
        if stage.distinct_views is not None:
            kept = self._on_features(network, name, [train, held_out] if held_out else [train], epoch)
            if kept is not None:
                return kept.tail, kept.sources[0], kept.sources[1] if held_out else None
        train.move_to(self._gpu_cache)
        return network, train, features.rendered(held_out, self._gpu_cache) if held_out else None

    def held_out(self) -> Images | None:
        """The images of the curve, where there is one, as the network sees them."""
        return Images(self._spec.held_out, self._view, self._machine) if self._spec.held_out else None

    def _on_features(
        self, network: nn.Module, name: str, splits: Sequence[Images], epoch: int
    ) -> features.OnFeatures | None:
        """The stage's tail and features, where the prefix is frozen."""
        model, tell = self._spec.strategy.model, partial(self._tell, name, epoch + 1)
        kept = features.on_features(network, splits, model, self._feature_cache, tell)
        if kept is not None:
            self.seconds[name] = sum(source.seconds for source in kept.sources)
            self.nbytes = max(self.nbytes, sum(source.nbytes for source in kept.sources))
        return kept

    def _tell(self, name: str, epoch: int, done: int, count: int) -> None:
        epochs = self._spec.strategy.epochs
        self._report(Progress(self._spec.trial, name, epoch, epochs, done, count, doing="frozen layers"))

    def _view_seed(self, name: str, stage: Stage) -> tuple[int | str, ...]:
        """Views shared by all trials come from the experiment's seed, fresh ones from the trial's."""
        return ("views", self._spec.seed) if stage.views else ("augment", self._spec.trial_seed, name)
