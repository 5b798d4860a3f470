"""A strategy as data: its stages, optimizers and schedules, checks on a real network, and a summary of its layers.

Training, evaluation and everything above may import it.
"""
