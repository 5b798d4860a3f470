"""The moving average of the weights (EMA), which is evaluated and saved in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Follows the tensors that training changes: trained parameters, and the statistics of BatchNorm layers.

    The statistics are averaged like the weights, so that the average has its own. timm's `ModelEmaV3` and torch's
    `AveragedModel` copy a whole module instead, which could not follow stacked heads, nor the tail of a cut network.

    Args:
        decay: share of the average that a step keeps. It begins lower, as in TensorFlow's
            `ExponentialMovingAverage`: (1 + n) / (10 + n) after n steps, or a short training would end with what it
            began with.
        live: the tensors, on their device; the average begins with their values.
    """

    def __init__(self, decay: float, live: Sequence[Tensor]) -> None:
        self._decay, self._live = decay, [tensor.detach() for tensor in live]
        self._average = [tensor.clone() for tensor in self._live]
        self._steps = 0

    @property
    def tensors(self) -> list[Tensor]:
        """The average, in the order of `live`."""
        return self._average

    def update(self) -> None:
        """Take the weights after a step into account."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(self._average, self._live, self._steps)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While open, the network holds the average."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange the weights and the average."""
        for live, average in zip(self._live, self._average, strict=True):
            kept = live.clone()
            live.copy_(average)
            average.copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resume needs besides the average, which is saved as the weights."""
        return {"steps": self._steps, "live": [tensor.cpu() for tensor in self._live]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, given a network that holds the average."""
        self._steps = state["steps"]
        for live, average, saved in zip(self._live, self._average, state["live"], strict=True):
            average.copy_(live)
            live.copy_(saved)
