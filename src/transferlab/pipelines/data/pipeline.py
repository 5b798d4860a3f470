"""The data pipeline, a namespace of its own whose datasets keep their plain names."""

from functools import partial

from kedro.pipeline import Pipeline, node

from transferlab.pipelines.data import nodes

_node = partial(node, namespace="data")


def create_pipeline() -> Pipeline:
    """Acquire, extract, list, decode, split, find duplicates, measure."""
    return Pipeline(
        [
            _node(nodes.acquire, ["params:dataset", "downloads"], "acquired", name="acquire"),
            _node(nodes.extract_archive, ["acquired", "extracted_archives"], "extracted", name="extract"),
            _node(nodes.list_images, ["extracted", "params:dataset"], ["listing", "ignored"], name="list_images"),
            _node(
                nodes.decode_images,
                ["extracted", "listing", "ignored", "params:dataset", "params:strategies", "image_folder"],
                ["image_store", "accepted", "quarantine"],
                name="decode_images",
            ),
            _node(nodes.split_images, ["accepted", "listing", "params:dataset"], "splits", name="split_images"),
            _node(
                nodes.find_duplicates,
                ["splits", "image_store", "params:dataset"],
                ["index", "duplicates"],
                name="find_duplicates",
            ),
            _node(nodes.measure, ["index", "image_store"], "statistics", name="measure"),
        ],
        tags="data",
    )
