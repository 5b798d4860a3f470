"""How numbers and names are written, the same on the page, in the figures and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "auroc": "AUROC",
    "ece": "calibration error (ECE)",
}
LOWER_IS_BETTER = frozenset({"log_loss", "ece"})


def title(identifier: str) -> str:
    """Write a strategy, metric or split as words: `"fine_tuning"` -> `"fine tuning"`."""
    return METRIC_NAMES.get(identifier, identifier.replace("_", " "))


def capital(text: str) -> str:
    """Give the text a capital first letter and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def enumerate_words(words: Sequence[str]) -> str:
    """Join words: `["a", "b", "c"]` -> `"a, b and c"`."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last


def count(number: float, noun: str = "", plural: str | None = None) -> str:
    """Count things: `count(3000, "image")` -> `"3,000 images"`."""
    text = f"{int(number):,}"
    return f"{text} {noun if int(number) == 1 else plural or noun + 's'}" if noun else text


def compact(number: float) -> str:
    """Write a large count in three digits: `"5,130"`, `"11.2 M"`, `"1,140 M"`."""
    if number < 1e6:
        return count(number)
    millions = float(f"{number / 1e6:.3g}")
    return f"{millions:,.0f} M" if millions >= 1000 else f"{millions:g} M"


def about(number: float) -> str:
    """Write an estimated count in two digits, rounded up: `"310"`, `"1,300"`."""
    unit = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return f"{math.ceil(number / unit) * unit:,}"


def number(value: float, metric: str) -> str:
    """Write a value of a metric: accuracies as a percentage with one decimal, others with three decimals."""
    if not math.isfinite(value):
        return NOTHING
    value = max(0.0, value)  # no metric is negative but for rounding, and nobody wants a -0.0
    return f"{100 * value:.1f}%" if is_percentage(metric) else f"{value:.3f}"


def is_percentage(metric: str) -> bool:
    """Say whether people read this metric as a percentage."""
    return metric.startswith(("accuracy", "balanced_accuracy", "precision", "recall", "error"))


def widest(metric: str) -> float:
    """Return what a value, or a difference, of a metric cannot be more than."""
    return math.inf if metric == "log_loss" else 1.0


def interval(low: float, high: float, metric: str) -> str:
    """Write an interval, `"[96.8, 97.8]"`, or an empty string when there is none (one trial).

    The ends are cut at those of the metric's scale, which a t interval of few trials can pass: nobody is 103% right.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    low, high = max(0.0, low), max(0.0, min(high, widest(metric)))
    scale, digits = (100, 1) if is_percentage(metric) else (1, 3)
    return f"[{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def difference(value: float, metric: str) -> str:
    """Write a difference with its sign: `"+1.2 points"` (percentage points) for accuracies, `"-0.031"` otherwise."""
    if not math.isfinite(value):
        return NOTHING
    text = _signed(value, metric)
    text = text if text.strip(f"+{MINUS}0.") else text[1:]  # what rounds to zero has no sign
    return text + (" points" if is_percentage(metric) else "")


def amount(value: float, metric: str) -> str:
    """Write a difference without its sign: `"1.2 points"`, `"0.031"`."""
    return difference(abs(value), metric).removeprefix("+")


def signed_interval(low: float, high: float, metric: str) -> str:
    """Write an interval, `"[-0.3, +2.1]"`: signs stay, so that an end that rounds to zero still tells its side.

    The ends are cut as those of `interval`.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    low, high = max(low, -widest(metric)), min(high, widest(metric))
    return f"[{_signed(low, metric)}, {_signed(high, metric)}]"


def _signed(value: float, metric: str) -> str:
    value += 0.0  # an exact -0.0 has no side
    text = f"{100 * value:+.1f}" if is_percentage(metric) else f"{value:+.3f}"
    return text.replace("-", MINUS)


def duration(seconds: float) -> str:
    """Write a time: `"0.8 s"`, `"3 s"`, `"2 min 05 s"`, `"1 h 12 min"`."""
    if not math.isfinite(seconds):
        return NOTHING
    if round(seconds) < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    large, small = (f"{hours} h", f"{minutes_left:02d} min") if hours else (f"{minutes} min", f"{rest:02d} s")
    return large if small.startswith("00") else f"{large} {small}"


def times_as_long(ratio: float) -> str:
    """Write a ratio of durations, at least 1: `"about as long as"`, `"2.4 times as long as"`."""
    if ratio < 1.05:
        return "about as long as"
    return f"{ratio:.1f} times as long as" if ratio < 10 else f"{ratio:,.0f} times as long as"
