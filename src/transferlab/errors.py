"""Errors whose message is the whole story: a user sees it, and no traceback."""

from __future__ import annotations

import traceback
import unicodedata
from typing import IO, Any

import click
from kedro.framework.cli.utils import KedroCliError


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


class Interrupted(UserError):
    """The user has stopped the run; exits as a shell expects of Ctrl-C."""

    exit_code = 130
