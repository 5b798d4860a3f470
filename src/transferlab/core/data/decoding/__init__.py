"""Decodes image files of unknown quality, in processes that may die.

Listing, the stores, models (for the levels of grey), inference and the schema import this package.
"""
