"""Saved versions of an experiment's results: list them, tabulate them, find a model in them, and remove old ones.

The CLI, the hooks and the pipeline `predict` import this package.
"""
