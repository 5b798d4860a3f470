"""Uses a trained checkpoint: predictions for image files, and exports for other programs.

Commands, pipelines, serving and notebooks import it.
"""
