"""Kill training processes at random moments and count what is lost: `python -m benchmarks.kills --kills 200`.

Trainings are tiny and real: a ResNet with BatchNorm, staged (head on cached features, then all with one-cycle, then all
with kept optimizer and plateau), the best epoch selected. Each is killed with SIGKILL at random moments, begun again
until it ends, and compared, to the bit, with one that was never killed: weights, history, steps. Writes
`benchmarks/results/kills.json`, or another file (`--to`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import platform
import random
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from transferlab.core.data.store import ImageStore, Resize
from transferlab.core.data.store_writer import StoreWriter
from transferlab.core.files.atomic import whole_file
from transferlab.core.files.hashing import digest
from transferlab.core.loading.images import Split
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.runtime.compute import Compute
from transferlab.core.strategies.optimizers import SGD, Adam
from transferlab.core.strategies.schedules import OneCycle, Plateau
from transferlab.core.strategies.strategy import Stage, Strategy
from transferlab.core.training import state
from transferlab.core.training.spec import TrialResult, TrialSpec
from transferlab.core.training.trial import train_trial
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.operations import RandomFlip, RandomResizedCrop

RESULT = Path(__file__).parent / "results" / "kills.json"
AUGMENTATION = (RandomResizedCrop(), RandomFlip())
STAGES = {
    "head": Stage(epochs=3, trainable="head", optimizer=SGD(lr=0.2), augmentation=AUGMENTATION, views=2, batch_size=4),
    "tune": Stage(
        epochs=3,
        optimizer=Adam(name="adamw", lr=1e-2),
        schedule=OneCycle(),
        augmentation=AUGMENTATION,
        batch_size=4,
    ),
    "more": Stage(
        epochs=3,
        optimizer=Adam(name="adamw", lr=1e-3),
        keep_optimizer=True,
        schedule=Plateau(patience=0),
        augmentation=AUGMENTATION,
        batch_size=4,
    ),
}


def split_of(folder: Path, name: str, count: int, seed: int) -> Split:
    """Make a split of noise whose class shows in red or blue."""
    rng = np.random.default_rng(seed)
    labels_N = np.arange(count) % 2
    images = rng.integers(0, 200, (count, 36, 36, 3), np.uint8)
    images[np.arange(count), ..., 2 * labels_N] += 55
    folder.mkdir(parents=True)
    with StoreWriter(folder, Resize(size=36)) as writer:
        for image_HWC in images:
            writer.append(image_HWC)
        pixels = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
        writer.finish("noise", [{"path": str(i), "reason": None, "pixel_sha256": sha} for i, sha in enumerate(pixels)])
    return Split(name, ImageStore(folder), np.arange(count), labels_N.astype(np.int64))


def spec_in(folder: Path) -> TrialSpec:
    """Describe the training that is killed."""
    strategy = Strategy(
        model=Model(name="timm/test_resnet"), stages=STAGES, input=Input(size=32, resize=36), select="best"
    )
    statistics = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
    initial = factory.initial(strategy.model, strategy.input, ["red", "blue"], statistics, 0)
    train, held_out = split_of(folder / "train", "train", 15, 0), split_of(folder / "held_out", "validation", 8, 1)
    return TrialSpec("killed", strategy, initial, train, held_out, 0, 0, Compute(device="cpu", threads=1))


def fingerprint(result: TrialResult) -> str:
    """Hash all bits of a result but the seconds."""
    history, steps = ([asdict(row) for row in rows] for rows in (result.history, result.steps))
    untimed = [{**row, "seconds": None} for row in history]
    text = json.dumps([untimed, steps, result.checkpoint.header.to_json()], sort_keys=True)
    return hashlib.sha256((text + digest(result.checkpoint.tensors)).encode()).hexdigest()


def train(spec: TrialSpec, folder: Path) -> None:
    """Train, or go on, and write the fingerprint of the result."""
    state.SECONDS_BETWEEN_STATES = 0.0
    result = train_trial(spec, folder / "features", lambda at: None, folder / "states")
    with whole_file(folder / "result") as file:
        file.write(fingerprint(result).encode())


def main() -> None:
    """Run until so many kills have been made."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=RESULT, help="the file to write")
    wanted = parser.parse_args()
    draws, counts, epochs = random.Random(wanted.seed), Counter[str](), Counter[int]()  # noqa: S311 - moments
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["transferlab.core.training.trial"])
    with tempfile.TemporaryDirectory() as name:
        spec = spec_in(Path(name) / "images")
        whole = Path(name) / "whole"
        run(processes, spec, whole, None)  # the first also starts the server and imports torch
        expected = (whole / "result").read_text()
        seconds = run(processes, spec, Path(name) / "timed", None)
        while counts["kills"] < wanted.kills:
            folder = Path(name) / f"training_{counts['trainings']}"
            while not (folder / "result").is_file():
                run(processes, spec, folder, draws.uniform(0, seconds))
                if not (folder / "result").is_file():
                    counts["kills"] += 1
                    epochs[epoch_of(folder / "states" / "trial_0.pt")] += 1
            counts["trainings"] += 1
            counts["with other bits"] += (folder / "result").read_text() != expected
    report = {
        **{key: counts[key] for key in ("kills", "trainings", "with other bits")},
        "kills by finished epochs in the state": {str(epoch): epochs[epoch] for epoch in sorted(epochs)},
        "seed": wanted.seed,
        "machine": {"processor": platform.machine(), "torch": torch.__version__, "python": platform.python_version()},
    }
    wanted.to.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def run(
    processes: multiprocessing.context.ForkServerContext, spec: TrialSpec, folder: Path, until: float | None
) -> float:
    """Train in a process of its own, killed after `until` seconds if it has not ended by then; seconds it ran."""
    process = processes.Process(target=train, args=(spec, folder))
    started = time.monotonic()
    process.start()
    process.join(until)
    process.kill()
    process.join()
    return time.monotonic() - started


def epoch_of(file: Path) -> int:
    """Finished epochs in a state; -1 when there is none yet. A state that cannot be read is an error here too."""
    found = state.read(file)
    return found["records"][0]["epoch"] if found else -1


if __name__ == "__main__":
    main()
