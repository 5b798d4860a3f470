"""The figure of learning curves shows what the tables say, with and without fitted curves."""

import curves_example
import numpy as np
import pytest
from matplotlib.text import Text

from transferlab.reporting.figures.learning_curve import learning_curves


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_measured_means_are_dots_and_curves_go_on_to_twice_the_images():
    tables = curves_example.tables()
    figure = learning_curves(tables.points, tables.fits, tables.band)
    (ax,) = figure.axes
    shown = {container.get_label(): container.lines[0].get_xydata() for container in ax.containers}
    assert set(shown) == {"feature extraction", "fine tuning", "scratch"}
    own = tables.points[tables.points["strategy"] == "fine_tuning"]
    np.testing.assert_allclose(shown["fine tuning"], np.c_[own["images"], 100 * own["mean"]])
    assert max(max(line.get_xdata(), default=0) for line in ax.lines) == pytest.approx(3780)
    assert len(ax.collections) >= 2, "a band for each fitted curve"
    said = texts(figure)
    for word in ("119", "1,890", "3,780", "all there are", "n = 3 draws of each size, 600 test images", "90% interval"):
        assert word in said


def test_without_a_curve_the_means_are_shown_alone():
    tables = curves_example.refused()
    figure = learning_curves(tables.points, tables.fits, tables.band)
    said = texts(figure)
    assert "1,890" in said
    assert "3,780" not in said
    assert "band" not in said
    with pytest.raises(ValueError, match="nothing to draw"):
        learning_curves(tables.points.head(0), tables.fits, tables.band)
