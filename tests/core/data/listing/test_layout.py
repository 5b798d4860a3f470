import json
import os
import re
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transferlab.core.data.listing.config import ClassFolders
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.listing.table import LayoutError
from transferlab.core.data.split.config import PathGroups
from transferlab.core.validation import FieldProblems


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
    assert left_out.set_index("path")["status"].to_dict() == {
        "a/broken.jpg": "quarantined", "a/loop": "ignored", "a/pipe.jpg": "ignored",
    }  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links_that_go_round_in_circles_end(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a" / "self.jpg").symlink_to("self.jpg")
    (tmp_path / "a" / "there").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "back").symlink_to(tmp_path / "a")
    listing, left_out = list_images(tmp_path, ClassFolders())
    assert list(listing["path"]) == ["a/1.jpg", "a/there/2.jpg", "b/2.jpg", "b/back/1.jpg"]
    reasons = left_out.set_index("path")["reason"]
    assert "Too many levels of symbolic links" in reasons["a/self.jpg"]
    assert reasons[["a/there/back", "b/back/there"]].str.contains("folder that it is in").all()


@contextmanager
def without_rights():
    """As somebody who is not root, whom no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_a_folder_that_may_not_be_read_is_quarantined_and_a_whole_class_or_root_an_error():
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        root = touch(Path(name), "a/1.jpg", "b/2.jpg", "a/secret/3.jpg")
        root.chmod(0o755)
        (root / "a" / "secret").chmod(0)
        with without_rights():
            listing, left_out = list_images(root, ClassFolders())
        assert list(listing["path"]) == ["a/1.jpg", "b/2.jpg"]
        assert left_out.to_numpy().tolist() == [["a/secret", "quarantined", "It cannot be read: Permission denied."]]
        (root / "b").chmod(0)
        with without_rights(), pytest.raises(LayoutError, match=r"b is a class folder without.*Permission denied"):
            list_images(root, ClassFolders())
        root.chmod(0o111)
        with without_rights(), pytest.raises(LayoutError, match=f"{root} cannot be read: Permission denied"):
            list_images(root, ClassFolders())
        root.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="bytes as names are of POSIX")
def test_a_name_that_is_no_text_is_ignored_with_a_name_that_is(tmp_path):
    touch(tmp_path, "a/1.jpg", "b/2.jpg")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    _, left_out = list_images(tmp_path, ClassFolders())
    assert left_out[["path", "status"]].to_numpy().tolist() == [["a/\\xff.jpg", "quarantined"]]
    left_out["path"].iloc[0].encode()
    touch(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe")), "1.jpg")
    with pytest.raises(LayoutError, match=r"\\xfe is a class folder without images.*not UTF-8: rename it") as caught:
        list_images(tmp_path, ClassFolders())
    str(caught.value).encode()


NAMES = [
    "my cat",
    "花",
    "Käfer 'gross'",
    'a "b", c',
    "<b>",
    "$x$",
    "a;b",
    "-rf",
    "%s",
    "{x}",
    "line\nbreak",
    "C:",
    "NA",
]


@pytest.mark.skipif(os.name != "posix", reason="Windows forbids some of these names")
def test_classes_may_have_any_name(tmp_path, caplog):
    listing, left_out = list_images(touch(tmp_path, *(f"{name}/1.jpg" for name in NAMES)), ClassFolders())
    assert sorted(listing["class"]) == sorted(NAMES)
    assert left_out.empty
    assert caplog.text == ""


def test_names_that_look_the_same_are_told(tmp_path, caplog):
    one, other = "caf\u00e9", "Cafe\u0301"
    touch(tmp_path, f"{one}/1.jpg", f"{other}/1.jpg", "tea/1.jpg")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system takes both names for one")
    listing, _ = list_images(tmp_path, ClassFolders())
    assert listing["class"].nunique() == 3
    assert r"the classes 'Cafe\u0301' and 'caf\xe9' differ in case, spaces or Unicode form only" in caplog.text
    parts = touch(tmp_path / "parts", f"train/{one}/1.jpg", "train/tea/1.jpg", f"val/{other}/1.jpg", "val/tea/1.jpg")
    with pytest.raises(LayoutError, match=r"in its \w+ part.*'caf\\xe9' differ in case"):
        list_images(parts, ClassFolders())


SOME = st.sampled_from(
    ["a", "b", "train", "val", "test", ".x", "__MACOSX", "Thumbs.db", "c.jpg", "d.JPEG", "e.txt", "f"]
)
TREES = st.sets(st.lists(SOME, min_size=1, max_size=4).map("/".join), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(TREES)
def test_found_is_listed_and_left_out_and_nothing_else(paths):
    with tempfile.TemporaryDirectory() as name:
        root = touch(Path(name), "x/1.jpg", "y/1.jpg")
        for path in sorted(paths):
            if not any((root / path).is_dir() or (root / above).is_file() for above in Path(path).parents):
                touch(root, path)
        found = {file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file()}
        try:
            listing, left_out = list_images(root, ClassFolders())
        except LayoutError:
            return
        assert sorted([*listing["path"], *left_out["path"]]) == sorted(found)
        assert set(left_out["reason"].str[-1:]) <= {"."}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["README.md"], "no image of any class"),
        (["photos/a/1.jpg", "photos/b/2.jpg"], "only one class, 'photos'.*subfolder"),
        (["a/1.jpg", "b/2.txt"], "b is a class folder without images: .* the first is b/2.txt: Its suffix '.txt'"),
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
    with pytest.raises(FieldProblems, match=r"names: .* must not give a folder an empty name"):
        ClassFolders(names={"n1": "Shih-Tzu", "n2": ""})
    listing, _ = list_images(tmp_path, ClassFolders(names={"n1": "Shih-Tzu", "n2": "Beagle", "n3": "Dingo"}))
    assert list(listing["class"]) == ["Shih-Tzu", "Beagle"]
    with pytest.raises(LayoutError, match="folder 'n2' has no name"):
        list_images(tmp_path, ClassFolders(names={"n1": "Shih-Tzu"}))
    with pytest.raises(LayoutError, match="is no folder"):
        list_images(tmp_path / "gone", ClassFolders())


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (("Training", "Testing"), {"train", "test"}),
        (("TRAINING", "Test"), {"train", "test"}),
        (("train_set", "test_set"), {"train", "test"}),
        (("trainset", "valset", "testset"), {"train", "validation", "test"}),
        (("train", "dev", "eval"), {"train", "validation", "test"}),
        (("train", "eval", "test"), {"train", "validation", "test"}),
        (("train", "eval"), {"train", "test"}),
        (("seg_train", "seg_test"), {"train", "test"}),
        (("Train Images", "Validation Images"), {"train", "test"}),
        (("01_train", "02_test"), {"train", "test"}),
        (("train2017", "val2017"), {"train", "test"}),
        (("Train", "Hold-out"), {"train", "test"}),
        (("Trainingsdaten", "Testdaten"), {"train", "test"}),
        (("entraînement", "test"), {"train", "test"}),
        (("训练集", "验证集", "测试集"), {"train", "validation", "test"}),
        (("seg_train/seg_train", "seg_test/seg_test"), {"train", "test"}),
    ],
)
def test_the_usual_names_of_parts_are_known_in_any_case(tmp_path, folders, parts):
    listing, _ = list_images(
        touch(tmp_path, *(f"{folder}/{x}/1.jpg" for folder in folders for x in "ab")), ClassFolders()
    )
    assert set(listing["class"]) == {"a", "b"}
    assert set(listing["split"]) == parts


def test_a_class_may_be_called_like_a_part(tmp_path):
    listing, left_out = list_images(
        touch(tmp_path, "bus/1.jpg", "car/2.jpg", "train/3.jpg", "test/4.jpg"), ClassFolders()
    )
    assert [row[1:] for row in rows(listing)] == [("bus", ""), ("car", ""), ("test", ""), ("train", "")]
    assert left_out.empty


def test_parts_without_class_folders_are_left_out_as_unlabelled(tmp_path):
    listing, left_out = list_images(touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/3.jpg"), ClassFolders())
    assert set(listing["split"]) == {""}
    assert list(left_out["path"]) == ["test/3.jpg"]


@pytest.mark.parametrize(
    ("paths", "splits", "expected"),
    [
        (
            [f"{top}/{x}/{i}.jpg" for top, n in (("first", 3), ("second", 1)) for x in "ab" for i in range(n)],
            '{"first": "train", "second": "test"}',
            {"train": 6, "test": 2},
        ),
        (
            [f"{name}/{part}/{i}.jpg" for name in ("cat", "dog") for part in ("train", "test") for i in range(2)],
            '{"test": "test", "train": "train"}',
            {"train": 4, "test": 4},
        ),
        (
            [f"{top}/{x}/1.jpg" for top in ("Train_A", "Test_B") for x in "ab"],
            '{"Test_B": "test", "Train_A": "train"}',
            {"train": 2, "test": 2},
        ),
        (
            [f"{top}/{x}/1.jpg" for top in ("query", "train") for x in "ab"],
            '{"query": "test", "train": "train"}',
            {"train": 2, "test": 2},
        ),
        (
            [f"{top}/{x}/1.jpg" for top in ("test", "development") for x in "ab"],
            '{"development": "train", "test": "test"}',
            {"train": 2, "test": 2},
        ),
        (
            ["s1/a/1.jpg", "s1/b/1.jpg", "s1/x.jpg", "s2/a/1.jpg", "s2/b/1.jpg", "s2/b/2.jpg", "s2/b/3.jpg", "c/1.jpg"],
            '{"s1": "test", "s2": "train"}',
            {"train": 4, "test": 2},
        ),
    ],
)
def test_where_folders_may_be_parts_or_classes_the_question_has_the_answer_in_it(tmp_path, paths, splits, expected):
    touch(tmp_path, *paths)
    with pytest.raises(LayoutError, match="Say so in dataset: `layout: ") as caught:
        list_images(tmp_path, ClassFolders())
    assert f"splits: {splits}}}" in str(caught.value)
    listing, _ = list_images(tmp_path, ClassFolders(splits=json.loads(splits)))
    assert listing.groupby("split").size().to_dict() == expected
    assert len(list_images(tmp_path, ClassFolders(splits={}))[0]) == len(paths)


@pytest.mark.parametrize(
    ("folders", "cure"),
    [
        (["train", "test"], "put the images of each class into a folder in it, or name a table of their labels"),
        (["Training", "valid_set", "test images"], "put the images of each class into a folder in it"),
        (["trainA", "testA", "trainB", "testB"], "make folders train/<class> and test/<class> of them"),
        (["train_cat", "train_dog", "val_cat", "val_dog"], "make folders train/<class> and test/<class> of them"),
    ],
)
def test_folders_of_images_that_are_all_called_like_parts_are_no_classes(tmp_path, folders, cure):
    touch(tmp_path, *(f"{folder}/{i}.jpg" for folder in folders for i in "12"))
    with pytest.raises(LayoutError, match=f"are named like parts of the data, not like classes: {cure}"):
        list_images(tmp_path, ClassFolders())
    assert len(list_images(tmp_path, ClassFolders(splits={}))[0]) == 2 * len(folders)


def test_parts_may_lie_deeper(tmp_path):
    touch(tmp_path, *(f"{part}/{name}/1.jpg" for part in ("x/fit", "x/held", "spare") for name in "ab"))
    listing, left_out = list_images(tmp_path, ClassFolders(splits={"x/fit": "train", "x/held/": "test"}))
    assert rows(listing)[0] == ("x/fit/a/1.jpg", "a", "train")
    assert set(left_out["path"]) == {"spare/a/1.jpg", "spare/b/1.jpg"}
    (tmp_path / "x" / "fit" / "c").mkdir()
    with pytest.raises(LayoutError, match="x/fit/c is a class folder without images"):
        list_images(tmp_path, ClassFolders(splits={"x/fit": "train", "x/held": "test"}))


def test_a_training_folder_beside_classes_is_asked_about(tmp_path):
    touch(tmp_path, "bus/1.jpg", "train/express/2.jpg", "train/freight/3.jpg")
    with pytest.raises(LayoutError, match="is 'train' the training part, or a class like 'bus'"):
        list_images(tmp_path, ClassFolders())
    assert set(list_images(tmp_path, ClassFolders(splits={}))[0]["class"]) == {"bus", "train"}
    with pytest.raises(LayoutError, match=r"no folder 'trian' with images; did you mean 'train'"):
        list_images(tmp_path, ClassFolders(splits={"trian": "train"}))


def test_what_systems_leave_is_no_part_of_the_data(tmp_path):
    litter = ["@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information", "__pycache__"]
    litter += ["RECYCLER", "found.012", "LOST.DIR", "@tmp", "~snapshot", "Network Trash Folder", "1.jpg@SynoEAStream"]
    touch(
        tmp_path, "a/1.jpg", "b/2.jpg", *(f"{name}/x.jpg" for name in litter), *(f"a/{name}/x.jpg" for name in litter)
    )
    (tmp_path / "b" / "__pycache__").mkdir()
    (tmp_path / ".Trash-1000").mkdir()
    listing, left_out = list_images(tmp_path, ClassFolders())
    assert list(listing["path"]) == ["a/1.jpg", "b/2.jpg"]
    assert len(left_out) == 2 * len(litter)
    assert set(left_out["status"]) == {"ignored"}
    assert "Synology" in left_out.set_index("path")["reason"]["a/@eaDir/x.jpg"]


def test_patterns_say_what_else_is_no_part_of_the_data(tmp_path):
    touch(tmp_path, "a/1.jpg", "a/1_mask.png", "b/2.jpg", "b/old/3.jpg", "unsure/4.jpg")
    listing, left_out = list_images(tmp_path, ClassFolders(ignore=("*_mask.png", "b/old/", "unsure")))
    assert list(listing["path"]) == ["a/1.jpg", "b/2.jpg"]
    assert left_out["reason"].str.startswith("dataset.layout.ignore says so: '").all()


def test_photographs_that_nothing_here_reads_are_passed_on_to_be_quarantined(tmp_path):
    touch(tmp_path, "a/1.HEIC", "a/2.jxl", "a/3.CR2", "b/4.jpg", "b/notes.txt")
    listing, left_out = list_images(tmp_path, ClassFolders())
    assert list(listing["path"]) == ["a/1.HEIC", "a/2.jxl", "a/3.CR2", "b/4.jpg"]
    assert list(left_out["path"]) == ["b/notes.txt"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["1.jpg", "2.jpg", "3.jpg"], "3 images lie directly here: put them into a folder for each class"),
        (["x/photos/cat/1.jpg", "x/photos/dog/2.jpg"], "seem to be further down, 'cat' and 'dog' in {}/x/photos: name"),
        (["metadata.csv", "1.jpg"], "metadata.csv looks like Hugging Face's: try `layout: {{name: image_folder}}`"),
    ],
)
def test_where_there_are_no_classes_the_message_says_where_they_may_be(tmp_path, paths, message):
    with pytest.raises(LayoutError, match=re.escape(message.format(tmp_path))):
        list_images(touch(tmp_path, *paths), ClassFolders())


@pytest.mark.parametrize("pattern", ["masks", "masks/", "./masks", "**/masks/**", "masks/*"])
def test_a_pattern_of_a_folder_may_be_written_as_for_git(tmp_path, pattern):
    touch(tmp_path, "a/1.jpg", "b/2.jpg", "masks/3.jpg")
    assert set(list_images(tmp_path, ClassFolders(ignore=(pattern,)))[0]["class"]) == {"a", "b"}


def test_a_pattern_that_matches_nothing_is_told(tmp_path, caplog):
    list_images(touch(tmp_path, "a/1.jpg", "b/2.jpg", "masks/3.jpg"), ClassFolders(ignore=("Masks", "a")))
    assert [record.getMessage() for record in caplog.records] == [
        f"dataset.layout.ignore: 'Masks' matches nothing below {tmp_path}; did you mean 'masks'?"
    ]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_folders_that_all_link_to_each_other_end(tmp_path):
    names = "abcdefgh"
    touch(tmp_path, *(f"{name}/1.jpg" for name in names))
    for name in names:
        for other in set(names) - {name}:
            (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
    listing, left_out = list_images(tmp_path, ClassFolders())
    assert len(listing) + len(left_out) < 1000
    assert {f"{name}/1.jpg" for name in names} <= set(listing["path"])


def test_groups_come_from_the_path_and_every_image_has_one(tmp_path):
    touch(tmp_path, "a/p1_1.jpg", "a/p1_2.jpg", "b/p2_1.jpg")
    groups = PathGroups(path="([^/_]+)_[^/]*$")
    assert list(list_images(tmp_path, ClassFolders(), groups)[0]["group"]) == ["p1", "p1", "p2"]
    with pytest.raises(LayoutError, match="'patient' names a column, and folders have none: give an expression"):
        list_images(tmp_path, ClassFolders(), "patient")
    touch(tmp_path, "b/other.jpg")
    with pytest.raises(LayoutError, match="1 of 4 images have no group, the first is b/other"):
        list_images(tmp_path, ClassFolders(), groups)


@contextmanager
def folders_in_folders(root, depth):
    """Give the innermost of folders in folders; pytest could not remove so many, so they go at the end."""
    try:
        here = os.open(root, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            here, above = os.open("d", os.O_RDONLY, dir_fd=here), here
            os.close(above)
        yield here
        os.close(here)
    finally:
        subprocess.run(["rm", "-rf", str(root / "d")], check=True)


def test_no_depth_of_folders_is_too_much(tmp_path):
    touch(tmp_path, "ant/1.jpg", "bee/2.jpg")
    with folders_in_folders(tmp_path / "ant", 1500) as innermost:
        os.close(os.open("3.jpg", os.O_CREAT, dir_fd=innermost))
        listing, _ = list_images(tmp_path, ClassFolders())
    assert sorted(len(path.split("/")) for path in listing["path"]) == [2, 2, 1502]
