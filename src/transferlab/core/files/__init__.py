"""Files that are written whole or not at all, folders likewise, and SHA-256 digests.

Every other package may import it; it imports only errors and validation.
"""
