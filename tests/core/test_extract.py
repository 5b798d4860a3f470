import io
import stat
import tarfile
import zipfile

import pytest

from transferlab.core.extract import ExtractError, Limits, extract

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


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(ExtractError, match="no archive of a known kind"):
        extract(tmp_path / "page.zip", tmp_path / "out")
