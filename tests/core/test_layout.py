import os
from pathlib import Path

import pytest

from transferlab.core.layout import ClassFolders, LayoutError, list_images


def touch(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def rows(listing):
    return list(listing[["path", "class", "split"]].itertuples(index=False, name=None))


def test_classes_are_the_folders_whatever_is_nested_in_them(tmp_path):
    touch(tmp_path, "cat/deep/er/2.JPEG", "cat/1.jpg", "ant/x.gif", "bee/y.tiff")
    listing, left_out = list_images(tmp_path, ClassFolders())
    assert rows(listing) == [
        ("ant/x.gif", "ant", ""),
        ("bee/y.tiff", "bee", ""),
        ("cat/1.jpg", "cat", ""),
        ("cat/deep/er/2.JPEG", "cat", ""),
    ]
    assert left_out.empty


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_the_only_held_out_folder_is_the_test_part(tmp_path, name):
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", f"{name}/a/3.jpg", f"{name}/b/4.jpg")
    listing, _ = list_images(tmp_path, ClassFolders())
    assert dict(zip(listing["path"].str[-5], listing["split"], strict=True)) == {
        "1": "train", "2": "train", "3": "test", "4": "test",
    }  # fmt: skip


def test_three_folders_are_three_parts(tmp_path):
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in ("train", "val", "test") for name in "ab"))
    listing, _ = list_images(tmp_path, ClassFolders())
    assert listing.groupby("split").size().to_dict() == {"test": 2, "train": 2, "validation": 2}


def test_a_train_folder_alone_gives_no_split(tmp_path):
    listing, _ = list_images(touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg"), ClassFolders())
    assert set(listing["split"]) == {""}


def test_every_file_has_a_row(tmp_path):
    touch(
        tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/a/3.jpg", "test/b/4.jpg", "README.md", "train/loose.jpg",
        "extra/a/5.jpg", "train/a/.hidden.jpg", "train/a/Thumbs.db", "train/.git/x/y.jpg", "__MACOSX/train/a/._1.jpg",
        "train/a/.DS_Store", "train/a/labels.csv", "train/a/no_suffix",
    )  # fmt: skip
    listing, left_out = list_images(tmp_path, ClassFolders())
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert sorted([*listing["path"], *left_out["path"]]) == sorted(found)
    assert len(listing) == 4
    assert set(left_out["status"]) == {"ignored"}
    assert left_out["reason"].str.endswith(".").all()
    reasons = left_out.set_index("path")["reason"]
    assert "macOS" in reasons["__MACOSX/train/a/._1.jpg"]
    assert "not in a class folder" in reasons["train/loose.jpg"]
    assert "not in the split folders" in reasons["extra/a/5.jpg"]
    assert "'.csv'" in reasons["train/a/labels.csv"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "data", "a/1.jpg", "b/2.jpg")
    touch(tmp_path / "elsewhere", "3.jpg")
    (tmp_path / "data" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "a" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    os.mkfifo(tmp_path / "data" / "a" / "pipe.jpg")
    listing, left_out = list_images(tmp_path / "data", ClassFolders())
    assert list(listing["path"]) == ["a/1.jpg", "b/2.jpg", "c/3.jpg"]
    assert list(left_out["path"]) == ["a/broken.jpg", "a/loop", "a/pipe.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="bytes as names are of POSIX")
def test_a_name_that_is_no_text_is_ignored_with_a_name_that_is(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    _, left_out = list_images(tmp_path, ClassFolders())
    assert list(left_out["path"]) == ["a/\\xff.jpg"]
    left_out["path"].iloc[0].encode()


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["README.md"], "no image of any class"),
        (["photos/a/1.jpg", "photos/b/2.jpg"], "only one class, 'photos'.*subfolder"),
        (["a/1.jpg", "b/2.txt"], "b is a class folder without images"),
        (["train/a/1.jpg", "train/b/2.jpg", "val/a/3.jpg"], "no image of class 'b' in its test part"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "valid/a/1.jpg", "valid/b/1.jpg"],
            "keep one",
        ),
    ],
)
def test_what_cannot_become_an_experiment_names_the_folder(tmp_path, paths, message):
    with pytest.raises(LayoutError, match=message) as caught:
        list_images(touch(tmp_path, *paths), ClassFolders())
    assert str(tmp_path) in str(caught.value)


def test_folders_may_get_readable_names(tmp_path):
    touch(tmp_path, "n1/1.jpg", "n2/2.jpg")
    listing, _ = list_images(tmp_path, ClassFolders(names={"n1": "Shih-Tzu", "n2": "Beagle", "n3": "Dingo"}))
    assert list(listing["class"]) == ["Shih-Tzu", "Beagle"]
    with pytest.raises(LayoutError, match="folder 'n2' has no name"):
        list_images(tmp_path, ClassFolders(names={"n1": "Shih-Tzu"}))
    with pytest.raises(LayoutError, match="is no folder"):
        list_images(tmp_path / "gone", ClassFolders())
