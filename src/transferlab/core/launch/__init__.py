"""Starts trials: in this process, in a pool of processes, data-parallel on several devices, or on a cluster.

Pipelines import `trials`; nothing in the core imports this package. Every way of starting trials is a `Launcher`.
"""
