"""The error of a configuration that cannot be run."""

from transferlab.console.errors import UserError


class ConfigError(UserError):
    """Configuration that cannot be run; the message lists every problem as `dotted.key: value - what to do`."""
