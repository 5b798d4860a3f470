"""Files that are written whole or not at all, folders likewise, files at URLs and in packages, and SHA-256 digests.

Every other package may import it; it imports only errors and validation.
"""
