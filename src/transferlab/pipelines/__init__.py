"""The Kedro pipelines: `data`, `transfer` (a namespace per strategy) and `report`, each as thin nodes over the core.

Only the pipeline registry imports it.
"""
