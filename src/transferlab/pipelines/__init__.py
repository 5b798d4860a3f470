"""The Kedro pipelines: `data`, `transfer` (a namespace per strategy), `report` and `predict`: thin nodes over the core.

The pipeline registry imports it, and the command `predict`, which shares its work with the pipeline.
"""
