"""From a source to an index, an image store and statistics."""
