"""The pipelines: thin nodes around the core."""
