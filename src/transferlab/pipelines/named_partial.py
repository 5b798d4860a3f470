"""Node functions with some arguments fixed, such as the name of a strategy."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any


class NamedPartial:
    """A function with its first and its keyword arguments fixed.

    Unlike `functools.partial` it keeps the function's name, also through the pickle that ParallelRunner makes of it.
    """

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.function, self.args, self.kwargs = function, args, kwargs
        update_wrapper(self, function)

    def __call__(self, *inputs: Any, **named_inputs: Any) -> Any:
        """Call it with the node's inputs as the other arguments."""
        return self.function(*self.args, *inputs, **self.kwargs, **named_inputs)
