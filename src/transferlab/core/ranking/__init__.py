"""Ranks pretrained networks for somebody's images before anything is trained.

The command `kedro transferlab backbones` imports it.
"""
