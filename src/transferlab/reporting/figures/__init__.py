"""Matplotlib figures, one function per figure.

The report pipeline imports them; the page places what they draw.
"""
