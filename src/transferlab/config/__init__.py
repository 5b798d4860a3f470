"""Typed configuration of an experiment: the schema, parsing, checks between blocks, and messages about what is wrong.

Builds on the core's dataclasses. The settings, the pipeline registry, hooks and pipelines import it.
"""
