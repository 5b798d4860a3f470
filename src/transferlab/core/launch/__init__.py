"""Starts trials: in this process, in a pool of processes, or data-parallel on several devices.

Pipelines import `trials`; nothing in the core imports this package. Every way of starting trials is a `Launcher`.
"""
