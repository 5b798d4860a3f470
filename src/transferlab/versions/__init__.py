"""Saved versions of an experiment's results: list, tabulate, publish, fetch and remove them, and find models in them.

The CLI, the hooks and the pipeline `predict` import this package.
"""
