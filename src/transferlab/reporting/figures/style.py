"""One look for all figures: colours, markers, fonts, paper. No figure here touches pyplot or its global state.

Colours: M. Okabe and K. Ito, "Color Universal Design" (2008), without its yellow, which vanishes on white paper.
"""

from __future__ import annotations

import functools
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


INK, GREY, HAIRLINE = "#1b1f24", "#6a737d", "#d6dade"
HELD_OUT, TRAIN = "#0072b2", "#d55e00"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b5559a", "#56b4e9", "#e69f00", "#4d4d4d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = (
    "-", (0, (6, 2)), (0, (2, 1.2)), (0, (8, 2, 2, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), "-.",
)  # fmt: skip

# 1200 px: a page's width on a usual screen. At the 400 px of a phone, 9 points are still 8 px high.
WIDTH_INCHES, DPI = 6.0, 200
_FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR", "Source Han Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "SimHei",
    "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip
P = ParamSpec("P")


@dataclass(frozen=True)
class Look:
    """The colour, marker and dash pattern of one strategy, the same in every figure."""

    colour: str
    marker: str
    dashes: Any


def looks(strategies: Iterable[str]) -> dict[str, Look]:
    """Choose a look for each strategy. It depends on the set of names alone, so figures of any table agree."""
    return {name: _look(i) for i, name in enumerate(sorted(set(strategies)))}


def _look(i: int) -> Look:
    # From the eighth strategy on, colours repeat while markers and dashes shift: the three together stay unique to 49.
    shifted = (i + i // len(PALETTE)) % len(MARKERS)
    return Look(PALETTE[i % len(PALETTE)], MARKERS[shifted], DASHES[shifted])


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that draws a figure with our fonts and sizes, and leave matplotlib's own settings alone."""

    @functools.wraps(draw)
    def draw_styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        from matplotlib import rc_context

        with rc_context(rc=_settings()):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # the first draw makes ticks, with the settings of its time
        figure.set_layout_engine(None)  # it is laid out, and need not be again when it is saved
        return figure

    return draw_styled


def _settings() -> Any:
    return {
        "font.family": list(font_families()), "font.size": 9, "text.parse_math": False, "text.color": INK,
        "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.labelcolor": INK,
        "axes.titlepad": 10, "axes.edgecolor": GREY, "axes.linewidth": 0.8, "axes.spines.top": False,
        "axes.spines.right": False, "axes.grid": False, "axes.axisbelow": True, "axes.formatter.use_mathtext": False,
        "grid.color": HAIRLINE, "grid.linewidth": 0.6, "xtick.color": GREY, "ytick.color": GREY,
        "xtick.labelcolor": INK, "ytick.labelcolor": INK, "legend.frameon": False, "legend.fontsize": 8.5,
        "lines.linewidth": 1.7, "figure.facecolor": "white", "savefig.facecolor": "white", "savefig.dpi": "figure",
        "figure.titlesize": 11, "figure.titleweight": "bold", "figure.dpi": DPI,
    }  # fmt: skip


def new_figure(height: float, width: float = WIDTH_INCHES) -> Figure:
    """Return an empty figure of `width` x `height` inches that lays itself out."""
    from matplotlib import figure

    return figure.Figure(figsize=(width, height), layout="constrained")


def empty_figure(text: str, note: str) -> Figure:
    """Return a figure that has a heading alone, where there is nothing to draw; the note says why."""
    figure = new_figure(height=1.2)
    heading(figure, text, note)
    return figure


def heading(figure: Figure, text: str, note: str = "") -> None:
    """Write a headline that says what is shown, and a grey note at the foot with n and how to read the figure."""
    width = figure.get_figwidth()
    figure.suptitle(textwrap.fill(text, round(10.6 * width)), x=0.012, ha="left")
    if note:
        figure.supxlabel(textwrap.fill(note, round(15.5 * width)), x=0.012, ha="left", fontsize=8.5, color=GREY)


@functools.cache
def font_families() -> tuple[str, ...]:
    """List DejaVu Sans (it comes with matplotlib), then every installed font of a short list for other scripts."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed))


@functools.cache
def _drawable() -> frozenset[int]:
    from matplotlib import font_manager

    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in font_families())
    return frozenset().union(*(font.get_charmap() for font in fonts))


def label(text: str, longest: int = 28) -> str:
    r"""Return a user's name as it can be drawn: on one line, cut in the middle if it is too long.

    Both ends stay, since names often differ in their last word: `Bombus terrestris` and `Bombus pascuorum`. A character
    that no font has becomes its escape, such as `\u732b`.
    """
    one_line = " ".join("".join(" " if unicodedata.category(c).startswith("C") else c for c in text).split())
    short = one_line if _width(one_line) <= longest else _cut(one_line, longest)
    return "".join(c if ord(c) in _drawable() else c.encode("unicode_escape").decode() for c in short)


def labels(names: Sequence[str], longest: int = 28) -> list[str]:
    """Return a label for each name; names that would look the same get longer labels until they differ."""
    shown = [label(name, longest) for name in names]
    widest = max(map(_width, names), default=0)
    while len(set(shown)) < len(set(names)) and longest < widest:
        longest += 4
        shown = [
            label(name, longest) if shown.count(short) > 1 else short for name, short in zip(names, shown, strict=True)
        ]
    return shown


def wrapped(text: str, letters: int, lines: int = 2) -> str:
    """Return a name on at most `lines` lines of `letters` characters each, whole if it fits, else cut in the middle."""
    whole = textwrap.wrap(label(text, 10_000), letters, break_long_words=False)
    if len(whole) <= lines and all(_width(line) <= letters for line in whole):
        return "\n".join(whole)
    return "\n".join(textwrap.wrap(label(text, letters * lines), letters)[:lines])


def _width(text: str) -> int:
    """Count a line's letters, where a Chinese character is as wide as two Latin letters."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, longest: int) -> str:
    """Replace the middle by an ellipsis; the beginning and the end keep about half of `longest` each."""
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while _width(head) + 1 + _width(tail) > longest and (head or tail):
        if _width(head) > _width(tail):
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head.rstrip()}…{tail.lstrip()}"


def light_grid(axes: Axes, axis: Any = "y") -> None:
    """Draw hairlines behind the data along one axis."""
    axes.grid(True, axis=axis)
