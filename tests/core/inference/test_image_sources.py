"""What a source holds: files, folders, globs, tables; labels where they are known."""

import os

import pytest
from PIL import Image

from transferlab.core.inference.sources import SourceError, find_images

CLASSES = ("ants", "bees")


@pytest.fixture
def folder(tmp_path):
    """ants/1.png, bees/2.png, and a text file that is no image."""
    for name in ("ants/1.png", "bees/2.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / name)
    (tmp_path / "images" / "notes.txt").write_text("none")
    return tmp_path / "images"


def names(items):
    return [item.path.name for item in items]


def labels(items):
    return [item.label for item in items]


def test_a_folder_gives_all_below_it_with_the_classes_that_folders_are_named_after(folder):
    items = find_images([str(folder)], CLASSES)
    assert (names(items), labels(items)) == (["1.png", "2.png"], ["ants", "bees"])


def test_one_folder_that_is_no_class_leaves_all_without_label(folder):
    Image.new("RGB", (4, 4)).save(folder / "3.png")
    items = find_images([str(folder)], CLASSES)
    assert (sorted(names(items)), labels(items)) == (["1.png", "2.png", "3.png"], [None] * 3)
    assert labels(find_images([str(folder / "ants")], ("wasps", "bees"))) == [None]


def test_files_and_globs_give_what_they_name(folder):
    assert names(find_images([str(folder / "**" / "*.png")], CLASSES)) == ["1.png", "2.png"]
    assert names(find_images([str(folder / "bees" / "2.png"), str(folder / "ants")], CLASSES)) == ["2.png", "1.png"]


def test_a_link_that_leads_nowhere_is_found_and_has_a_reason(folder):
    (folder / "ants" / "lost.png").symlink_to(folder / "gone.png")
    assert [item.reason for item in find_images([str(folder)], CLASSES)] == [
        None,
        "It is a link that leads nowhere.",
        None,
    ]


@pytest.mark.skipif(os.name == "nt", reason="names are UTF-16 there")
def test_a_name_that_is_not_utf_8_has_a_reason_and_can_be_written(folder):
    os.rename(folder / "ants" / "1.png", os.fsencode(folder / "ants") + b"/\xff.png")  # noqa: PTH104
    first, _ = find_images([str(folder / "*" / "*.png")], CLASSES)
    assert "not UTF-8" in first.reason
    str(first.path).encode()


def test_a_table_gives_paths_beside_it_and_labels(folder):
    (folder / "list.csv").write_text("path,label\nants/1.png,bees\nlost.png,\n")
    items = find_images([str(folder / "list.csv")], CLASSES)
    assert [item.path for item in items] == [folder / "ants" / "1.png", folder / "lost.png"]
    assert labels(items) == ["bees", None]


def test_a_table_with_spaces_after_commas_and_backslashes_is_read_as_a_table_of_labels_is(folder):
    (folder / "list.csv").write_text('path , label\nants\\1.png, bees\n"bees/2.png", "ants"\n')
    items = find_images([str(folder / "list.csv")], CLASSES)
    assert [item.path for item in items] == [folder / "ants" / "1.png", folder / "bees" / "2.png"]
    assert labels(items) == ["bees", "ants"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("paths\na.png\n", "has no column 'path'; did you mean 'paths'"),
        ("path,label\na.png,ant\n", "line 2: 'ant' is no class of the model; did you mean 'ants'"),
        ("path,label\n,ants\n", "line 2: its column 'path' is empty"),
        ("path\n", "holds no image"),
        ("", "cannot be read as a CSV table"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, table, message):
    (tmp_path / "list.csv").write_text(table)
    with pytest.raises(SourceError, match=message):
        find_images([str(tmp_path / "list.csv")], CLASSES)


@pytest.mark.parametrize(("source", "message"), [("gone", "does not exist"), ("*.jpg", "holds no"), (".", "holds no")])
def test_a_source_with_nothing_in_it_is_an_error(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=message):
        find_images([source], CLASSES)
