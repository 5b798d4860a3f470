"""Trains one trial: the loop, what a stage runs on, history, resumable state, and several processes on one trial.

Only launch and code outside the core import it.
"""
