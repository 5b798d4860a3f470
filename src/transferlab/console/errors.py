"""Errors whose message is the whole story: a user sees it, and no traceback."""

from __future__ import annotations

import errno
import sys
import traceback
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any

import click
from kedro.framework.cli.utils import KedroCliError
from kedro.io import DatasetError

from transferlab.core.errors import MendableError


class UserError(KedroCliError):
    """Something that a user can mend; the message says what and how.

    Kedro's own `show` needs the exception under way, which click (8.5) has left by then: it prints `NoneType: None`.
    """

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to stderr, after the traceback where one is asked for (`kedro run --verbose`)."""
        if self.VERBOSE_ERROR:
            click.secho("".join(traceback.format_exception(self)), file=file, err=True, fg="yellow")
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {_tame(self.format_message())}", file=file, err=True)


def _tame(text: str) -> str:
    """Escape what would command the terminal: a message may quote the name of a file that somebody else has named."""
    return "".join(c if c in "\n\t" or unicodedata.category(c)[0] != "C" else ascii(c)[1:-1] for c in text)


def tell_interrupts_briefly() -> None:
    """Have a Ctrl-C that comes while modules are imported end the process with one line and no traceback."""
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            click.echo("Error: stopped before anything had begun.", err=True)
        else:
            before(kind, error, trace)

    sys.excepthook = told


class AlreadyDone(Exception):
    """All that a run would make is there, made from the same; the user has been told."""


class Interrupted(UserError):
    """The user has stopped the run; exits as a shell expects of Ctrl-C."""

    exit_code = 130


class Terminated(Interrupted):
    """A scheduler, or whoever sends SIGTERM, has stopped the run."""

    exit_code = 143


@contextmanager
def explained() -> Iterator[None]:
    """Raise what a user can mend, and what the system refuses, as one message.

    Raises:
        UserError: for such an error.
        Interrupted: the user has stopped the command.
    """
    try:
        yield
    except (MendableError, DatasetError) as error:
        raise UserError(str(error)) from error
    except OSError as error:
        if not error.errno:
            raise
        raise UserError(of_the_system(error)) from error
    except KeyboardInterrupt:
        raise Interrupted("stopped; nothing was written.") from None


# What the message of Kedro's error around another has, which may be one of the system.
_OF_KEDRO = ("Failed while ", "Failed during ")
_GO_ON = "and run again: it goes on where it was"
_CURES = {
    errno.ENOSPC: f"free some space, e.g. with `kedro transferlab prune`, {_GO_ON}",
    errno.EDQUOT: f"free some of your quota {_GO_ON}",
    errno.EFBIG: f"allow larger files (ulimit -f, or another file system) {_GO_ON}",
    errno.EROFS: f"make it writable {_GO_ON}",
    errno.EACCES: f"give yourself the permission {_GO_ON}",
    errno.EPERM: f"give yourself the permission {_GO_ON}",
    errno.ENOENT: "put it back, or run the node that makes it again",
    errno.EIO: "the disk may be failing: look at the system's log, and restore what is lost from a copy",
}


def of_the_system(error: OSError) -> str:
    """Write an error of the operating system as `cause: file; cure`."""
    words = [str(error.strerror), *([str(error.filename)] if error.filename else [])]
    cure = _CURES.get(error.errno or 0)
    return ": ".join(words) + (f"; {cure}" if cure else "")


def is_explained(error: BaseException) -> bool:
    """Check whether any error of a chain says what a user can mend."""
    chain = _chain(error)
    return isinstance(chain[-1], (DatasetError, OSError)) or any(
        isinstance(each, (MendableError, UserError)) for each in chain
    )


def explanation(error: DatasetError | OSError) -> str:
    """Return the error that explains itself, where one of the chain does, else Kedro's message."""
    chain = _chain(error)
    for each in chain:
        if _is_ours(each):
            return str(each)
    if isinstance(chain[-1], OSError) and chain[-1].errno and not isinstance(chain[-1], NotADirectoryError):
        return of_the_system(chain[-1])
    return str(error)


def _is_ours(error: BaseException) -> bool:
    """Check whether an error's message was written for the user: Kedro's own repeat the dataset and the cause."""
    if isinstance(error, DatasetError):
        return not any(words in str(error) for words in _OF_KEDRO)
    return isinstance(error, (MendableError, UserError))


def _chain(error: BaseException) -> list[BaseException]:
    """List an error and its causes, the first cause last."""
    return [error, *(_chain(error.__cause__) if error.__cause__ else ())]
