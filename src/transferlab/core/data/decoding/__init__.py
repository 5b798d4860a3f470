"""Decodes image files of unknown quality, in processes that may die.

The store builder and inference import this package.
"""
