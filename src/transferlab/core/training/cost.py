"""Measures what training costs: seconds, memory, and the work that frozen layers did once."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from transferlab.core.runtime.device import Machine
from transferlab.core.runtime.memory import PeakMemory, memory_explained
from transferlab.core.strategies.strategy import Stage
from transferlab.core.training import distributed
from transferlab.core.training.history import CostRow, Record
from transferlab.core.training.spec import TrialSpec


class Meter:
    """Measures trials that train in the same steps, and goes on counting after a resume."""

    def __init__(self, device: torch.device) -> None:
        self._memory = PeakMemory(device)
        self._started = time.perf_counter()
        self._feature_seconds: dict[str, float] = {}  # by stage
        self._feature_bytes = 0
        self._trainable = 0

    def look(self) -> None:
        """Take the memory in use now into account."""
        self._memory.look()

    def count_trainable(self, network: nn.Module) -> None:
        """Count the parameters that the current stage trains."""
        trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
        self._trainable = max(self._trainable, trained)

    def add_features(self, stage: str, seconds: float, nbytes: int, waited: float) -> None:
        """Count the features of a stage.

        Args:
            stage: its name.
            seconds: that computing them took once, in whichever trial or run.
            nbytes: their size.
            waited: seconds that this trial waited for them; excluded from its own.
        """
        self._feature_seconds[stage] = seconds
        self._feature_bytes = max(self._feature_bytes, nbytes)
        self._started += waited

    @property
    def seconds(self) -> float:
        """Seconds so far, without computing features."""
        return time.perf_counter() - self._started

    def row(self, spec: TrialSpec, record: Record, machine: Machine, network: nn.Module, together: int) -> CostRow:
        """Return the cost of one of the `together` trials that were measured."""
        self.look()
        epochs = record.epoch_seconds()
        return CostRow(
            strategy=spec.name,
            trial=spec.trial,
            total_parameters=sum(p.numel() for p in network.parameters()),
            trainable_parameters=self._trainable,
            epochs=len(epochs),
            views=max((stage.distinct_views or 0 for stage in spec.strategy.stages.values()), default=0),
            seconds=self.seconds / together,
            feature_seconds=sum(self._feature_seconds.values()),
            feature_mb=self._feature_bytes / 2**20,
            seconds_per_epoch=sum(epochs) / len(epochs) if epochs else 0.0,
            images_per_second=len(spec.train) * len(epochs) / sum(epochs) if epochs else 0.0,
            peak_memory_mb=self._memory.mebibytes,
            device=machine.device.type,
            device_name=machine.device_name,
            precision=machine.precision,
            threads=machine.threads,
            devices=machine.devices,
            parallel_trials=machine.parallel_trials,
            node=platform.node(),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs."""
        return {
            "seconds": self.seconds,
            "feature_seconds": dict(self._feature_seconds),
            "feature_bytes": self._feature_bytes,
            "peak_memory": self._memory.peak,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._started -= state["seconds"]
        self._feature_seconds = dict(state["feature_seconds"])
        self._feature_bytes = state["feature_bytes"]
        self._memory.peak = state["peak_memory"]


def memory_advice(spec: TrialSpec, name: str, stage: Stage, machine: Machine) -> AbstractContextManager[None]:
    """While open, turn memory that runs out in a stage into an error that says what to do."""
    share = math.ceil(stage.batch_size / distributed.count())
    what = f"strategies.{spec.name}: trial {spec.trial + 1}, stage {name}, batch_size {stage.batch_size}"
    return memory_explained(what, machine.smaller_micro_batch(share))
