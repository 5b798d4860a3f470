"""Answers for one photograph at a time: probabilities, prediction set, unfamiliar, and the nearest training images.

Shapes: K classes, M training images, F features.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferlab.core.calibration.familiarity import on_sphere
from transferlab.core.calibration.reference import Calibrated, Reference
from transferlab.core.data.decoding.batch import Decoded, decode_one
from transferlab.core.data.decoding.decode import Rules
from transferlab.core.inference.ensemble import Ensemble
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import Machine

NEAREST = 6
_SUFFIX = re.compile(r"\.[a-zA-Z0-9]{1,7}")  # another may be no name of a file
Features = Sequence[Sequence[NDArray[np.float32]]]  # (F,) of each network and of each layer, the head's last


@dataclass(frozen=True)
class Neighbor:
    """A training image near a photograph: its place in the sample, its file and its class."""

    number: int
    path: str
    label: str


@dataclass(frozen=True)
class Reply:
    """What is said about a photograph.

    Attributes:
        classes: pairs of a class and its probability, the most probable first.
        prediction_set: the classes that it may have; None where sets are not calibrated.
        unfamiliar: whether it is unlike the training images; None where that is not known.
        nearest: the nearest training images, the nearest first.
        reason: why it cannot be used; empty where it was predicted.
    """

    classes: tuple[tuple[str, float], ...] = ()
    prediction_set: tuple[str, ...] | None = None
    unfamiliar: bool | None = None
    nearest: tuple[Neighbor, ...] = ()
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


class Answerer:
    """Holds the networks; any thread may ask."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        machine: Machine,
        calibrated: Calibrated | None = None,
        references: Sequence[Reference] = (),
    ) -> None:
        """Build the networks.

        Args:
            checkpoints: those whose probabilities are averaged.
            machine: where to compute.
            calibrated: gives prediction sets and says what is unfamiliar.
            references: of the checkpoints, in their order: name the nearest training images. There may be none.
        """
        self.ensemble = Ensemble(checkpoints, machine)
        self.calibrated = calibrated
        self.references = references
        self._lock = Lock()

    def answer(self, name: str, content: bytes) -> Reply:
        """Answer for the content of an image file."""
        resizes = [view.stored_as for view in self.ensemble.views]
        with tempfile.TemporaryDirectory() as folder:
            suffix = Path(name).suffix
            file = Path(folder) / f"photograph{suffix if _SUFFIX.fullmatch(suffix) else ''}"
            file.write_bytes(content)
            outcome = decode_one(file, resizes, Rules(levels=self.ensemble.levels))
        if not isinstance(outcome, Decoded):
            return Reply(reason=outcome.reason)
        with self._lock:
            self.ensemble.push(outcome.images)
            self.ensemble.finish()
            answer = self.ensemble.pop()
        if answer is None:
            raise RuntimeError("the ensemble has no answer for an image that it was given")
        return self._reply(answer.p_K, answer.features)

    def _reply(self, p_K: NDArray[np.float64], features: Features) -> Reply:
        names, order_K = self.ensemble.classes, np.argsort(-p_K, kind="stable")
        classes = tuple((names[k], float(p_K[k])) for k in order_K)
        nearest = self._nearest(features)
        if self.calibrated is None:
            return Reply(classes, nearest=nearest)
        is_in_K = self.calibrated.sets.of(p_K[None])[0]
        (distance,) = self.calibrated.familiarity.relative_distance(
            [[one_F[None] for one_F in own] for own in features]
        )
        return Reply(classes, tuple(names[k] for k in order_K if is_in_K[k]), bool(distance > 1), nearest)

    def _nearest(self, features: Features) -> tuple[Neighbor, ...]:
        """Return the nearest training images, by the mean over those networks that share the first one's sample."""
        if not self.references:
            return ()
        training = self.references[0].training
        pairs = zip(self.references, features, strict=True)
        shared = [(one.training.features[-1], own[-1]) for one, own in pairs if one.training.paths == training.paths]
        cosine_M = np.mean([known_MF @ on_sphere(own_F[None])[0] for known_MF, own_F in shared], axis=0)
        return tuple(
            Neighbor(int(m), training.paths[m], self.ensemble.classes[training.labels_M[m]])
            for m in np.argsort(-cosine_M, kind="stable")[:NEAREST]
        )
