"""What decoding raises."""

from __future__ import annotations

from transferlab.core.errors import MendableError


class UnusableImageError(MendableError):
    """The file is no image that can be used; the message is one sentence for the quarantine table."""
