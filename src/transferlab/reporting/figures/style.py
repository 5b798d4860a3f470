"""One look for all figures: colours, markers, fonts, paper. No figure here touches pyplot or its global state.

Colours: M. Okabe and K. Ito, "Color Universal Design" (2008), without its yellow, which vanishes on white paper.
"""

from __future__ import annotations

import functools
import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec

from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, HAIRLINE = "#1b1f24", "#6a737d", "#d6dade"
HELD_OUT, TRAIN = "#0072b2", "#d55e00"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#b5559a", "#56b4e9", "#e69f00", "#4d4d4d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = (
    "-", (0, (6, 2)), (0, (2, 1.2)), (0, (8, 2, 2, 2)), (0, (1, 1)), (0, (4, 1, 1, 1, 1, 1)), "-.",
)  # fmt: skip

WIDTH_INCHES, DPI = 8.0, 150  # 1200 px: a page's width on a usual screen, and sharp at half of it
_FALLBACK_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK TC", "Noto Sans CJK KR", "Source Han Sans SC",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "SimHei",
    "Arial Unicode MS", "Noto Sans Arabic", "Noto Sans Devanagari", "Noto Sans Thai",
)  # fmt: skip
P = ParamSpec("P")


@dataclass(frozen=True)
class Look:
    """How one strategy is drawn everywhere: told apart by colour, marker and dash pattern."""

    colour: str
    marker: str
    dashes: Any


def looks(strategies: Iterable[str]) -> dict[str, Look]:
    """A look per strategy. It depends on the set of names alone, so that figures of any table agree."""
    return {name: _look(i) for i, name in enumerate(sorted(set(strategies)))}


def _look(i: int) -> Look:
    # From the eighth strategy on, colours repeat while markers and dashes shift: the three together stay unique to 49.
    shifted = (i + i // len(PALETTE)) % len(MARKERS)
    return Look(PALETTE[i % len(PALETTE)], MARKERS[shifted], DASHES[shifted])


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a function that draws a figure: it gets our fonts and sizes and leaves matplotlib's alone."""

    @functools.wraps(draw)
    def draw_styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with rc_context(rc=_settings()):
            figure = draw(*args, **kwargs)
            figure.draw_without_rendering()  # ticks are made at the first draw and would take the user's settings there
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
    """An empty figure of `width` x `height` inches that lays itself out."""
    return Figure(figsize=(width, height), layout="constrained")


def heading(figure: Figure, text: str, note: str = "") -> None:
    """A left-aligned headline that says what is shown, and a grey line at the foot with n and how to read it."""
    figure.suptitle(text, x=0.012, ha="left")
    if note:
        lines = textwrap.fill(note, round(15.5 * figure.get_figwidth()))
        figure.supxlabel(lines, x=0.012, ha="left", fontsize=8.5, color=GREY)


@functools.cache
def font_families() -> tuple[str, ...]:
    """DejaVu Sans (it comes with matplotlib), then every installed font of a short list for other scripts."""
    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed))


@functools.cache
def _drawable() -> frozenset[int]:
    fonts = (font_manager.get_font(font_manager.findfont(name)) for name in font_families())
    return frozenset().union(*(font.get_charmap() for font in fonts))


def label(text: str, longest: int = 28) -> str:
    r"""A user's name as it can be drawn: one line, at most `longest` characters, what no font has as `\u732b`."""
    one_line = " ".join("".join(" " if unicodedata.category(c).startswith("C") else c for c in text).split())
    short = one_line if _width(one_line) <= longest else _cut(one_line, longest - 1) + "…"
    return "".join(c if ord(c) in _drawable() else c.encode("unicode_escape").decode() for c in short)


def _width(text: str) -> int:
    """Letters' widths in a line, where a Chinese character takes as much as two Latin letters."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _cut(text: str, longest: int) -> str:
    while _width(text) > longest:
        text = text[:-1]
    return text


def light_grid(axes: Axes, axis: Any = "y") -> None:
    """Hairlines behind the data along one axis."""
    axes.grid(True, axis=axis)
