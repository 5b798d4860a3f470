"""Typed configuration of an experiment: the schema, parsing, checks between blocks, and messages about what is wrong.

Builds on the core's dataclasses. Hooks, the CLI, pipelines, versions and scaffold import it.
"""
