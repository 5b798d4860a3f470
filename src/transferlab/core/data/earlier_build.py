"""What an earlier build of the image stores left: images that need not be decoded again."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from transferlab.core.data.decoding.batch import Decoded, Decoding, Outcome
from transferlab.core.data.decoding.decode import DECODER
from transferlab.core.data.decoding.levels import Levels
from transferlab.core.data.decoding.pool import Failed
from transferlab.core.data.store import ImageStore, Resize, StoreError

logger = logging.getLogger(__name__)

Record = dict[str, Any]  # path, file_sha256, reason (None when accepted), width, height, pixel_sha256


class EarlierBuild:
    """Holds what an earlier build left: nothing, unless it left a store for every resize, all of the same files."""

    def __init__(self, folder: Path, resizes: Sequence[Resize], decoding: Decoding) -> None:
        found = [_latest(folder, resize) for resize in resizes]
        stores = [store for store in found if store is not None and _is_as(store, decoding)]
        same = len({json.dumps(store.header["files"]) for store in stores}) == 1
        self.stores = stores if same and len(stores) == len(resizes) else []
        self.records: list[Record] = self.stores[0].header["files"] if self.stores else []
        self._at = {(record["path"], record["file_sha256"]): i for i, record in enumerate(self.records)}
        accepted = [record["reason"] is None for record in self.records]
        self._rows = [sum_before - 1 for sum_before in accumulate(accepted)]

    def is_of(self, paths: Sequence[str], hashes: Sequence[str | None]) -> bool:
        """Tell whether building these very files again would give these very stores."""
        files = [(record["path"], record["file_sha256"]) for record in self.records]
        return bool(self.records) and None not in hashes and files == list(zip(paths, hashes, strict=True))

    def keep_only(self, levels: Levels | None) -> None:
        """Forget everything unless it was decoded at these levels."""
        if self.stores and self.stores[0].levels != levels:
            self._at = {}

    def outcome(self, path: str, file_sha256: str | None) -> Outcome | None:
        """Return what came of this content at this path, if it was there."""
        at = self._at.get((path, file_sha256)) if file_sha256 else None
        if at is None:
            return None
        record = self.records[at]
        if record["reason"] is not None:
            return Failed(record["reason"], file_sha256)
        images_HWC = tuple(store[self._rows[at]] for store in self.stores)
        return Decoded(record["file_sha256"], record["pixel_sha256"], record["width"], record["height"], images_HWC)


def _latest(folder: Path, resize: Resize) -> ImageStore | None:
    """Return the latest store of a resize; remove a damaged one, so that one of the same content can take its place."""
    headers = sorted(folder.glob(f"{resize.key}-*/header.json"), key=lambda file: file.stat().st_mtime_ns)
    if not headers:
        return None
    store = ImageStore(headers[-1].parent)
    try:
        store.verify()
    except StoreError as error:
        logger.warning("%s: removed, the images are decoded again", error)
        shutil.rmtree(store.folder)
        return None
    return store


def _is_as(store: ImageStore, decoding: Decoding) -> bool:
    """Tell whether a store was decoded by the same decoder with the same settings."""
    settings = decoding.settings()
    return store.header["decoder"] == DECODER and {key: store.decoding.get(key) for key in settings} == settings
