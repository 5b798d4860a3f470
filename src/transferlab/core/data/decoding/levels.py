"""From pixel values of more than 8 bits to 8 bits: which value is black, and which is white.

A file says how many bits its values have, not how many of them are used: a camera of 12 bits writes 0 to 4,095 in 16.
Divided by 65,535 such an image is nearly black. All images of a data set share one range, so that brightness can be
compared between them, and it travels with whatever is trained, so that predictions see the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from transferlab.core.validation import check


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """The range that the pixels of images have themselves.

    Attributes:
        of: `dataset`: one range for all, from the lowest `low` to the highest `high` of any file; `file`: each its own.
        low: percentile of a file's pixels that becomes black; 0 is the smallest value.
        high: percentile that becomes white; 100 is the largest value.
    """

    of: Literal["dataset", "file"] = "dataset"
    low: float = 0.0
    high: float = 100.0

    def __post_init__(self) -> None:
        """Check the fields."""
        check(
            (0 <= self.low < 100, "low", self.low, "must be at least 0 and below 100"),
            (self.low < self.high <= 100, "high", self.high, "must be above low and at most 100"),
        )


# How a user says it: whose range, or the two values that become black and white.
Range = Literal["dataset", "file"] | tuple[float, float] | Percentiles


@dataclass(frozen=True, kw_only=True)
class Levels:
    """What becomes black and what becomes white, settled: plain JSON for a header.

    Attributes:
        low: the value that becomes 0; None where each file has its own range.
        high: the value that becomes 255; None likewise.
        percentiles: of a file's own pixels, where each has its own range.
        channels: of TIFFs that have several, the one that is grey, or the three that are red, green and blue, from 1.
    """

    low: float | None = None
    high: float | None = None
    percentiles: tuple[float, float] = (0.0, 100.0)
    channels: tuple[int, ...] | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Levels:
        """Read what `dataclasses.asdict` has written."""
        channels = values.get("channels")
        return cls(
            low=values["low"],
            high=values["high"],
            percentiles=tuple(values["percentiles"]),
            channels=tuple(channels) if channels else None,
        )

    def to_8_bits(self, pixels: NDArray[Any], visible: NDArray[Any] | None = None) -> NDArray[np.uint8]:
        """Scale values linearly, with rounding; what is outside of the range, or no number, becomes its nearer end.

        Args:
            pixels: values of any shape.
            visible: those that are measured where each file has its own range; by default all.
        """
        low, high = self.low, self.high
        if low is None or high is None:
            low, high = span(pixels if visible is None else visible, self.percentiles) or (0.0, 1.0)
        if pixels.dtype == np.uint16:  # by a table: large photographs of 16 bits need little memory so
            by_value: NDArray[np.uint8] = replace(self, low=low, high=high).to_8_bits(
                np.arange(2**16, dtype=np.float64)
            )
            scaled: NDArray[np.uint8] = by_value[pixels]
            return scaled
        unit = (np.nan_to_num(pixels.astype(np.float64), nan=low) - low) / max(high - low, np.finfo(float).tiny)
        return np.floor(unit.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def span(pixels: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float] | None:
    """Return the values at two percentiles, of pixels that are finite; None where none is."""
    finite = pixels[np.isfinite(pixels)]
    if not finite.size:
        return None
    if percentiles == (0.0, 100.0):
        return float(finite.min()), float(finite.max())
    low, high = np.percentile(finite, percentiles)
    return float(low), float(high)


def settled(
    chosen: Range, spans: Iterable[tuple[float, float]] = (), channels: tuple[int, ...] | None = None
) -> Levels | None:
    """Return the levels of a data set.

    Args:
        chosen: what the user has said.
        spans: of each file that needs levels; not used unless the range is the data set's.
        channels: of TIFFs that have several.

    Returns:
        None where the range is the data set's, no file needs levels and no channels are chosen.
    """
    if isinstance(chosen, tuple):
        return Levels(low=chosen[0], high=chosen[1], channels=channels)
    percentiles = as_percentiles(chosen)
    if percentiles.of == "file":
        return Levels(percentiles=(percentiles.low, percentiles.high), channels=channels)
    lows_highs = list(spans)
    if not lows_highs:
        return Levels(channels=channels) if channels else None
    low, high = min(low for low, _ in lows_highs), max(high for _, high in lows_highs)
    return Levels(low=low, high=high, channels=channels)


def as_percentiles(chosen: Literal["dataset", "file"] | Percentiles) -> Percentiles:
    """Return a range with its percentiles: from the smallest to the largest value where none are given."""
    return Percentiles(of=chosen) if isinstance(chosen, str) else chosen
