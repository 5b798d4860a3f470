import pytest

from transferlab.core.data.listing.label_table import LabelTable, Threshold
from transferlab.core.data.listing.layout import LayoutError, list_images
from transferlab.core.validation import FieldProblems

CELLS = {
    "separator": r"\s+",
    "columns": ("path", "probability", "type"),
    "label": Threshold(column="probability", threshold=0.5, below="good", above="bad"),
    "stratify": "type",
}


def write(root, text, *images):
    (root / "labels.csv").write_text(text)
    for image in images:
        (root / image).parent.mkdir(parents=True, exist_ok=True)
        (root / image).write_bytes(b"")
    return root


def listed(root, **layout):
    listing, left_out = list_images(root, LabelTable(file="labels.csv", **layout))
    rows = list(listing[["path", "class", "split", "stratify"]].itertuples(index=False, name=None))
    return rows, left_out.set_index("path")


def test_a_threshold_makes_two_classes(tmp_path):
    write(tmp_path, "i/1.png 0.5  mono\ni/2.png   0.3333333333333333 poly\n", "i/1.png", "i/2.png")
    rows, left_out = listed(tmp_path, **CELLS)
    assert rows == [("i/1.png", "bad", "", "mono"), ("i/2.png", "good", "", "poly")]
    assert left_out["reason"].to_dict() == {"labels.csv": "It is a table of labels."}


def test_a_header_names_columns_and_ids_get_folder_and_suffix(tmp_path):
    write(tmp_path, "id,breed,part\n007,NA,train\n8,dog,train\n9,NA,val\n10,dog,val\n", *(
        f"photos/{name}.jpg" for name in ("007", "8", "9", "10")
    ))  # fmt: skip
    rows, _ = listed(tmp_path, path="id", label="breed", split="part", folder="photos", suffix=".jpg")
    assert rows == [
        ("photos/007.jpg", "NA", "train", ""),
        ("photos/10.jpg", "dog", "test", ""),
        ("photos/8.jpg", "dog", "train", ""),
        ("photos/9.jpg", "NA", "test", ""),
    ]


def test_labels_without_images_and_images_without_labels_have_reasons(tmp_path):
    write(tmp_path, "a.png 0 m\nb.png 1 m\ngone.png 1 m\nodd.png ? m\nnotes.txt 1 m\n",
          "a.png", "b.png", "odd.png", "extra.png", "notes.txt")  # fmt: skip
    rows, left_out = listed(tmp_path, **CELLS)
    assert [row[0] for row in rows] == ["a.png", "b.png"]
    assert left_out["status"].to_dict() == {
        "extra.png": "ignored", "gone.png": "quarantined", "labels.csv": "ignored", "notes.txt": "quarantined",
        "odd.png": "quarantined",
    }  # fmt: skip
    assert "no such file" in left_out["reason"]["gone.png"]
    assert "no label" in left_out["reason"]["odd.png"]
    assert "does not list it" in left_out["reason"]["extra.png"]


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("path,kind\na.png,x\nb.png,y\n", {"label": "kinds"}, "dataset.layout.label.*no column 'kinds'.*'kind'"),
        ("a.png 0 m\na.png 1 m\n", CELLS, "'a.png' more than once"),
        ("../a.png 0 m\n", CELLS, "outside the data's root"),
        ("/a.png 0 m\n", CELLS, "outside the data's root"),
        ("path,kind,part\na.png,x,holdout\n", {"label": "kind", "split": "part"}, "'holdout' in its column 'part'"),
        ("path,kind\na.png,x\nb.png,x\n", {"label": "kind"}, "only one class, 'x'"),
        ("path,kind\na.png,x\nb.png,y\nc.png,z\n", {"label": "kind"}, "class 'z', but none of its 1 images.*c.png: "),
        ("path,kind\na.png,x\n,y\n", {"label": "kind"}, "a row without a path"),
        ("", {"label": "kind"}, "cannot be read as a table: No columns"),
        ("path,kind\na.png,x\nb.png,y,z\n", {"label": "kind"}, "cannot be read as a table: .*Expected 2 fields"),
        ("path,kind\na.png,x,1\nb.png,y,2\n", {"label": "kind"}, "rows have more columns than there are names"),
        ('path,kind\na.png,"x\nb.png,y\n', {"label": "kind"}, "cannot be read as a table: .*inside string"),
    ],
)
def test_a_table_that_does_not_fit_is_explained(tmp_path, text, layout, message):
    with pytest.raises(LayoutError, match=message):
        listed(write(tmp_path, text, "a.png", "b.png"), **layout)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_table_that_is_not_utf_8_is_named(tmp_path, encoding):
    write(tmp_path, "", "a.png", "b.png")
    (tmp_path / "labels.csv").write_bytes("path,kind\na.png,Käfer\nb.png,Biene\n".encode(encoding))
    with pytest.raises(LayoutError, match=r"labels\.csv is not UTF-8 text"):
        listed(tmp_path, label="kind")
    (tmp_path / "labels.csv").write_bytes("path,kind\na.png,Käfer\nb.png,Biene\n".encode("utf-8-sig"))
    assert {row[1] for row in listed(tmp_path, label="kind")[0]} == {"Käfer", "Biene"}


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(LayoutError, match=r"dataset.layout.file: .*labels.csv"):
        listed(tmp_path, **CELLS)


def test_wrong_fields_are_named():
    with pytest.raises(FieldProblems, match=r"file: '\.\./x'.*columns"):
        LabelTable(file="../x", label="a", columns=("a", "a"))
    with pytest.raises(FieldProblems, match="above"):
        Threshold(column="a", threshold=1, below="x", above="x")
