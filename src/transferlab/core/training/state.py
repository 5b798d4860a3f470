"""The state of an unfinished trial: a killed run goes on at its last finished epoch and ends with the same bits.

Everything drawn at random is a function of what it is for (see `seeding`), so the state is small: the tensors that
differ from the trial's beginning, the optimizer, the loss scaler, the best weights so far, and the rows written down. A
state carries a fingerprint of all that the trial depends on; the state of another trial is refused, never mixed in. It
is a dictionary of tensors, numbers, strings and lists: loading it runs no code.

The file is a line with the SHA-256 of the rest, a line of JSON (`finished_epochs`), and what `torch.save` made of the
state.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import transferlab
from transferlab.core.errors import MendableError
from transferlab.core.files.atomic import whole_file
from transferlab.core.models.checkpoint import on_cpu
from transferlab.core.runtime import interrupt
from transferlab.core.training.history import Best, Record

# A state is written after an epoch if the last one is older than this: short epochs are cheaper done again than saved.
# Where writing takes long it is longer, so that writing takes a twentieth of the time at most.
SECONDS_BETWEEN_STATES = 2.0
_MADE_OF = {"machine": "machine (device, precision, or threads, which training.compute.parallel_trials divide)"}


class StateError(MendableError):
    """A state that is damaged, or of another trial."""


@dataclass
class StateFile:
    """Where a trial's state is kept.

    Attributes:
        path: the file.
        fingerprint: of all that the trial depends on, by part.
        is_behind: whether an epoch has finished since a state was written.
    """

    path: Path
    fingerprint: Mapping[str, str]
    is_behind: bool = False
    _written: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    def after_epoch(self, epoch: int, ends_stage: bool, state: Callable[[], Mapping[str, Any]]) -> None:
        """Write the state that `state` gives, if it is time to, or the run is to stop.

        A stage's last epoch is always saved: the next stage's may be much longer, and a stop waits for the epoch after
        one that is not saved.
        """
        is_old = time.monotonic() - self._written >= SECONDS_BETWEEN_STATES * (1 + 10 * self._cost)
        self.is_behind = not (is_old or ends_stage or interrupt.is_asked())
        if not self.is_behind:
            self.write(state(), epoch)

    def write(self, state: Mapping[str, Any], epoch: int) -> None:
        """Write the state after so many epochs, whole or not at all; a stop waits for it.

        Raises:
            OSError: it cannot be written.
        """
        started = time.monotonic()
        with interrupt.held(True):
            payload = io.BytesIO()
            torch.save({**state, "fingerprint": dict(self.fingerprint)}, payload)
            about = json.dumps({"epoch": epoch}).encode() + b"\n"
            with whole_file(self.path) as file:
                file.writelines([_sha256_line(about, payload.getbuffer()), about, payload.getbuffer()])
        self._written = time.monotonic()
        self._cost = self._written - started

    def read(self) -> dict[str, Any] | None:
        """The state, or None when there is none.

        Raises:
            StateError: it is damaged (a bit has flipped), or of another trial; the message says what differs and what
                to do.
        """
        state = read(self.path)
        if state is None:
            return None
        found = state.get("fingerprint", {})
        differing = [part for part, value in self.fingerprint.items() if found.get(part) != value]
        if differing:
            names = [_MADE_OF.get(part, part) for part in differing]
            raise StateError(
                f"{self.path} is the state of an unfinished trial with another {', '.join(names)}. Run with what "
                f"it was begun with to go on, or delete the folder {self.path.parent} to train anew"
            )
        return state


def read(path: Path) -> dict[str, Any] | None:
    """The state in a file, of whichever trial, or None when there is none.

    Raises:
        StateError: it is damaged (a bit has flipped).
    """
    if not path.exists():
        return None
    try:
        return _read(path)
    except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise StateError(f"{path} is damaged ({error}); delete it to train this trial anew") from error


def finished_epochs(path: Path) -> int:
    """How many epochs a state file says it was written after (0 if it is damaged); the state itself is not read."""
    with path.open("rb") as file:
        file.readline()
        try:
            return int(json.loads(file.readline())["epoch"])
        except (ValueError, TypeError, KeyError):
            return 0


def _read(path: Path) -> dict[str, Any]:
    """The state, checked before any of it is parsed."""
    with path.open("rb") as file:
        sha256, about, payload = file.readline(), file.readline(), file.read()
    if _sha256_line(about, payload) != sha256:
        raise ValueError("its SHA-256 is another")
    state: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    return state


def _sha256_line(about: bytes, payload: bytes | memoryview) -> bytes:
    sha256 = hashlib.sha256(about)
    sha256.update(payload)
    return sha256.hexdigest().encode() + b"\n"


def fingerprint(**parts: object) -> dict[str, str]:
    """SHA-256 of the representation of each part, and the versions of this package and of torch."""
    parts = {**parts, "version of transferlab": transferlab.__version__, "version of torch": torch.__version__}
    return {name: hashlib.sha256(repr(value).encode()).hexdigest() for name, value in parts.items()}


def changed(network: nn.Module, beginning: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a network that are no longer what they were."""
    return {name: tensor for name, tensor in on_cpu(network).items() if not _same(tensor, beginning[name])}


def _same(one: Tensor, other: Tensor) -> bool:
    """Equal to the bit, NaN included."""
    return torch.equal(one, other) or torch.equal(one.view(-1).view(torch.uint8), other.view(-1).view(torch.uint8))


def pack(record: Record) -> dict[str, Any]:
    """A record as plain values."""
    return asdict(record)


def unpack(state: Mapping[str, Any]) -> Record:
    """The record that `pack` packed."""
    return Record(**{**state, "best": Best(**state["best"])})
