"""The terminal that all output of a run shares: Kedro's own log console, so that bars and lines do not tear."""

from rich import get_console

PIPE_WIDTH = 160  # in a file or a pipe there is no width to keep to; rich would break lines at 80

console = get_console()
if not (console.is_terminal or console.is_jupyter):
    console.width = PIPE_WIDTH
