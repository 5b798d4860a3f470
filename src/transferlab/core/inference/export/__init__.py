"""Exports a checkpoint for use without this project, checked against torch before anything is written.

`write` makes the folder; `deployed` is the network from pixels to probabilities and the comparison; `graphs` writes its
files, `int8` makes one smaller, `timm_folder` adds what timm opens; `standalone` is the script that the folder gets.
"""
