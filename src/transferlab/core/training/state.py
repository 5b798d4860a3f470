"""The state of an unfinished trial: a killed run goes on at its last finished epoch and ends with the same bits.

Every random draw is a function of what it is for (see `seeding`), so the state is small: the tensors that differ from
the trial's beginning, the optimizer, the loss scaler, the best weights so far, and the recorded rows. A state says
whose it is and carries a fingerprint of all that the trial depends on; the state of another trial is refused, never
mixed in. It is a dictionary of tensors, numbers, strings and lists: loading it runs no code.

The file is a line with the SHA-256 of the rest, a line of JSON (`finished_epochs`), and what `torch.save` made of the
state.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from transferlab.core.errors import MendableError
from transferlab.core.files.atomic import whole_file
from transferlab.core.runtime import interrupt
from transferlab.core.training.fingerprint import Value, differences, passes_of, told

# A state is written after an epoch if the last one is older than this: short epochs are cheaper to repeat than to save.
# If writing is slow the interval is longer, so that writing takes at most a twentieth of the time.
SECONDS_BETWEEN_STATES = 2.0
FORMAT = 4  # of the dictionary; states of other formats are refused


class StateError(MendableError):
    """A state that is damaged, or of another trial."""


@dataclass
class StateFile:
    """The file that keeps a trial's state.

    Attributes:
        path: of the file.
        fingerprint: all that the trial depends on; see `fingerprint`.
        stages: names, in order.
        is_behind: whether an epoch has finished since a state was written.
    """

    path: Path
    fingerprint: Mapping[str, Value]
    stages: Sequence[str] = ()
    is_behind: bool = False
    _written: float = field(default_factory=time.monotonic)
    _cost: float = 0.0

    def after_epoch(self, epoch: int, ends_stage: bool, state: Callable[[], Mapping[str, Any]]) -> None:
        """Write the state that `state` returns if it is due, or if the run is to stop.

        A stage's last epoch is always saved: the next stage's epochs may be much longer, and a stop waits for the epoch
        after one that is not saved.
        """
        is_old = time.monotonic() - self._written >= SECONDS_BETWEEN_STATES * (1 + 10 * self._cost)
        self.is_behind = not (is_old or ends_stage or interrupt.is_asked())
        if not self.is_behind:
            self.write(state(), epoch)

    def write(self, state: Mapping[str, Any], epoch: int) -> None:
        """Write the state after this many epochs, whole or not at all; a stop waits for it.

        Raises:
            OSError: it cannot be written.
        """
        started = time.monotonic()
        with interrupt.held(True):
            payload = io.BytesIO()
            torch.save({**state, "format": FORMAT, "fingerprint": json.dumps(dict(self.fingerprint))}, payload)
            about = json.dumps({"epoch": epoch}).encode() + b"\n"
            with whole_file(self.path) as file:
                file.writelines([_sha256_line(about, payload.getbuffer()), about, payload.getbuffer()])
        self._written = time.monotonic()
        self._cost = self._written - started

    def read(self) -> dict[str, Any] | None:
        """Return the state, or None if there is none.

        Raises:
            StateError: it is damaged (a bit has flipped), or of another trial; the message says what differs and what
                to do.
        """
        state = read(self.path)
        if state is None:
            return None
        if state.get("format") != FORMAT:
            raise StateError(
                f"{self.path} was written by another version of this program, and cannot be continued; delete "
                f"the folder {self.path.parent} to train anew"
            )
        begun = json.loads(state["fingerprint"])
        self._check_owner(begun)
        self._check_settings(begun, state.get("stage"))
        return state

    def _check_owner(self, found: Mapping[str, Value]) -> None:
        """Check that the state is of this strategy and trial."""
        begun, now = ((one.get("strategy"), one.get("trial")) for one in (found, self.fingerprint))
        if begun != now:
            raise StateError(
                f"{self.path} is the state of {_named(*begun)}, not of {_named(*now)}: give it back its own name and "
                "folder, or delete it to train this trial anew"
            )

    def _check_settings(self, found: Mapping[str, Value], stage: str | None) -> None:
        """Check that nothing differs that the trial depends on; passes may, of stages that come after its own."""
        later = self.stages[self.stages.index(stage) + 1 :] if stage in self.stages else ()
        free = {passes_of(name) for name in later}
        begun, now = ({key: one[key] for key in one if key not in free} for one in (found, self.fingerprint))
        if phrases := differences(begun, now):
            raise StateError(
                f"{self.path} is the state of a trial that was begun with other settings: {told(phrases)}. Set them "
                f"back to go on with the same bits, or delete the folder {self.path.parent} to train anew"
            )


def _named(strategy: Value, trial: Value) -> str:
    return f"trial {trial + 1 if isinstance(trial, int) else trial} of strategy {strategy}"


def read(path: Path) -> dict[str, Any] | None:
    """Return the state in a file, of whichever trial, or None if there is none.

    Raises:
        StateError: it is damaged (a bit has flipped).
    """
    if not path.exists():
        return None
    try:
        return _read(path)
    except (RuntimeError, KeyError, EOFError, ValueError, pickle.UnpicklingError) as error:
        why = error if isinstance(error, ValueError) else "torch cannot read it"
        raise StateError(f"{path} is damaged ({why}); delete it to train this trial anew") from error


def state_path(states: Path, trial: int) -> Path:
    """Return the file that a trial's state has in a folder of states."""
    return states / f"trial_{trial}.pt"


def finished_epochs(path: Path) -> int:
    """Return the number of epochs that a state file was written after (0 if damaged), without reading the state."""
    with path.open("rb") as file:
        file.readline()
        try:
            return int(json.loads(file.readline())["epoch"])
        except (ValueError, TypeError, KeyError):
            return 0


def _read(path: Path) -> dict[str, Any]:
    """Read the state, checked before any of it is parsed."""
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
