"""Kedro hooks: check the experiment before a run, explain errors, and print the answer at the end.

Only the settings import this package.
"""
