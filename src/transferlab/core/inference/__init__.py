"""Uses a trained checkpoint: predictions for image files.

Notebooks import it, and commands and pipelines that use a trained network.
"""
