import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from transferlab.core.data.listing.config import LabelTable, Threshold
from transferlab.core.data.listing.layout import list_images
from transferlab.core.data.listing.table import LayoutError
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
    assert "no number for it in its column 'probability'" in left_out["reason"]["odd.png"]
    assert "does not list it" in left_out["reason"]["extra.png"]


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("path,kind\na.png,x\nb.png,y\n", {"label": "kinds"}, "dataset.layout.label.*no column 'kinds'.*'kind'"),
        ("a.png 0 m\na.png 1 m\n", CELLS, "'a.png' more than once"),
        ("../a.png 0 m\n", CELLS, "outside the data's root"),
        ("/a.png 0 m\n", CELLS, "outside the data's root"),
        ("path,kind,part\na.png,x,spare\n", {"label": "kind", "split": "part"}, "'spare' in its column 'part'"),
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
    with pytest.raises(FieldProblems, match=r"below: .* must name a class"):
        Threshold(column="a", threshold=1, below=" ", above="x")


def test_names_in_another_case_form_or_suffix_are_matched_and_told_once(tmp_path, caplog):
    text = "path,kind\na.jpg,x\nKA\u0308FER.png,x\nb.jpeg,y\n7,y\ngone.jpg,y\n"
    write(tmp_path, text, "a.JPG", "k\u00e4fer.png", "b.jpg", "7.tif")
    rows, left_out = listed(tmp_path, label="kind")
    assert [row[:2] for row in rows] == [("7.tif", "y"), ("a.JPG", "x"), ("b.jpg", "y"), ("k\u00e4fer.png", "x")]
    assert "4 of 5 rows name their file in another case" in caplog.text
    assert "'a.jpg' is 'a.JPG'" in caplog.text
    assert left_out["status"].to_dict() == {"gone.jpg": "quarantined", "labels.csv": "ignored"}


def test_what_a_name_may_mean_is_asked_where_it_may_mean_two(tmp_path, caplog):
    text = "path,kind\na.jpg,x\nb.jpg,y\nc.jpg,x\nd.jpg,y\nD.jpg,x\n"
    write(tmp_path, text, "A.jpg", "a.JPG", "b.jpg", "c.jpg", "D.jpg", "x.png", "y.png")
    _, left_out = listed(tmp_path, label="kind")
    assert left_out["reason"]["a.jpg"].endswith("no such file; did you mean A.jpg or a.JPG.")
    assert left_out["reason"]["d.jpg"].endswith("no such file; did you mean D.jpg.")
    assert "2 of its 5 rows (40%) have no image that can be used; the first is a.jpg" in caplog.text
    write(tmp_path, "path,kind\nx.jpg,x\ny.png,y\nb.jpg,x\n")
    assert listed(tmp_path, label="kind")[1]["reason"]["x.jpg"].endswith("did you mean x.png.")


def test_images_may_lie_in_several_folders(tmp_path):
    write(tmp_path, "id,kind,patient\n1,x,p\n2,y,q\n", "part_1/1.jpg", "part_2/2.jpg")
    layout = LabelTable(file="labels.csv", path="id", label="kind", folder=("part_1", "part_2"), suffix=".jpg")
    listing, _ = list_images(tmp_path, layout, "patient")
    assert listing[["path", "group"]].to_numpy().tolist() == [["part_1/1.jpg", "p"], ["part_2/2.jpg", "q"]]
    (tmp_path / "part_2" / "1.jpg").write_bytes(b"")
    with pytest.raises(LayoutError, match=r"one row for part_1/1\.jpg and part_2/1\.jpg"):
        list_images(tmp_path, layout)


@pytest.mark.parametrize(
    ("header", "separator", "seems"),
    [
        ("path;kind", ",", ";"),
        ("path\tkind", ",", "\t"),
        ("path,kind", ";", ","),
        ("path kind", ",", r"\s+"),
        ("path:kind", ",", ":"),
        ("path^kind", ",", "^"),
        ("path||kind", ",", r"\|\|"),
    ],
)
def test_another_separator_is_named(tmp_path, header, separator, seems):
    write(tmp_path, f"{header}\na.png;x\n", "a.png")
    with pytest.raises(LayoutError) as caught:
        listed(tmp_path, label="kind", separator=separator)
    assert f"; its first line seems to be separated by {seems!r}: set dataset.layout.separator" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "layout", "message"),
    [
        ("path,Kind\na.png,x\n", {"label": "kind"}, "no column 'kind'; did you mean 'Kind'"),
        ("path,kind,kind\na.png,x,y\n", {"label": "kind"}, "has several columns 'kind': give each a name"),
        ("sep=;\npath;kind\na.png;x\n", {"label": "kind"}, "first line is a mark of Excel's: remove it"),
        ("# by hand\npath,kind\na.png,x\n", {"label": "kind"}, "first line seems to be a comment: remove it"),
        ("a.png,x\nb.png,y\n", {"label": "kind"}, "a row of an image: name the columns in dataset.layout.columns"),
        ("path,kind\n", {"label": "kind"}, "labels.csv has no rows"),
        ("PK\3\4", {"label": "kind"}, "a workbook of Excel"),
        ("path,kind\na.png,x\n", {"label": "kind", "folder": ("in", "imgs")}, "no folder 'imgs'; did you mean 'img'"),
        ("path,kind\nc.png,x\n", {"label": "kind"}, r"no such file; did you mean img/c\.png"),
        ("path;kind\na.png;0,9\nb.png;0,1\n", {"separator": ";", "label": Threshold(
            column="kind", threshold=0.5, below="x", above="y")}, "a.png: labels.csv has no number for it in its col"),
    ],
)  # fmt: skip
def test_a_table_as_people_write_it_is_told_the_cure(tmp_path, text, layout, message):
    write(tmp_path, text, "a.png", "b.png", "in/a.png", "img/c.png")
    with pytest.raises(LayoutError, match=message):
        listed(tmp_path, **layout)


def test_labels_that_are_the_same_number_are_told(tmp_path, caplog):
    write(tmp_path, "path,kind\na.png,1\nb.png,1.0\n", "a.png", "b.png")
    listed(tmp_path, label="kind")
    assert "the classes '1' and '1.0' differ in the way a number is written only" in caplog.text


def test_spaces_around_names_of_columns_do_not_count(tmp_path):
    write(tmp_path, "path , kind\na.png,x\nb.png,y\n", "a.png", "b.png")
    assert [row[1] for row in listed(tmp_path, label="kind")[0]] == ["x", "y"]


def test_the_table_is_found_by_a_name_that_is_nearly_its_own(tmp_path):
    write(tmp_path, "path,kind\n")
    with pytest.raises(LayoutError, match=r"Labels.csv does not exist; did you mean 'labels.csv'"):
        list_images(tmp_path, LabelTable(file="Labels.csv", label="kind"))


def test_the_old_name_of_stratify_says_what_it_did():
    with pytest.raises(
        FieldProblems, match="group: 'type' never kept groups together, it stratifies: rename it to `str"
    ):
        LabelTable(file="labels.csv", label="kind", group="type")


@pytest.mark.parametrize("separator", ["([", r"(\s+)+", r"(,|;)*", "", "a?" * 24 + "a" * 24, "(,|,,)" * 12])
def test_a_separator_that_is_none_or_may_never_end_is_refused(separator):
    with pytest.raises(FieldProblems, match="separator: "):
        LabelTable(file="labels.csv", label="kind", separator=separator)


@pytest.mark.parametrize("index", [["path"], ["path", "group"]])
def test_the_index_that_pandas_has_saved_is_a_column(tmp_path, index):
    rows = pd.DataFrame({"path": ["1.png", "2.png"], "group": [1, 2], "label": ["ant", "bee"]})
    rows.set_index(index).to_parquet(tmp_path / "labels.parquet")
    for name in rows["path"]:
        (tmp_path / name).write_bytes(b"")
    listing, _ = list_images(tmp_path, LabelTable(file="labels.parquet", path="path", label="label"), "group")
    found = listing[["path", "class", "group"]].to_numpy().tolist()
    assert found == [["1.png", "ant", "1"], ["2.png", "bee", "2"]]


def test_a_parquet_table_is_read_as_text(tmp_path):
    table = pa.table({
        "id": [7, 8, None], "kind": ["ant", None, "bee"], "score": [0.25, 1.0, 0.5], "photo": [b"x", b"y", b"z"],
        "boxes": [[1], [2], [3]],
    })  # fmt: skip
    parquet.write_table(table, tmp_path / "labels.parquet")
    for name in ("7.png", "8.png"):
        (tmp_path / name).write_bytes(b"")
    above = Threshold(column="score", threshold=0.5, below="low", above="high")
    layout = LabelTable(file="labels.parquet", path="id", suffix=".png", label=above)
    with pytest.raises(LayoutError, match="row without a path"):
        list_images(tmp_path, layout)
    parquet.write_table(table.slice(0, 2), tmp_path / "labels.parquet")
    listing, _ = list_images(tmp_path, layout)
    assert dict(zip(listing["path"], listing["class"], strict=True)) == {"7.png": "low", "8.png": "high"}
    with pytest.raises(LayoutError, match="has no column 'photo'"):
        list_images(tmp_path, LabelTable(file="labels.parquet", path="id", suffix=".png", label="photo"))
    (tmp_path / "labels.parquet").write_bytes(b"text")
    with pytest.raises(LayoutError, match="cannot be read as a Parquet table"):
        list_images(tmp_path, layout)
