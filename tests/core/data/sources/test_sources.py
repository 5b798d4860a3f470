import hashlib
import zipfile
from pathlib import Path

import pytest

from transferlab.core.data.download import Downloads
from transferlab.core.data.sources import Acquired, ArchiveSource, FolderSource, PackageSource, SourceError, acquire
from transferlab.core.files.remote import Remote
from transferlab.core.validation import FieldProblems


def test_a_package_gives_its_folder_without_being_imported(tmp_path, monkeypatch):
    package = tmp_path / "photos_of_things"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert (
        acquire(PackageSource(package="photos_of_things", folder="data"), Downloads(tmp_path)).path == package / "data"
    )
    with pytest.raises(SourceError, match="no folder 'pictures'"):
        acquire(PackageSource(package="photos_of_things", folder="pictures"), Downloads(tmp_path))


def test_a_missing_package_names_what_to_install(tmp_path):
    with pytest.raises(SourceError, match="pip install no-such-photos"):
        acquire(PackageSource(package="no_such_photos"), Downloads(tmp_path))


def test_a_folder_is_used_where_it_is(tmp_path):
    assert acquire(FolderSource(path=str(tmp_path)), Downloads(tmp_path)) == Acquired(tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        acquire(FolderSource(path=str(tmp_path / "gone")), Downloads(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="is a file"):
        acquire(FolderSource(path=str(tmp_path / "file")), Downloads(tmp_path))


def test_an_archive_may_have_several_packings(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    content = hashlib.sha256((tmp_path / "photos.zip").read_bytes()).hexdigest()
    source = ArchiveSource(url="http://nowhere.invalid/photos.zip", sha256=("0" * 64, content.upper()))
    assert acquire(source, Downloads(tmp_path / "downloads", [str(tmp_path)])) == Acquired(tmp_path / "photos.zip")
    assert ArchiveSource(url="http://x/a%20b.zip?x=1", sha256="0" * 64).file == "a b.zip"


def test_every_wrong_field_is_named():
    with pytest.raises(FieldProblems) as caught:
        ArchiveSource(url="ftp://x/photos.rar", sha256="abc", subfolder="../up")
    assert {problem.field for problem in caught.value.problems} == {"url", "sha256", "filename", "subfolder"}
    with pytest.raises(FieldProblems, match="package"):
        PackageSource(package="a.b")
    with pytest.raises(FieldProblems, match="folder"):
        PackageSource(package="a", folder="../b")
    with pytest.raises(FieldProblems, match="path"):
        FolderSource(path=" ")


def test_the_solar_cells_package_is_where_it_says():
    pytest.importorskip("elpv_dataset")
    folder = acquire(PackageSource(package="elpv_dataset", folder="data"), Downloads(Path("unused"))).path
    assert (folder / "labels.csv").is_file()


def test_an_archive_in_a_bucket_is_fetched_and_compared(bucket, tmp_path):
    content = b"PK of photographs"
    (tmp_path / "here.zip").write_bytes(content)
    (Remote(bucket) / "data" / "photos.zip").upload(tmp_path / "here.zip")
    sha256 = hashlib.sha256(content).hexdigest()
    downloads = Downloads(tmp_path / "downloads")
    found = acquire(ArchiveSource(url=f"{bucket}/data/photos.zip", sha256=sha256), downloads)
    assert found.path == tmp_path / "downloads" / "photos.zip"
    assert found.path.read_bytes() == content
    with pytest.raises(SourceError, match=r"photos\.zip.*another content"):
        acquire(ArchiveSource(url=f"{bucket}/data/photos.zip", sha256="0" * 64), Downloads(tmp_path / "other"))
    with pytest.raises(SourceError, match=r"gone\.zip does not exist"):
        acquire(ArchiveSource(url=f"{bucket}/gone.zip", sha256=sha256), Downloads(tmp_path / "other"))
