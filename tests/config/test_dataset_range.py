import pytest

from transferlab.config.parse import ConfigError, read
from transferlab.config.schema import Dataset
from transferlab.core.data.decoding.levels import Percentiles

SOURCE = {"name": "folder", "path": "photos"}


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("dataset", "dataset"),
        ("file", "file"),
        ([0, 4095], (0.0, 4095.0)),
        ([-1.5, 1.5], (-1.5, 1.5)),
        ({"of": "file", "low": 1, "high": 99}, Percentiles(of="file", low=1, high=99)),
        ({"high": 99.9}, Percentiles(high=99.9)),
    ],
)
def test_a_range_is_a_word_two_values_or_percentiles(given, parsed):
    assert read(Dataset, {"source": SOURCE, "range": given}, "dataset").range == parsed


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([4095, 0], "that of black below that of white"),
        ([1, 1], "that of black below that of white"),
        ([0, float("inf")], "must be a finite number"),
        ([1, 2, 3], "range: "),
        ("fil", "did you mean 'file'"),
        ({"low": 90, "high": 10}, "must be above low"),
        ({"low": -1}, "at least 0"),
    ],
)
def test_what_is_no_range_is_told_of(given, told):
    with pytest.raises(ConfigError, match=told):
        read(Dataset, {"source": SOURCE, "range": given}, "dataset")
