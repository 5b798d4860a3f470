"""Folders and tables of labels that are not as they should be, and photographs in more than one split."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.faults.attempt import Attempt, attempt, good_images, photo
from benchmarks.faults.row import NOTHING, Row, row
from transferlab.core.data.listing.config import LabelTable

Spoil = Callable[[Path, np.random.Generator], object]
TABLE = LabelTable(file="labels.csv", label="class")


def file(root: Path, path: str | bytes, content: bytes = b"") -> Path:
    """Write a file and the folders above it."""
    target = root / os.fsdecode(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return target


def image(root: Path, path: str | bytes, rng: np.random.Generator) -> Path:
    """Write a photograph as a PNG file, whatever its name."""
    photo(rng).save(target := file(root, path), "PNG")
    return target


def table(text: str | bytes) -> Spoil:
    """Write a label table of 20 images and these additional rows, or with exactly this content; 20.png is not in it."""

    def spoil(root: Path, rng: np.random.Generator) -> None:
        for name in ("ant", "bee"):
            shutil.rmtree(root / name)
        for i in range(21):
            image(root, f"{i}.png", rng)
        labels = "path,class\n" + "".join(f"{i}.png,{('ant', 'bee')[i % 2]}\n" for i in range(20))
        (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else (labels + text).encode())

    return spoil


def unlike(root: Path, rng: np.random.Generator) -> None:
    """Make a training and a test folder in which a class's name is written in two Unicode forms."""
    shutil.rmtree(root / "ant")
    for path in ("train/caf\u00e9", "train/tea", "test/cafe\u0301", "test/tea"):
        good_images(root, rng, path, count=2)


# Each of these must leave the good images as they are; what was said of the odd one is looked for under its path.
ODD: dict[str, list[tuple[str, Spoil]]] = {
    "link to itself": [("ant/x.jpg", lambda root, rng: (root / "ant/x.jpg").symlink_to("x.jpg"))],
    "link to a folder above": [
        ("ant/up", lambda root, rng: (root / "ant/up").symlink_to(root)),
        ("bee/here", lambda root, rng: (root / "bee/here").symlink_to(root / "bee")),
    ],
    "link that leads nowhere": [("bee/x.png", lambda root, rng: (root / "bee/x.png").symlink_to("gone.png"))],
    "pipe under the name of an image": [("ant/x.png", lambda root, rng: os.mkfifo(root / "ant/x.png"))],
    "name that is not UTF-8": [("ant/\\xff.png", lambda root, rng: image(root, b"ant/\xff.png", rng))],
    "files of macOS and Windows": [
        ("__MACOSX/ant/._x.png", lambda root, rng: image(root, "__MACOSX/ant/._x.png", rng)),
        ("ant/.DS_Store", lambda root, rng: file(root, "ant/.DS_Store")),
        ("bee/Thumbs.db", lambda root, rng: file(root, "bee/Thumbs.db")),
    ],
    "image in no class folder": [("x.png", lambda root, rng: image(root, "x.png", rng))],
    "other files": [
        (path, lambda root, rng, path=path: file(root, path)) for path in ("ant/notes.txt", "bee/README", "x.csv")
    ],
}
# The folder as a whole, and its settings; the names in it are the outcome's.
WHOLE: dict[str, tuple[list[Spoil], LabelTable | None]] = {
    "no image at all": ([lambda root, rng: [shutil.rmtree(root / name) for name in ("ant", "bee")]], None),
    "one class": ([lambda root, rng: shutil.rmtree(root / "ant")], None),
    "empty class folder": ([lambda root, rng: (root / "cat").mkdir()], None),
    "class folder without a usable name": ([lambda root, rng: image(root, b"\xff/x.png", rng)], None),
    "class none of whose images can be decoded": ([lambda root, rng: file(root, "cat/x.png", b"\x89PNG")], None),
    "one image of a class": ([lambda root, rng: image(root, "cat/x.png", rng)], None),
    "class that the test folder lacks": (
        [lambda root, rng: good_images(root, rng, "train/ant", "train/bee", "test/ant", count=2)],
        None,
    ),
    "class written in two Unicode forms": ([unlike], None),
    "table of labels that lists a file twice": ([table("3.png,ant\n")], TABLE),
    "table of labels with a path outside": ([table("../x.png,ant\n"), table("/etc/x.png,bee\n")], TABLE),
    "table of labels with a class without images": ([table("98.png,cat\n99.png,cat\n")], TABLE),
    "table of labels that is none": ([table(b""), table(b"a,b\n1,2,3\n"), table(b"\xff\xfep\0a\0")], TABLE),
}


def rows(rng: np.random.Generator) -> Iterator[Row]:
    """All of the above, then class names, tables, and duplicates."""
    for fault, odd in ODD.items():
        yield row(fault, [_odd(path, spoil, rng) for path, spoil in odd])
    odd_rows = [("99.png", "99.png,ant\n"), ("20.png", "20.png,\n"), ("notes.txt", "notes.txt,bee\n"), ("20.png", "")]
    yield row("table of labels that does not fit the folder", [_odd_row(*each, rng) for each in odd_rows])
    for fault, (spoils, layout) in WHOLE.items():
        yield row(fault, [_tried(spoil, rng, layout)[0].of("") for spoil in spoils])
    yield row("class names with spaces, quotes, markup, other scripts", [_names(rng, name) for name in NAMES])
    yield row("class names that differ in case alone", [_alike(rng)])
    yield from duplicates_in_train(rng)


def _tried(
    spoil: Spoil, rng: np.random.Generator, layout: LabelTable | None = None, excluding: bool = False
) -> tuple[Attempt, list[str]]:
    """Spoil a good folder and take it the whole way; with the paths that were good."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "images")
        good = good_images(root, rng, "ant", "bee")
        spoil(root, rng)
        return attempt(root, layout, excluding=excluding), good


def _odd(path: str, spoil: Spoil, rng: np.random.Generator) -> tuple[str, str]:
    done, good = _tried(spoil, rng)
    said, lost = done.of(path)
    if good_lost := done.lost_of(good):
        return said, f"{len(good_lost)} good images"
    return said, NOTHING if said.startswith("ignored") else lost


def _odd_row(path: str, text: str, rng: np.random.Generator) -> tuple[str, str]:
    done, _ = _tried(table(text), rng, TABLE)
    said, lost = done.of(path)
    return said, NOTHING if said.startswith("ignored") else lost


NAMES = ["my ants", "花", "Käfer 'gross'", 'a "b", c', "<b>bold", "a;b", "$x$", "{x}", "%s", "-rf", "two\nlines", "NA"]


def _names(rng: np.random.Generator, name: str) -> tuple[str, str]:
    done, _ = _tried(lambda root, rng: good_images(root, rng, name, count=4), rng)
    found = done.error is None and (done.index["class"] == name).sum() == 4
    return ("accepted", NOTHING) if found else (done.error or (f"lost among {set(done.index['class'])}", "the class"))


def _alike(rng: np.random.Generator) -> tuple[str, str]:
    done, _ = _tried(lambda root, rng: good_images(root, rng, "Ant", count=4), rng)
    told = done.warnings[0].partition(": ")[2] if done.warnings else "not a word"
    return done.error or (f"accepted, with the warning: “{told}”", NOTHING)


def duplicates_in_train(rng: np.random.Generator) -> Iterator[Row]:
    """Put exact and compressed copies of test images into nested folders of train: reported, and excluded if asked."""
    for kind, suffix in (("exact copies", ".png"), ("compressed copies", ".jpg")):
        spoil = partial(_copy_test_images, suffix)
        reported, _ = _tried(spoil, rng)
        yield Row(f"{kind} of test images among the training images", 5, f"{_copies(reported)} reported", NOTHING)
        left, _ = _tried(spoil, rng, excluding=True)
        gone = int((left.index["split"] == "excluded").sum())
        test = int((left.index["split"] == "test").sum())
        said = f"{_copies(left)} reported, {gone} not trained on; all {test} test images stay"
        lost = "the copies alone" if (gone, test) == (5, 20) else f"{gone} excluded, {20 - test} test images"
        yield Row(f"{kind} among the training images, with `dataset.duplicates: exclude`", 5, said, lost)


def _copy_test_images(suffix: str, root: Path, rng: np.random.Generator) -> None:
    for name in ("ant", "bee"):
        shutil.rmtree(root / name)
    good = good_images(root, rng, "train/ant", "train/bee", "test/ant", "test/bee")
    for path in [path for path in good if path.startswith("test")][:5]:
        folder = root / "train" / Path(path).parent.name / "copies of copies"
        folder.mkdir(parents=True, exist_ok=True)
        Image.open(root / path).save(folder / f"{Path(path).stem} copy{suffix}", quality=70)


def _copies(done: Attempt) -> int:
    return int(done.pairs["path_a"].str.contains("copy").sum())
