import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferlab.core.files.paths import is_plain_name, stays_inside


@pytest.mark.parametrize("path", ["a", "a/b", ".", "a\\b", "a/./b", "..a/b", "ä ö"])
def test_paths_below_stay_inside(path):
    assert stays_inside(path)


@pytest.mark.parametrize("path", ["/a", "../a", "a/../../b", "a\\..\\b", "\\a", "c:\\a", "c:a", "\\\\host\\a", "a\0"])
def test_paths_that_lead_elsewhere_do_not(path):
    assert not stays_inside(path)
    assert not is_plain_name(path)


@given(st.lists(st.sampled_from(["a", "..", ".", "/", "\\", "c:", "b.zip"]), max_size=6).map("".join))
def test_what_stays_inside_is_below_on_both_systems(tmp_path_factory, path):
    root = tmp_path_factory.getbasetemp()
    if stays_inside(path):
        for spelling in (path, path.replace("\\", "/")):
            assert (root / spelling).resolve().is_relative_to(root.resolve())


@pytest.mark.parametrize(("name", "is_plain"), [("a.zip", True), ("a/b.zip", False), (".a", False), ("", False)])
def test_plain_names_have_no_folder_and_are_visible(name, is_plain):
    assert is_plain_name(name) is is_plain
