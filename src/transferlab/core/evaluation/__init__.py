"""Predictions on a split, metrics, and comparisons between strategies with intervals.

The report and transfer pipelines and versions import it.
"""
