"""Says what a trial depends on, as explicit JSON values that a message can compare and name.

The fingerprint is complete by construction: it is made from every field of the `TrialSpec` and of the config classes in
it. What may differ between the runs that share a state is listed in `MAY_DIFFER` and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import torch

import transferlab
from transferlab.core.files.hashing import digest, sha256_of_json
from transferlab.core.loading.images import Split
from transferlab.core.models import freezing
from transferlab.core.models.backbones import registry
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.runtime.device import Machine
from transferlab.core.training import compilation
from transferlab.core.training.spec import TrialSpec

Value = str | int | float | bool | None
Fingerprint = dict[str, Value]
_MOST_TOLD = 3  # differences that a message names

# What may differ, and why a trial goes on all the same.
MAY_DIFFER = {
    "training.compute.micro_batch": "changes rounding alone; the stages where it does more are compared (`passes_of`)",
    "training.compute.parallel_trials": "other trials do not touch this one; its share of threads is compared",
    "training.compute.compile": "what it means for each stage, and for features, is compared instead",
    "training.features.limit_gb": "features that are not cached are computed in every step, up to rounding the same",
}


def fingerprint(
    spec: TrialSpec,
    machine: Machine,
    compiled: Mapping[str, bool | str],
    together: int = 1,
    initial_sha256: str | None = None,
) -> Fingerprint:
    """Return all that a trial depends on, by dotted key as in the config where there is one.

    Args:
        spec: of the trial, or of the first of those trained together.
        machine: what `spec.compute` resolved to on this machine.
        compiled: whether each stage is compiled.
        together: how many trials train together.
        initial_sha256: of `spec.initial`, if it is known already (see `sha256_of_checkpoint`).
    """
    entries: dict[str, Any] = {
        "name": ("strategy", spec.name),
        "trial": ("trial", spec.trial),
        "strategy": (f"strategies.{spec.name}", asdict(spec.strategy)),
        "initial": ("initial weights", initial_sha256 or sha256_of_checkpoint(spec.initial)),
        "train": ("training images", _of_split(spec.train)),
        "held_out": ("held-out images", _of_split(spec.held_out)),
        "seed": ("training.seed", spec.seed),
        "compute": ("training.compute", asdict(machine)),
        "keeping": ("training.features", asdict(spec.keeping)),
        "metric": ("report.metric", spec.decides_by),
    }
    parts = dict(entries[field.name] for field in fields(spec))  # a new field without an entry is an error
    parts["compiled stages"] = dict(compiled)
    parts["compiled features"] = compilation.compiled_features(spec, machine)
    parts["number of trials together"] = together
    parts["version of transferlab"], parts["version of torch"] = transferlab.__version__, torch.__version__
    flat = {key: value for name, part in parts.items() for key, value in _flat(name, part)}
    compared = {key: value for key, value in flat.items() if key not in MAY_DIFFER}
    return compared | {passes_of(stage): machine.micro_batch for stage in _normalizing_passes(spec, machine)}


def passes_of(stage: str) -> str:
    """Return the key of the images in a pass of a stage, which is there if BatchNorm trains on less than a batch."""
    return f"training.compute.micro_batch (BatchNorm of stage {stage})"


def _normalizing_passes(spec: TrialSpec, machine: Machine) -> Iterator[str]:
    """Yield the stages whose BatchNorm sees the images of a pass, where those of a batch are cut into several."""
    if machine.micro_batch is None:
        return
    header, images = spec.initial.header, len(spec.train)
    parameters = registry.parameter_names(header.model, header.view.size, header.pooled)
    for name, stage in spec.strategy.stages.items():
        largest = min(images, stage.batch_size + (images % stage.batch_size == 1))  # a last image joins a batch
        is_cut = machine.micro_batch < math.ceil(largest / machine.devices)
        if is_cut and freezing.trains_batch_norm(stage.trainable, parameters, spec.initial.tensors, header.head):
            yield name


def differences(begun: Mapping[str, Value], now: Mapping[str, Value]) -> list[str]:
    """Return a phrase for each key whose value differs: what it was when the trial was begun, and what it is now."""
    keys = [*now, *(key for key in begun if key not in now)]
    return [_phrase(key, begun.get(key), now.get(key)) for key in keys if begun.get(key) != now.get(key)]


def told(phrases: Sequence[str]) -> str:
    """Join what differs for a message, the first few of many."""
    more = f"; and {len(phrases) - _MOST_TOLD} more" if len(phrases) > _MOST_TOLD else ""
    return f"{'; '.join(phrases[:_MOST_TOLD])}{more}"


def _phrase(key: str, begun: Value, now: Value) -> str:
    if key == "training.compute.threads":
        return f"begun with {begun} thread{'' if begun == 1 else 's'}, now {now} (training.compute.threads)"
    if _is_digest(begun) or _is_digest(now):
        return f"other {key}"
    return f"{key} was {begun}, now {now}"


def _is_digest(value: Value) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def sha256_of_checkpoint(checkpoint: Checkpoint) -> str:
    """Return the SHA-256 of a checkpoint's header and tensors."""
    return sha256_of_json([checkpoint.header.to_json(), digest(checkpoint.all_tensors())])


def _of_split(split: Split | None) -> str | None:
    if split is None:
        return None
    pool = [] if split.pool is None else [replace(split, rows=split.pool).fingerprint]  # draws depend on it
    return sha256_of_json([split.name, split.fingerprint, split.labels.tolist(), *pool])


def _flat(key: str, value: Any) -> Iterator[tuple[str, Value]]:
    """Yield the scalars of nested JSON, each with its dotted key.

    Raises:
        TypeError: a value has no explicit JSON form.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _flat(f"{key}[{number}]", inner)
    elif isinstance(value, torch.device | torch.dtype):
        yield key, str(value)
    elif value is None or isinstance(value, str | int | float):
        yield key, value
    else:
        raise TypeError(f"{key}: {type(value).__name__} has no explicit JSON form")
