"""Predictions on a split, metrics, and comparisons between strategies with intervals.

Pipelines, versions and the experiment's schema import it.
"""
