"""Writes the configuration of a new experiment from a folder of images.

The CLI imports this package.
"""
