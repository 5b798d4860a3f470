"""Predicts new images with the trained networks of an experiment."""
