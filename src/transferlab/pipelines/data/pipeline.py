"""The data pipeline."""

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.data import nodes


def create_pipeline() -> Pipeline:
    """Acquire, extract, list, decode, split, measure."""
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
            node(nodes.split_images, ["accepted", "params:dataset"], "index", name="split_images"),
            node(nodes.measure, ["index", "image_store"], "statistics", name="measure"),
            node(nodes.find_duplicates, ["index", "image_store"], "duplicates", name="find_duplicates"),
        ],
        tags="data",
    )
