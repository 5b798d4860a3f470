"""Turns stored pixels into what a network sees: geometry, colour, erasing, and one resample per image.

Models, loading, strategies and everything above may import it.
"""
