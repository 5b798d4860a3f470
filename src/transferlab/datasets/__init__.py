"""Kedro datasets that save whole files or nothing: tables, documents, checkpoints, image stores, folders and runs.

Pipelines, hooks, versions and the catalog use them.
"""
