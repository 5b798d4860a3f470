"""What a trial makes of held-out and training images: prediction sets and `unfamiliar` are calibrated on it.

It is stored beside the checkpoints, so that whoever predicts needs no image of the data set.

Shapes: N validation images, K classes, M training images, F features of a layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from transferlab.core.calibration import familiarity
from transferlab.core.calibration.conformal import LEVEL, Method, PredictionSets, calibrate
from transferlab.core.calibration.familiarity import Familiarity, Nearness
from transferlab.core.files.hashing import digest, sha256_of_json

FORMAT = 2
_KEY, _SEAL = "transferlab", "sha256"
_ARRAYS, _OF_LAYER = ("p_NK", "truth_N", "labels_M"), ("features_MF", "distance_N")


class Training(NamedTuple):
    """A sample of the training images.

    Attributes:
        features: of each layer that is looked at, features_MF, the head's last; see `layers.telling`.
        labels_M: their labels.
        paths: their files, relative to the folder of the images.
    """

    features: tuple[NDArray[np.floating], ...]
    labels_M: NDArray[np.int64]
    paths: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reference:
    """What one trial made of the validation images and of a sample of its training images.

    Attributes:
        images: digest of the validation images: trials that share them can be calibrated together.
        p_NK: probabilities of the validation images.
        truth_N: their labels.
        training: training images; their features on the unit sphere in float16, which is exact enough for distances.
        distances: in each layer, those of the validation images to the training images, (N,).
    """

    images: str
    p_NK: NDArray[np.float64]
    truth_N: NDArray[np.int64]
    training: Training
    distances: tuple[NDArray[np.float64], ...]

    @classmethod
    def of(
        cls,
        images: str,
        p_NK: NDArray[np.float64],
        truth_N: NDArray[np.int64],
        features: Sequence[NDArray[np.float32]],
        training: Training,
    ) -> Reference:
        """Measure how far the validation images are from the training images.

        Args:
            images: see the attributes, as for `p_NK` and `truth_N`.
            p_NK: probabilities.
            truth_N: labels.
            features: of the validation images, of each layer.
            training: training images, of the same layers.
        """
        spheres = tuple(familiarity.on_sphere(layer_MF).astype(np.float16) for layer_MF in training.features)
        pairs = zip(spheres, features, strict=True)
        distances = tuple(familiarity.distance(familiarity.neighbors_among(known), own) for known, own in pairs)
        return cls(images, p_NK, truth_N, training._replace(features=spheres), distances)

    @cached_property
    def nearness(self) -> Nearness:
        """How far images are from the training images, in units of what the validation images are."""
        indexes = tuple(familiarity.neighbors_among(layer_MF) for layer_MF in self.training.features)
        return Nearness(indexes, tuple(familiarity.threshold(layer_N) for layer_N in self.distances))

    @property
    def distance_N(self) -> NDArray[np.float64]:
        """Of the validation images, in that layer in which each is strangest."""
        return self.nearness.strangest(self.distances)


@dataclass(frozen=True)
class Calibrated:
    """The prediction sets and the familiarity of a predictor: of one trial, or of several that are averaged.

    Attributes:
        sets: says which classes an image may have.
        familiarity: says which images are unfamiliar.
        images: how many validation images they were calibrated on.
    """

    sets: PredictionSets
    familiarity: Familiarity
    images: int

    @classmethod
    def of(cls, references: Sequence[Reference], level: float = LEVEL, method: Method = "lac") -> Calibrated:
        """Calibrate the mean of the trials' probabilities, and of their distances.

        Raises:
            ValueError: there is no trial, or they do not share their validation images (see `can_be_together`).
        """
        if not can_be_together(references):
            raise ValueError("trials without common validation images cannot be calibrated together")
        p_NK = np.mean([one.p_NK for one in references], axis=0)
        distance_N = np.mean([one.distance_N for one in references], axis=0)
        familiar = Familiarity(tuple(one.nearness for one in references), familiarity.threshold(distance_N))
        return cls(calibrate(p_NK, references[0].truth_N, level, method), familiar, len(p_NK))


def promises(one: Reference, level: float) -> dict[str, Any]:
    """Return what decides of a single network, as plain values: for whoever uses it without this project.

    Args:
        one: what is calibrated on.
        level: the probability with which prediction sets (LAC) are to hold the truth.
    """
    calibrated = Calibrated.of([one], level)
    units = [calibrated.familiarity.threshold * unit for unit in one.nearness.thresholds]
    return {
        "calibrated_on": calibrated.images,
        "prediction_sets": {"level": level, "smallest_probability": max(0.0, 1 - calibrated.sets.threshold)},
        "unfamiliar": {
            "training_images": len(one.training.paths),
            "neighbors": min(familiarity.NEIGHBORS, len(one.training.paths)),
            "largest_distances": units,
            "flagged": familiarity.FLAGGED,
        },
    }


def can_be_together(references: Sequence[Reference]) -> bool:
    """Return whether the trials share their validation images: those of one were else training images of another."""
    return len({one.images for one in references}) == 1


def to_bytes(references: Mapping[int, Reference]) -> bytes:
    """Return the references of trials as the content of a safetensors file; there may be none."""
    tensors = {
        f"{trial}.{name}": torch.from_numpy(np.ascontiguousarray(array))
        for trial, one in references.items()
        for name, array in _arrays(one).items()
    }
    trials = {
        str(trial): {"images": one.images, "paths": one.training.paths, "layers": len(one.distances)}
        for trial, one in references.items()
    }
    header = {"format": FORMAT, "trials": json.loads(json.dumps(trials))}
    return save(tensors, metadata={_KEY: json.dumps({**header, _SEAL: _seal(header, tensors)}, sort_keys=True)})


def from_file(path: str) -> dict[int, Reference]:
    """Read the references of trials.

    Raises:
        ValueError: it is no such file, is damaged, or is of a later format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if header.pop(_SEAL) != _seal(header, tensors):
            raise ValueError("its SHA-256 is another")
        if header["format"] not in range(1, FORMAT + 1):
            raise ValueError(f"its format is {header['format']}, and this version of transferlab reads up to {FORMAT}")
        return {int(trial): _reference(trial, about, tensors) for trial, about in header["trials"].items()}
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it does not hold what prediction sets are calibrated on ({error})") from error


def _arrays(one: Reference) -> dict[str, NDArray[Any]]:
    layers = enumerate(zip(one.training.features, one.distances, strict=True))
    of_layers = {
        _name(name, layer): array for layer, pair in layers for name, array in zip(_OF_LAYER, pair, strict=True)
    }
    return dict(zip(_ARRAYS, (one.p_NK, one.truth_N, one.training.labels_M), strict=True)) | of_layers


def _name(array: str, layer: int) -> str:
    """Name an array of a layer; that of the first is called as in files of format 1, which have no other."""
    return f"{array}.{layer}" if layer else array


def _reference(trial: str, about: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Reference:
    p_NK, truth_N, labels_M = (tensors[f"{trial}.{name}"].numpy() for name in _ARRAYS)
    features, distances = (
        tuple(tensors[f"{trial}.{_name(array, layer)}"].numpy() for layer in range(about.get("layers", 1)))
        for array in _OF_LAYER
    )
    return Reference(about["images"], p_NK, truth_N, Training(features, labels_M, tuple(about["paths"])), distances)


def _seal(header: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    return sha256_of_json([header, digest(dict(sorted(tensors.items())))])
