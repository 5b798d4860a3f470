import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import psutil
import pytest
from PIL import Image

from transferlab.core.data.decoding.batch import Decoded, decode_all, pixel_sha256
from transferlab.core.data.decoding.pool import Failed
from transferlab.core.data.store import Resize


@dataclass(frozen=True)
class KilledBySize(Resize):
    """Stands for a decoder that crashes on some file: kills its process for images 13 pixels wide."""

    def __call__(self, image):
        if image.width == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(image)


def make(folder, widths):
    files = [folder / f"{i}.png" for i in range(len(widths))]
    for i, (file, width) in enumerate(zip(files, widths, strict=True)):
        Image.new("RGB", (width, 2), (i % 256, 0, 0)).save(file)
    return files


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_files_that_kill_their_process_fail_alone_and_order_stays(tmp_path):
    widths = [5] * 150
    widths[3] = widths[100] = 13
    outcomes = list(decode_all(make(tmp_path, widths), [KilledBySize()], workers=2))
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Failed)] == [3, 100]
    assert "killed the process" in outcomes[3].reason
    good = {i: outcome for i, outcome in enumerate(outcomes) if isinstance(outcome, Decoded)}
    assert all(outcome.images[0][0, 0, 0] == i for i, outcome in good.items())


@pytest.mark.parametrize("workers", [0, 1])
def test_every_file_has_an_outcome(tmp_path, workers):
    files = [*make(tmp_path, [40, 4]), tmp_path / "gone.png", tmp_path / "text.png"]
    files[3].write_text("text")
    large, small, gone, text = decode_all(files, [Resize(), Resize(size=1)], workers)
    assert (large.width, large.height) == (40, 2)
    assert [image_HWC.shape for image_HWC in large.images] == [(2, 40, 3), (1, 20, 3)]
    assert large.pixel_sha256 == pixel_sha256(large.images[0]) != small.pixel_sha256
    assert gone.reason.startswith("It cannot be read: No such file")
    assert gone.file_sha256 is None
    assert "no image" in text.reason
    assert len(text.file_sha256) == 64
    assert list(decode_all([], [Resize()], workers)) == []


def test_the_pixel_hash_knows_the_shape():
    pixels = np.zeros((2, 8, 3), np.uint8)
    assert pixel_sha256(pixels) != pixel_sha256(pixels.reshape(4, 4, 3))
    assert pixel_sha256(pixels) == pixel_sha256(np.zeros((2, 8, 6), np.uint8)[..., ::2])


@dataclass(frozen=True)
class HangsBySize(Resize):
    """Stands for a decoder that never ends on some file: images 13 pixels wide."""

    def __call__(self, image):
        while image.width == 13:
            pass
        return super().__call__(image)


def test_a_file_whose_decoding_never_ends_fails_alone_and_order_stays(tmp_path):
    widths = [5] * 70
    widths[3] = widths[69] = 13
    outcomes = list(decode_all(make(tmp_path, widths), [HangsBySize()], workers=2, patience=2))
    assert {i: outcome.reason for i, outcome in enumerate(outcomes) if isinstance(outcome, Failed)} == {
        3: "Decoding it did not end: it was given up after 2 seconds.",
        69: "Decoding it did not end: it was given up after 2 seconds.",
    }
    assert all(outcome.images[0][0, 0, 0] == i for i, outcome in enumerate(outcomes) if isinstance(outcome, Decoded))
    assert children() == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes of POSIX")
def test_a_file_that_cannot_be_read_to_its_end_fails_alone(tmp_path):
    files = make(tmp_path, [5, 5, 5])
    files[1].unlink()
    os.mkfifo(files[1])
    first, never, last = decode_all(files, [Resize()], workers=1, patience=2)
    assert never == Failed("Decoding it did not end: it was given up after 2 seconds.")
    assert (first.width, last.width) == (5, 5)


def test_an_iteration_that_is_given_up_ends_its_processes(tmp_path):
    files = make(tmp_path, [5] * 100 + [13] + [5] * 400)
    outcomes = decode_all(files, [HangsBySize()], workers=2)
    next(outcomes)
    assert children()
    outcomes.close()
    assert children() == []


def children():
    """The processes that this one has started, and that live."""
    return [process for process in multiprocessing.active_children() if process.is_alive()]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_workers_end_with_a_killed_parent(tmp_path):
    os.mkfifo(tmp_path / "never.png")
    script = """
import multiprocessing, os, signal, sys, threading, time
from pathlib import Path
from transferlab.core.data.decoding.batch import decode_all
from transferlab.core.data.store import Resize

if __name__ == "__main__":
    outcomes = decode_all([Path(sys.argv[1])], [Resize()], workers=1)
    threading.Thread(target=next, args=(outcomes,), daemon=True).start()
    while not multiprocessing.active_children():
        time.sleep(0.05)
    (worker,) = multiprocessing.active_children()
    print(worker.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "script.py").write_text(script)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "never.png"]
    parent = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    worker = int(parent.stdout)
    for _ in range(100):
        if not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.05)
    pytest.fail(f"worker {worker} still runs")


def test_a_script_without_a_main_guard_gets_one_clear_error(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    make(folder, [5] * 3)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from transferlab.core.data.decoding.batch import decode_all\n"
        "from transferlab.core.data.store import Resize\n"
        f"list(decode_all(sorted(Path({str(folder)!r}).iterdir()), [Resize()], workers=1))\n"
    )
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert "__name__ == '__main__'" in result.stderr.splitlines()[-1]
