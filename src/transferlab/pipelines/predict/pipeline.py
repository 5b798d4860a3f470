"""The predict pipeline: choose a model, predict the images of a source, show the least sure."""

from __future__ import annotations

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.predict import nodes


def create_pipeline() -> Pipeline:
    """Predict the images of `predict.source` with `predict.model`. `versions` is what the runs have saved."""
    return Pipeline(
        [
            node(
                nodes.predict_source,
                [
                    "params:predict",
                    "params:training",
                    "params:dataset",
                    "params:report",
                    "versions",
                    "experiment",
                    "unfinished_predictions",
                ],
                ["predictions", "figure_contact_sheet", "predictions_page"],
                name="predict_source",
                confirms="unfinished_predictions",
            ),
        ],
        tags="predict",
    )
