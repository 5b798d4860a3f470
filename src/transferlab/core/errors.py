"""The base class of every error that a user can mend."""


class MendableError(Exception):
    """Something that a user can mend; the message names the file, key or value, and the cure.

    Whoever runs the core shows the message alone: a traceback would bury it.
    """
