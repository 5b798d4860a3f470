"""Turns result tables into words, figures and one HTML page.

Reads pandas tables and never imports torch, Kedro or the core, so that a report can be drawn from stored tables alone.
"""
