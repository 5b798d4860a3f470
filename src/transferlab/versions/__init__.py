"""Saved versions of an experiment's results: list them, tabulate them, and remove old ones.

The CLI imports this package.
"""
