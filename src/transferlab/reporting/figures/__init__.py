"""Matplotlib figures, one function per figure.

The report pipeline imports them; the page places what they draw. Matplotlib itself is imported by the functions that
draw: a run need not wait for it before it trains.
"""
