"""The columns of a label table are checked before any work, where the table is on this machine."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from transferlab.config.errors import ConfigError
from transferlab.config.parse import read_experiment


def experiment(folder, of_split=None, **layout):
    return read_experiment(
        {
            "dataset": {
                "source": {"name": "folder", "path": str(folder)},
                "layout": {"name": "label_table", "file": "labels.csv", "label": "species", **layout},
                "split": of_split or {},
            },
            "strategies": {"scratch": {"model": {"name": "transferlab/convnet"}, "stages": {}}},
            "report": {"title": "Birds"},
        },
        "birds",
    )


@pytest.mark.parametrize(
    ("layout", "split", "told"),
    [
        ({"label": "specie"}, {}, "layout.label: \"specie\" - labels.csv has no such column; did you mean 'species'?"),
        ({"path": "file"}, {}, "layout.path: \"file\" - labels.csv has no such column; it has ['path', 'species'"),
        ({"split": "prt"}, {}, "layout.split: \"prt\" - labels.csv has no such column; did you mean 'part'"),
        ({"stratify": "site"}, {}, 'layout.stratify: "site"'),
        ({}, {"groups": "nest"}, 'dataset.split.groups: "nest"'),
        (
            {"label": {"column": "prob", "threshold": 0.5, "below": "a", "above": "b"}}, {},
            'dataset.layout.label.column: "prob"',
        ),
        ({"separator": ";"}, {}, "separated by ',': set dataset.layout.separator"),
        ({"columns": ["path", "kind"]}, {}, "layout.label: \"species\" - dataset.layout.columns has no such column"),
        ({"file": "label.csv"}, {}, 'layout.file: "label.csv" - there is no '),
    ],
)  # fmt: skip
def test_a_column_that_is_not_there_is_told_with_the_file(tmp_path, layout, split, told):
    (tmp_path / "labels.csv").write_text("\ufeffpath, species,part\na.jpg,robin,train\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        experiment(tmp_path, split, **layout)
    assert told in str(caught.value)
    experiment(tmp_path, split="part")


def test_parquet_and_expressions_have_headers_too(tmp_path):
    parquet.write_table(pa.table({"path": ["a.jpg"], "kind": ["robin"]}), tmp_path / "labels.parquet")
    with pytest.raises(ConfigError, match=r'"species" - labels\.parquet has no such column; it has'):
        experiment(tmp_path, file="labels.parquet")
    (tmp_path / "labels.csv").write_text("path   kind\na.jpg   robin\n")
    with pytest.raises(ConfigError, match=r'"species" - labels\.csv has no such column; it has'):
        experiment(tmp_path, separator=r"\s+")


def test_what_is_not_here_or_no_table_is_left_to_the_run(tmp_path):
    experiment(tmp_path / "elsewhere")
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00")
    experiment(tmp_path)
