"""The data pipeline."""

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.data import nodes


def create_pipeline() -> Pipeline:
    """Acquire, extract, list, decode, split, find duplicates, measure."""
    return Pipeline(
        [
            node(nodes.acquire, ["params:dataset", "downloads"], "acquired", name="acquire"),
            node(nodes.extract_archive, ["acquired", "extracted_archives"], "extracted", name="extract"),
            node(nodes.list_images, ["extracted", "params:dataset"], ["listing", "ignored"], name="list_images"),
            node(
                nodes.decode_images,
                ["extracted", "listing", "ignored", "params:dataset", "params:strategies", "image_folder"],
                ["image_store", "accepted", "quarantine"],
                name="decode_images",
            ),
            node(nodes.split_images, ["accepted", "listing", "params:dataset"], "splits", name="split_images"),
            node(
                nodes.find_duplicates,
                ["splits", "image_store", "params:dataset"],
                ["index", "duplicates"],
                name="find_duplicates",
            ),
            node(nodes.measure, ["index", "image_store"], "statistics", name="measure"),
        ],
        tags="data",
    )
