"""The predict pipeline: choose a model, predict the images of a source, draw the least sure."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.predict import nodes


def create_pipeline() -> Pipeline:
    """Predict the images of `predict.source` with `predict.model`. `versions` is what the runs have saved."""
    return Pipeline(
        [
            node(
                nodes.predict_source,
                ["params:predict", "params:training", "params:dataset", "versions", "experiment"],
                "predictions",
                name="predict_source",
            ),
            node(nodes.draw_contact_sheet, "predictions", "figure_contact_sheet", name="draw_contact_sheet"),
        ],
        tags="predict",
    )
