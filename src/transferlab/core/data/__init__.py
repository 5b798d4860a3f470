"""From a source to stored pixels: download, unpack, list, decode, store, split and check for duplicates.

Packages from transforms upwards may import it.
"""
