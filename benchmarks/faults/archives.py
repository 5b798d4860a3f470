"""Archives made to do harm, and damaged ones: unpacked where nothing else may be written."""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.faults.row import NOTHING, Row, crashed, row, said
from transferlab.core.data.archives.extract import ExtractError, extract
from transferlab.core.data.download import Downloads
from transferlab.core.data.sources import ArchiveSource, SourceError

Named = tuple[str, bytes]  # a file's name and content
ZIPS = {"x.zip": zipfile.ZIP_DEFLATED, "lzma.zip": zipfile.ZIP_LZMA, "bz2.zip": zipfile.ZIP_BZIP2}
TARS = {"x.tar": "w", "x.tar.gz": "w:gz", "x.tar.xz": "w:xz", "x.tar.bz2": "w:bz2"}
OUTSIDE = ("../evil", "/evil", "a/../../evil", "..\\evil", "C:\\evil", "\\\\server\\evil")


def zipped(members: Iterable[Named], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Make a zip, as a file's content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: Iterable[Named | tarfile.TarInfo], mode: str = "w") -> bytes:
    """Make a tar, as a file's content."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return file.getvalue()


def both(*members: Named) -> list[Named]:
    """Make a zip and a tar of the same members."""
    return [("x.zip", zipped(members)), ("x.tar", tarred(members))]


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Make a member of a tar that is no file."""
    info = tarfile.TarInfo("a")
    info.type, info.linkname = kind, target
    return info


def zipped_link() -> bytes:
    """Make a zip with a symbolic link."""
    info = zipfile.ZipInfo("a")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(info, "/etc/passwd")
    return file.getvalue()


def header_bomb() -> bytes:
    """Make a tar.gz of 1 MB whose header, which the reader keeps in memory, unpacks to 1 GB."""
    info, file = tarfile.TarInfo("a"), io.BytesIO()
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(file, "wb") as packed:
        packed.write(info.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(1024):
            packed.write(bytes(1 << 20))
    return file.getvalue()


def attacks() -> Iterator[tuple[str, list[Named]]]:
    """Make archives that somebody might send on purpose."""
    yield "archive that writes outside its folder", [each for name in OUTSIDE for each in both((name, b"x"))]
    links = [tarred([special(kind, "../../evil"), ("a/b", b"x")]) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE)]
    yield "archive with links", [*(("x.tar", content) for content in links), ("x.zip", zipped_link())]
    devices = (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)
    yield "archive with devices and pipes", [("x.tar", tarred([special(kind)])) for kind in devices]
    bomb = [("a", bytes(100_000_000))]
    yield (
        "archive that unpacks to a thousand times its size",
        [
            ("x.zip", zipped(bomb)),
            *((name, tarred(bomb, mode)) for name, mode in TARS.items() if name != "x.tar"),
        ],
    )
    yield "tar whose header would fill the memory", [("x.tgz", header_bomb())]
    twice = [(("a", b"x"), ("a", b"y")), (("a", b"x"), ("a/b", b"y")), (("a/b", b"x"), ("a", b"y"))]
    yield "archive with two members for one place", [("x.tar", tarred(members)) for members in twice]
    yield "archive with a name too long for the disk", both(("a" * 300, b"x"))
    yield "something else under the name of an archive", [("x.zip", b"<html>404</html>"), ("x.tgz", b"")]


def whole(rng: np.random.Generator) -> list[Named]:
    """One archive of every kind."""
    members = [("photos/a.jpg", rng.bytes(3_000)), (f"photos/{'é' * 120}.jpg", b"b" * 500), ("empty.txt", b"")]
    zips = [(name, zipped(members, kind)) for name, kind in ZIPS.items()]
    return [*zips, *((name, tarred(members, mode)) for name, mode in TARS.items())]


def cut(rng: np.random.Generator, tries: int) -> Iterator[Named]:
    """Make archives that end too early."""
    kinds = whole(rng)
    for _ in range(tries):
        name, content = kinds[rng.integers(len(kinds))]
        yield name, content[: rng.integers(len(content))]


def altered(rng: np.random.Generator, tries: int) -> Iterator[Named]:
    """Make archives in which some bytes are wrong."""
    kinds = whole(rng)
    for _ in range(tries):
        name, content = kinds[rng.integers(len(kinds))]
        other = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 6)):
            other[place] = rng.integers(256)
        yield name, bytes(other)


def rows(rng: np.random.Generator) -> Iterator[Row]:
    """Attacks, then damage: through a source, which knows the archive's SHA-256, and to the unpacking alone."""
    for fault, archives in attacks():
        yield row(fault, [unpacked(*each) for each in archives])
    damage = {"cut off": list(cut(rng, 300)), "with bytes altered at random": list(altered(rng, 600))}
    for how, archives in damage.items():
        yield row(f"archive {how} (7 kinds)", [acquired(*each) for each in archives])
    for how, archives in damage.items():
        yield row(f"the same, {how}, given to the unpacking alone", [unpacked(*each) for each in archives])


def acquired(name: str, content: bytes) -> tuple[str, str]:
    """Record what a source says of an archive that has changed."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content)
        source = ArchiveSource(url=str(file), sha256="0" * 64, filename="x.zip")
        try:
            source.acquire(Downloads(Path(folder, "downloads")))
        except SourceError as error:
            return f"refused: {_gist(said(error), name)}", NOTHING
        except Exception as error:  # what no user could understand
            return crashed(error)
        return "taken", "the check"


def unpacked(name: str, content: bytes) -> tuple[str, str]:
    """Record what was said of an archive, and what was written that should not be."""
    with tempfile.TemporaryDirectory() as sandbox:
        folder = Path(sandbox, "above", "here")
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        made = None
        try:
            made = extract(folder / name, folder / "out")
            outcome = "unpacked inside its folder"
        except ExtractError as error:
            outcome = f"refused: {_gist(said(error, folder), name)}"
        except Exception as error:  # what no user could understand
            return crashed(error)
        expected = {folder.parent, folder, folder / name, folder / "out", *(made.rglob("*") if made else ())} | {made}
        stray = set(Path(sandbox).rglob("*")) - expected
        return outcome, f"WRITTEN OUTSIDE: {sorted(stray)}" if stray else NOTHING


def _gist(text: str, name: str) -> str:
    """Strip a message of the archive's name, the names in it, the reader's exact finding, and the cure."""
    for gist in ("is no archive of a known kind", "is damaged", "has another content"):
        if gist in text:
            return f"“the archive {gist} …”"
    short = re.sub(r"(?<=[:,(] )?'.*'", "…", text.replace(name, "the archive"))
    return f"{short.partition('; ')[0].rstrip('”')}”"
