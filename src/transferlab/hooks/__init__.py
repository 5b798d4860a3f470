"""Kedro hooks: check the experiment before a run, explain errors, print the answer, publish and log what was made.

Only the settings import this package.
"""
