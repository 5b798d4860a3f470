"""Files at URLs: in memory, in a folder, and what is said when a URL cannot be used."""

import io

import pytest

from transferlab.core.files.remote import Remote, RemoteError, is_url


@pytest.fixture(params=["memory", "file"])
def folder(request, tmp_path):
    return Remote(f"memory://{tmp_path.name}/" if request.param == "memory" else tmp_path.as_uri())


def test_a_file_goes_there_and_comes_back(folder, tmp_path):
    (tmp_path / "here").write_bytes(b"content")
    there = folder / "a" / "b.bin"
    assert (there.name, there.parent.url) == ("b.bin", (folder / "a").url)
    assert not there.exists()
    there.upload(tmp_path / "here")
    back = io.BytesIO()
    there.copy_to(back)
    assert back.getvalue() == there.read() == b"content"
    assert (folder / "a").names() == ["b.bin"]
    there.remove()
    assert not there.exists()


def test_what_is_created_must_not_be_there(folder, tmp_path):
    (tmp_path / "here").write_bytes(b"first")
    (folder / "a" / "list").upload(tmp_path / "here")
    with pytest.raises(RemoteError, match="nothing was replaced"):
        (folder / "a" / "list").create(b"second")
    assert (folder / "a" / "list").read() == b"first"
    (folder / "a" / "other").create(b"second")
    assert (folder / "a" / "other").read() == b"second"


def test_a_folder_that_is_not_there_has_no_names(folder):
    assert (folder / "gone").names() == []
    with pytest.raises(RemoteError, match="gone does not exist"):
        (folder / "gone").read()


def test_a_scheme_that_nobody_knows_is_told():
    with pytest.raises(RemoteError, match=r"^nowhere://a cannot be used \(ValueError: .*check the URL"):
        Remote("nowhere://a").exists()


@pytest.mark.parametrize("url", ["ftp:/x", "s3:bucket/models", "file:/srv/models"])
def test_a_url_without_two_slashes_is_no_folder_of_that_name(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_bytes(b"content")
    with pytest.raises(RemoteError, match=rf"^{url}/a is no URL: .*two slashes"):
        (Remote(url) / "a").upload(tmp_path / "here")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    (Remote(f"./{url}") / "a").upload(tmp_path / "here")
    assert (tmp_path / url / "a").read_bytes() == b"content"


def test_the_root_of_a_scheme_stays_one():
    assert (Remote("file:///") / "a" / "b").url == "file:///a/b"


def test_a_url_is_told_from_a_path():
    assert is_url("s3://bucket/a")
    assert not is_url("data/s3:/bucket")
