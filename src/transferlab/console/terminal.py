"""The terminal that all output of a run shares: Kedro's own log console, so that bars and lines do not tear."""

from __future__ import annotations

import codecs
import sys
import unicodedata

from rich import get_console
from rich.console import RenderableType
from rich.text import Text

PIPE_WIDTH = 160  # in a file or a pipe there is no width to keep to; rich would break lines at 80
_PLAIN = {"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{HORIZONTAL ELLIPSIS}": "...", "\N{MULTIPLICATION SIGN}": "x"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks (cp1252, latin-1, ASCII) with letters that it has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = [_PLAIN.get(c) or unicodedata.normalize("NFKD", c).encode("ascii", "ignore").decode() for c in text]
    return "".join(
        p or c.encode("ascii", "backslashreplace").decode() for p, c in zip(plain, text, strict=True)
    ), error.end


codecs.register_error("transferlab.plain", _plainly)
for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="transferlab.plain")

console = get_console()
if not (console.is_terminal or console.is_jupyter):
    console.width = PIPE_WIDTH


def say(what: str | RenderableType, wraps: bool = False) -> None:
    """Print a table or a text as it is, whatever brackets a path may have; `wraps` breaks long lines between words."""
    is_whole = isinstance(what, str) and not wraps
    console.print(Text(what) if isinstance(what, str) else what, soft_wrap=is_whole, highlight=False)
