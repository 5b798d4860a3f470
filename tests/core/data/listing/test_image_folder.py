import json

import pytest

from transferlab.core.data.listing.config import ImageFolder
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.listing.table import LayoutError


def write(root, **files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def listed(root, layout=ImageFolder(), groups=None):  # noqa: B008 - frozen
    listing, left_out = list_images(root, layout, groups)
    return listing.drop(columns="stratify").to_numpy().tolist(), left_out.set_index("path")["reason"].to_dict()


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_table_in_each_part_is_read(tmp_path):
    write(tmp_path, **{
        "train/metadata.jsonl": lines({"file_name": "1.png", "label": 0, "patient": "p"},
                                      {"file_name": "sub/2.png", "label": 1, "patient": "q"}),
        "test/metadata.csv": "file_name,label,patient\n3.png,0,r\n4.png,1,s\n",
        "train/1.png": "", "train/sub/2.png": "", "test/3.png": "", "test/4.png": "", "test/5.png": "", "README.md": "",
    })  # fmt: skip
    rows, left_out = listed(tmp_path, groups="patient")
    assert rows == [
        ["test/3.png", "0", "test", "r"], ["test/4.png", "1", "test", "s"],
        ["train/1.png", "0", "train", "p"], ["train/sub/2.png", "1", "train", "q"],
    ]  # fmt: skip
    assert left_out["test/5.png"].endswith("does not list it.")
    assert left_out["train/metadata.jsonl"] == left_out["test/metadata.csv"] == "It is a table of labels."


def test_texts_with_other_line_separators_do_not_end_a_row(tmp_path):
    rows = [{"file_name": f"{n}.png", "label": n, "text": "one\u2028two\x85three"} for n in "ab"]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    assert len(listed(write(tmp_path, **{"metadata.jsonl": text, "a.png": "", "b.png": ""}))[0]) == 2


def test_one_table_for_all_and_no_parts(tmp_path):
    write(tmp_path, **{"metadata.csv": "file_name,text,kind\nimages/1.png,a b,x\nimages/2.png,,y\nimages/3.png,,x\n",
                       "images/1.png": "", "images/2.png": ""})  # fmt: skip
    rows, left_out = listed(tmp_path, ImageFolder(label="kind"))
    assert rows == [["images/1.png", "x", "", ""], ["images/2.png", "y", "", ""]]
    assert "no such file" in left_out["images/3.png"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", "file,label\n1.png,x\n", "no column 'file_name'"),
        (
            "metadata.csv",
            "file_name;label\n1.png;x\n",
            "no column 'file_name'; its columns must be separated by commas",
        ),
        (
            "metadata.csv",
            "file_name,labels\n1.png,x\n",
            "dataset.layout.label: .*no column 'label'; did you mean 'labels'",
        ),
        ("metadata.csv", "file_name,label\n../1.png,x\n", "must be a path relative to the table's own folder"),
        ("metadata.csv", "", "cannot be read as a table: No columns"),
        ("metadata.jsonl", '{"file_name": "1.png", "label": "x"}\n[1]\n', r"line 2: '\[1\]' is no JSON object"),
        ("metadata.jsonl", "{file_name\n", "cannot be read as a table"),
        ("labels.csv", "", "has no metadata.csv or metadata.jsonl"),
    ],
)
def test_a_table_that_does_not_fit_is_explained(tmp_path, name, text, message):
    with pytest.raises(LayoutError, match=message):
        listed(write(tmp_path, **{name: text, "1.png": "", "2.png": ""}))
