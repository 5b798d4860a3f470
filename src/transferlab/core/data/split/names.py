"""Which part of the data a name means: `Training`, `val_set` or `dev`, of a folder or in a column of a label table."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

TRAIN, VALIDATION, TEST = "train", "validation", "test"
# "eval" means the part that decides nothing, unless there is a test part beside it.
_EVALUATION = "evaluation"
_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "tr"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "develop", "development"), VALIDATION),
    **dict.fromkeys(("test", "testing", "tst", "te"), TEST),
    **dict.fromkeys(("eval", "evaluation", "evaluate"), _EVALUATION),
}
_SPLIT = re.compile(
    rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})(?:set|data|images?|imgs?|split|part|folder)?"
)
_FILLERS = frozenset({"", "set", "data", "dataset", "image", "images", "img", "imgs", "split", "part", "folder", "the"})


def splits_by_name(names: Iterable[str]) -> dict[str, str]:
    """Return what each name means (train, validation or test), of those that mean a part; keys in the order of `names`.

    A name may be in any case and have a filler (`train_set`, `Training`, `test images`), or what others have too
    (`seg_train` beside `seg_test`).
    """
    read = {name: found for name in names if (found := _word_and_rest(name)) is not None}
    rests = [rest for _, rest in read.values()]
    meant = {name: word for name, (word, rest) in read.items() if rest <= _FILLERS or rests.count(rest) > 1}
    evaluation = VALIDATION if TEST in meant.values() else TEST
    return {name: evaluation if split == _EVALUATION else split for name, split in meant.items()}


def _word_and_rest(name: str) -> tuple[str, frozenset[str]] | None:
    """Return which part a name speaks of, and its other words; None when it speaks of none, or of two."""
    words = re.split(r"[\W_]+", name.casefold())
    found = [(match[1], word) for word in words if (match := _SPLIT.fullmatch(word))]
    if len(found) != 1:
        return None
    return _WORDS[found[0][0]], frozenset(words) - {found[0][1]}


def held_out_as_test(listing: pd.DataFrame) -> pd.DataFrame:
    """Make a given validation part the test part where there is none: it is the held-out one that was published.

    A listing with nothing but a training part has no given splits.
    """
    splits = set(listing["split"])
    if splits == {TRAIN}:
        return listing.assign(split="")
    if VALIDATION in splits and TEST not in splits:
        return listing.assign(split=listing["split"].replace(VALIDATION, TEST))
    return listing


def gives_validation(splits: Iterable[str]) -> bool:
    """Return whether parts of these names leave a validation split, since one held-out part alone is for test."""
    return {VALIDATION, TEST} <= set(splits)
