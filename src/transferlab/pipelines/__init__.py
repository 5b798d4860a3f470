"""The Kedro pipelines `data`, `transfer` (a namespace per strategy), `report`, `learning_curve` and `predict`.

Their nodes are thin: the core does the work.

The pipeline registry imports it, and the command `predict`, which shares its work with the pipeline.
"""
