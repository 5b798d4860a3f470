"""Uses a trained checkpoint: predictions for image files.

The CLI, pipelines and notebooks import it.
"""
