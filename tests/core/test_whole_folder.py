import os
import time

import pytest

from transferlab.core.whole_folder import ORPHAN_SECONDS, sweep, whole_folder


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), whole_folder(tmp_path, lambda: "done") as folder:  # noqa: PT012
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with whole_folder(tmp_path, lambda: "done") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "done").exists()
    assert (tmp_path / "done" / "file").read_text() == "x"


def test_the_first_of_two_stays(tmp_path):
    for content in "ab":
        with whole_folder(tmp_path, lambda: "done") as folder:
            (folder / "file").write_text(content)
    assert [entry.name for entry in tmp_path.iterdir()] == ["done"]
    assert (tmp_path / "done" / "file").read_text() == "a"


def test_only_old_orphans_are_swept(tmp_path):
    old, young, other = (tmp_path / name for name in (".unfinished-old", ".unfinished-young", "other"))
    for folder in (old, young, other):
        folder.mkdir()
    (tmp_path / ".unfinished-file").write_text("x")
    long_ago = time.time() - ORPHAN_SECONDS - 60
    for path in (old, other, tmp_path / ".unfinished-file"):
        os.utime(path, (long_ago, long_ago))
    sweep(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".unfinished-young", "other"]


@pytest.mark.skipif(os.name != "posix", reason="folders are locked on POSIX only")
def test_an_hour_old_folder_is_swept_unless_somebody_writes_it(tmp_path):
    an_hour_ago = time.time() - 3600
    (tmp_path / ".unfinished-killed").mkdir()
    with whole_folder(tmp_path, lambda: "done") as folder:
        for path in tmp_path.iterdir():
            os.utime(path, (an_hour_ago, an_hour_ago))
        sweep(tmp_path)
        assert list(tmp_path.iterdir()) == [folder]
    assert [entry.name for entry in tmp_path.iterdir()] == ["done"]
