import gzip
import io
import os
import stat
import tarfile
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transferlab.core.data.archives.extract import ExtractError, Limits, extract

FILES = {"photos/a/1.jpg": b"one", "photos/b/2.jpg": b"two", "photos/empty.txt": b""}


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path, members):
    """Members: (name, content) or a TarInfo."""
    with tarfile.open(
        path, "w:" + {".gz": "gz", ".tgz": "gz", ".xz": "xz", ".bz2": "bz2"}.get(path.suffix, "")
    ) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size, info.mode = len(member[1]), 0o4777
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_ends_with_a_backslash_is_one(tmp_path):
    files = {"im\\": b"", "im\\cat\\": b"", "im\\cat\\1.jpg": b"one"}
    assert contents(extract(make_zip(tmp_path / "x.zip", files), tmp_path / "out")) == {"im/cat/1.jpg": b"one"}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tgz", "x.tar.xz", "x.tar.bz2"])
def test_every_kind_of_archive_is_unpacked_once(tmp_path, name):
    path = tmp_path / name
    make_zip(path) if name.endswith("zip") else make_tar(path, FILES.items())
    folder = extract(path, tmp_path / "out")
    assert contents(folder) == FILES
    assert folder.name.startswith("x-")
    (folder / "photos" / "marker").write_text("kept")
    assert (extract(path, tmp_path / "out") / "photos" / "marker").exists()
    assert extract(path, tmp_path / "out", "photos/a") == folder / "photos" / "a"
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [folder.name]


@pytest.mark.parametrize("depth", [101, 1500])
def test_absurdly_deep_folders_are_refused(tmp_path, depth):
    path = make_zip(tmp_path / "x.zip", {"a/" * depth + "1.jpg": b"one"})
    with pytest.raises(ExtractError, match=rf"x.zip has a member {depth + 1} folders deep.*unpack it yourself"):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert extract(make_zip(tmp_path / "y.zip", {"a/" * 99 + "1.jpg": b"one"}), tmp_path / "out").is_dir()


def test_another_content_gets_another_folder(tmp_path):
    first = extract(make_zip(tmp_path / "x.zip"), tmp_path / "out")
    second = extract(make_zip(tmp_path / "x.zip", {"photos/a/1.jpg": b"other"}), tmp_path / "out")
    assert first != second
    assert contents(second) == {"photos/a/1.jpg": b"other"}


def test_a_folder_passes_through(tmp_path):
    assert extract(tmp_path, tmp_path / "out") == tmp_path
    with pytest.raises(ExtractError, match="no folder 'gone'"):
        extract(tmp_path, tmp_path / "out", "gone")


def test_permissions_of_the_archive_are_not_taken(tmp_path):
    folder = extract(make_tar(tmp_path / "x.tar", [("run.sh", b"#!")]), tmp_path / "out")
    assert not (folder / "run.sh").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("../evil", b"x")], "leads outside"),
        ([("/evil", b"x")], "leads outside"),
        ([("a/../../evil", b"x")], "leads outside"),
        ([("..\\evil", b"x")], "leads outside"),
        ([("C:\\evil", b"x")], "leads outside"),
        ([link("up", "..", tarfile.SYMTYPE), ("up/evil", b"x")], "link or device"),
        ([("a", b"x"), link("b", "a", tarfile.LNKTYPE)], "link or device"),
        ([link("pipe", "", tarfile.FIFOTYPE)], "link or device"),
        ([link("disk", "", tarfile.BLKTYPE)], "link or device"),
        ([("a", b"x"), ("a", b"y")], "two members"),
        ([("a", b"x"), ("a/b", b"y")], "two members"),
        ([("a", b"x"), link("a", "", tarfile.DIRTYPE)], "two members"),
        ([("a" * 300, b"x")], "name this disk cannot take"),
        ([(".", b"x")], "two members"),
        ([("\\\\server\\evil", b"x")], "leads outside"),
        ([link("disk", "", tarfile.CHRTYPE)], "link or device"),
    ],
)
def test_an_unsafe_tar_leaves_nothing(tmp_path, members, message):
    path = make_tar(tmp_path / "x.tar", members)
    with pytest.raises(ExtractError, match=message):
        extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "x.tar"]


def test_an_unsafe_zip_leaves_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    for path, message in [(tmp_path / "link.zip", "link"), (make_zip(tmp_path / "up.zip", {"../x": b""}), "outside")]:
        with pytest.raises(ExtractError, match=message):
            extract(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_bombs_are_stopped_while_they_unpack(tmp_path):
    bomb = make_zip(tmp_path / "bomb.zip", {"zeros": bytes(2_000_000)})
    many = make_zip(tmp_path / "many.zip", {f"{i}": b"" for i in range(20)})
    with pytest.raises(ExtractError, match="too many bytes"):
        extract(bomb, tmp_path / "out", limits=Limits(ratio_from=1000))
    with pytest.raises(ExtractError, match="too many bytes"):
        extract(bomb, tmp_path / "out", limits=Limits(bytes=1_000_000))
    with pytest.raises(ExtractError, match="more than 10 members"):
        extract(many, tmp_path / "out", limits=Limits(members=10))
    assert list((tmp_path / "out").iterdir()) == []
    assert extract(bomb, tmp_path / "out").is_dir()


@pytest.mark.parametrize("name", ["x.zip", "x.tar.gz", "x.tar.xz", "x.tar"])
def test_a_damaged_archive_leaves_nothing(tmp_path, name):
    noise = bytes((i * i * 31 + i // 7) % 251 for i in range(300_000))
    whole = tmp_path / f"whole-{name}"
    make_zip(whole, {"noise": noise}) if name.endswith("zip") else make_tar(whole, [("noise", noise)])
    data = bytearray(whole.read_bytes())
    path = tmp_path / name
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ExtractError, match="damaged"):
        extract(path, tmp_path / "out")
    if name.endswith("zip"):
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(ExtractError, match="damaged"):
            extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


NOISE = bytes((i * i * 31 + i // 7) % 251 for i in range(4_000))


def archives(folder):
    """One of each kind, with a plain and a long name."""
    files = {"photos/a.jpg": NOISE, f"photos/{'é' * 120}.jpg": b"b" * 500, "empty.txt": b""}
    made = [make_tar(folder / name, files.items()) for name in ("x.tar", "x.tgz", "x.tar.xz", "x.tar.bz2")]
    for name, kind in (("d.zip", zipfile.ZIP_DEFLATED), ("l.zip", zipfile.ZIP_LZMA), ("b.zip", zipfile.ZIP_BZIP2)):
        with zipfile.ZipFile(folder / name, "w", kind) as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        made.append(folder / name)
    return {path.name: path.read_bytes() for path in made}


SMALL = Limits(members=1000, bytes=1 << 20, ratio_from=1 << 20)


@pytest.fixture(scope="module")
def whole_archives(tmp_path_factory):
    return archives(tmp_path_factory.mktemp("archives"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_told_and_nothing_leaves_the_folder(whole_archives, data):
    name = data.draw(st.sampled_from(sorted(whole_archives)))
    content = bytearray(whole_archives[name])
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(1, len(content))) :]
    assert_told_or_unpacked(name, bytes(content))


PARTS = st.sampled_from(
    ["a", "b", "..", ".", "", "~", "C:", "é", "\u202e", "x" * 300, "a\\b", "..\\c", "nul", "\udcff", "a\nb"]
)
MEMBERS = st.lists(
    st.tuples(
        st.lists(PARTS, min_size=1, max_size=4).map("/".join),
        st.sampled_from([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(MEMBERS, st.sampled_from(["../../evil", "/evil", "a", ""]))
def test_whatever_the_members_are_called_nothing_leaves_the_folder(members, target):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind in members:
            info = link(name, target, kind)
            info.size = 1 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"x"))
    assert_told_or_unpacked("x.tar", file.getvalue())


def assert_told_or_unpacked(name, content):
    with tempfile.TemporaryDirectory() as sandbox:
        folder = Path(sandbox, "above", "here")
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        try:
            made = extract(folder / name, folder / "out", limits=SMALL)
        except ExtractError as error:
            assert name in str(error)  # noqa: PT017 - both ways are right
            made = None
        left = {path.relative_to(sandbox).as_posix() for path in Path(sandbox).rglob("*")}
        assert left - {"above", "above/here", f"above/here/{name}", "above/here/out"} == (
            {path.relative_to(sandbox).as_posix() for path in (made, *made.rglob("*"))} if made else set()
        )
        assert not any(path.is_symlink() for path in Path(sandbox).rglob("*"))


def test_headers_cannot_fill_the_memory(tmp_path):
    header = tarfile.TarInfo("a")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    with gzip.open(tmp_path / "x.tgz", "wb") as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ExtractError, match="headers of implausible size"):
        extract(tmp_path / "x.tgz", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


def test_a_tar_with_a_zip_at_its_end_is_a_tar(tmp_path):
    inner = make_zip(tmp_path / "inner.zip", {"evil": b"x"}).read_bytes()
    folder = extract(make_tar(tmp_path / "x.tar", [("photos/inner.zip", inner)]), tmp_path / "out")
    assert contents(folder) == {"photos/inner.zip": inner}


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_disk_that_takes_no_more_is_not_taken_for_a_damaged_archive(tmp_path):
    import resource

    path = make_zip(tmp_path / "x.zip", {"a": NOISE})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            extract(path, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(ExtractError, match="no archive of a known kind"):
        extract(tmp_path / "page.zip", tmp_path / "out")
