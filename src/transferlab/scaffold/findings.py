"""What a folder of photographs holds, looked at before anything is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from statistics import median

import pandas as pd
from PIL import Image

from transferlab.core.data.listing.config import ClassFolders, ImageFolder
from transferlab.core.data.listing.image_folder import METADATA
from transferlab.core.data.listing.layout import list_images
from transferlab.reporting.wording import count

# Images that are opened; classes, and reasons for what is set aside, that are shown.
LOOKED_AT, SHOWN = 50, 12


@dataclass(frozen=True)
class Findings:
    """What was found in a folder.

    Attributes:
        layout: how the folder says which image is of which class.
        listing: the candidate images, as `list_images` returns them.
        left_out: the other files, with reasons.
        sizes: (width, height) of some images, px.
        modes: how many of them have which mode of PIL's, such as RGB or L.
    """

    layout: ClassFolders | ImageFolder
    listing: pd.DataFrame
    left_out: pd.DataFrame
    sizes: tuple[tuple[int, int], ...]
    modes: Counter[str]

    @property
    def classes(self) -> dict[str, int]:
        """Images of each class, by name."""
        return {str(name): int(n) for name, n in self.listing["class"].value_counts().sort_index().items()}

    @property
    def short_side(self) -> float | None:
        """The median of the shorter sides, px; None where no image could be opened."""
        return median(map(min, self.sizes)) if self.sizes else None

    def lines(self) -> Iterator[str]:
        """Yield what a user should know of it, a line each."""
        classes = sorted(self.classes.items(), key=lambda item: -item[1])
        more = f", and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
        shown = ", ".join(f"{name} {n:,}" for name, n in classes[:SHOWN])
        yield f"{count(len(self.listing), 'image')} of {count(len(classes), 'class', 'classes')}: {shown}{more}"
        splits = self.listing["split"].value_counts()
        yield "Parts: " + (
            "none are given, the images are split at random"
            if "" in splits
            else ", ".join(f"{split} {n:,}" for split, n in splits.items())
        )
        if self.sizes:
            widths, heights = zip(*self.sizes, strict=True)
            modes = ", ".join(f"{mode} {n}" for mode, n in self.modes.most_common())
            yield (
                f"Of {count(len(self.sizes), 'image')} looked at: {min(widths)} to {max(widths)} px wide, "
                f"{min(heights)} to {max(heights)} px high, of mode {modes}"
            )
        unreadable = Counter(suffix for path in self.listing["path"] if not _has_decoder(suffix := _suffix(path)))
        if unreadable:
            kinds = ", ".join(f"{suffix} {n:,}" for suffix, n in unreadable.most_common())
            yield f"Photographs that nothing installed here can read, and that will be quarantined: {kinds}"
        reasons = Counter(self.left_out["reason"])
        if reasons:
            yield f"Set aside: {count(len(self.left_out), 'file')}"
        yield from (f"  {n:,}: {reason}" for reason, n in reasons.most_common(SHOWN))
        if len(reasons) > SHOWN:
            yield f"  and {len(reasons) - SHOWN} more reasons"


def look(folder: Path) -> Findings:
    """List a folder and open some of its images.

    Raises:
        LayoutError: the folder holds no classes, or parts that disagree.
    """
    is_hub = any(path.is_file() for name in METADATA for path in (*folder.glob(name), *folder.glob(f"*/{name}")))
    layout = ImageFolder() if is_hub else ClassFolders()
    listing, left_out = list_images(folder, layout)
    sizes, modes = [], Counter[str]()
    for path in listing["path"].iloc[:: max(1, len(listing) // LOOKED_AT)]:
        try:
            with Image.open(folder / path) as image:
                sizes.append(image.size)
                modes[image.mode] += 1
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # the quarantine table will say why
            continue
    return Findings(layout, listing, left_out, tuple(sizes), modes)


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _has_decoder(suffix: str) -> bool:
    return suffix in Image.registered_extensions()
