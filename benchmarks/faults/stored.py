"""What the program has written and reads again: with one other bit, cut off, or made to run code."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import kills
from benchmarks.faults.attempt import VIEW, attempt, collected_warnings, good_images
from benchmarks.faults.row import NOTHING, UNNOTICED, Row, crashed, is_told, row, said
from transferlab.core.data.store import ImageStore
from transferlab.core.files.hashing import digest
from transferlab.core.models.backbones import weights
from transferlab.core.models.checkpoint import Checkpoint
from transferlab.core.models.checkpoint_header import CheckpointHeader
from transferlab.core.training import state
from transferlab.core.training.spec import TrialSpec
from transferlab.core.training.trial import train_trial

TENSORS = {"conv.weight": torch.arange(300.0).reshape(10, 30), "bn.num_batches_tracked": torch.tensor(7)}
HEADER = CheckpointHeader(model="transferlab/convnet", weights=None, classes=("ant", "bee"), view=VIEW, head=("head",))


@dataclass(frozen=True)
class Stored:
    """A file that the program has written, and how it reads it: a fingerprint of what it gets."""

    kind: str
    file: Path
    read: Callable[[], str]
    tries: int


def rows(rng: np.random.Generator) -> Iterator[Row]:
    """Each kind of file, with one other bit and cut off; then evil ones."""
    with tempfile.TemporaryDirectory() as name:
        for kind in (_checkpoint, _weights, _images, _state, _features):
            folder = Path(name, kind.__name__)
            folder.mkdir()
            stored = kind(folder, rng)
            kept = folder.with_name(f"{folder.name} kept")
            shutil.copytree(folder, kept)
            size, before = stored.file.stat().st_size, stored.read()
            flips = [rng.integers(8 * size) for _ in range(stored.tries)]
            yield row(f"{stored.kind} with a flipped bit", [_damaged(stored, kept, before, bit) for bit in flips])
            cuts = [-rng.integers(1, size) for _ in range(stored.tries // 2)]
            yield row(f"{stored.kind} cut off", [_damaged(stored, kept, before, cut) for cut in cuts])
        yield row("checkpoint or weights that would run code when loaded", list(_evil(Path(name))))


def _damaged(stored: Stored, kept: Path, before: str, how: int) -> tuple[str, str]:
    """Flip the bit `how`, or, if that is negative, keep so many bytes; read, and restore the folder."""
    folder = kept.with_name(kept.name.removesuffix(" kept"))
    content = bytearray(stored.file.read_bytes())
    if how < 0:
        del content[-how:]
    else:
        content[how // 8] ^= 1 << how % 8
    stored.file.write_bytes(content)
    warnings: list[str] = []
    try:
        with collected_warnings(warnings):
            same = stored.read() == before
    except Exception as error:
        if not is_told(error):
            return crashed(error)
        return f"refused: {_gist(said(error, folder))}", NOTHING
    finally:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
    told = f"told: {_gist(f'“{warnings[0]}”')}" if warnings else "read"
    return told, NOTHING if same else UNNOTICED


def _gist(text: str) -> str:
    """Strip a message of the file's name and of the reader's exact finding."""
    for gist in ("is damaged", "not a checkpoint of transferlab"):
        if gist in text:
            return f"“the file … {gist} …”"
    return text


def _checkpoint(folder: Path, rng: np.random.Generator) -> Stored:
    file = folder / "trial_0.safetensors"
    file.write_bytes(Checkpoint(TENSORS, HEADER).to_bytes())

    def read() -> str:
        found = Checkpoint.read(file)
        return f"{found.header} {digest(dict(sorted(found.tensors.items())))}"

    return Stored("checkpoint", file, read, 200)


def _weights(folder: Path, rng: np.random.Generator) -> Stored:
    torch.save(TENSORS, folder / "weights.pth")
    return Stored(
        "somebody's weights file (.pth)",
        folder / "weights.pth",
        lambda: digest(dict(sorted(weights.read(str(folder / "weights.pth")).items()))),
        200,
    )


def _images(folder: Path, rng: np.random.Generator) -> Stored:
    root = folder / "images"
    good_images(root, rng, "ant", "bee", count=4)

    def read() -> str:
        if raised := attempt(root).raised:
            raise raised
        (store,) = (folder / "images stores").glob(f"{VIEW.stored_as.key}-*")
        images = ImageStore(store)
        return hashlib.sha256(b"".join(image.tobytes() for image in images.batch(range(len(images))))).hexdigest()

    read()
    (pixels,) = (folder / "images stores").glob("*/pixels.bin")
    return Stored("decoded images", pixels, read, 40)


class Stopped(BaseException):
    """Stands for the end of the process."""


def _trained(spec: TrialSpec, folder: Path, steps: int | None = None) -> str:
    """Train to the end, or end after so many reports, which come after every step and epoch."""
    left = iter(range(steps)) if steps else None

    def report(_: object) -> None:
        if left is not None and next(left, None) is None:
            raise Stopped

    return kills.fingerprint(train_trial(spec, folder / "features", report, folder / "states"))


def _state(folder: Path, rng: np.random.Generator) -> Stored:
    spec = kills.spec_in(folder.with_name(f"{folder.name} images"))
    state.SECONDS_BETWEEN_STATES = 0.0
    with suppress(Stopped):
        _trained(spec, folder, steps=28)
    return Stored(
        "state of an unfinished training", folder / "states" / "trial_0.pt", lambda: _trained(spec, folder), 20
    )


def _features(folder: Path, rng: np.random.Generator) -> Stored:
    spec = kills.spec_in(folder.with_name(f"{folder.name} images"))
    _trained(spec, folder)
    shutil.rmtree(folder / "states")
    (first, *_) = sorted((folder / "features").iterdir())
    return Stored("kept features", first, lambda: _trained(spec, folder), 20)


class Evil:
    """Makes a folder when a pickle of it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


def _evil(folder: Path) -> Iterator[tuple[str, str]]:
    ran = folder / "it ran"
    for name in ("checkpoint.safetensors", "weights.pth", "weights.safetensors"):
        for how in ("pickle", "torch"):
            file = folder / name
            file.write_bytes(pickle.dumps(Evil(ran)))
            if how == "torch":
                torch.save({"conv.weight": Evil(ran)}, file)
            try:
                Checkpoint.read(file) if name.startswith("checkpoint") else weights.read(str(file))
                said_of_it = "read"
            except Exception as error:
                refused = f"refused: {_gist(said(error, folder))}"
                said_of_it = refused if is_told(error) else crashed(error)[0]
            yield said_of_it, "ITS CODE RAN" if ran.exists() else NOTHING
