"""Which part of the data a name means: `Training`, `val_set` or `dev`, of a folder or in a column of a label table."""

from __future__ import annotations

import re
import unicodedata
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
    **dict.fromkeys(("test", "testing", "tst", "te", "holdout", "heldout"), TEST),
    **dict.fromkeys(("eval", "evaluation", "evaluate"), _EVALUATION),
    **dict.fromkeys(("entrenamiento", "entrainement", "treino", "addestramento", "训练", "訓練", "学習"), TRAIN),
    **dict.fromkeys(("validierung", "validacion", "验证", "驗證", "検証"), VALIDATION),
    **dict.fromkeys(("prueba", "teste", "测试", "測試", "テスト"), TEST),
}
_SPLIT = re.compile(
    rf"({'|'.join(sorted(_WORDS, key=len, reverse=True))})"
    r"(?:sets?|data|images?|imgs?|split|part|folder|s?daten|s?bilder|集)?\d*"
)
_FILLERS = frozenset({"", "set", "data", "dataset", "image", "images", "img", "imgs", "split", "part", "folder", "the"})
_LOOSE = re.compile("|".join(sorted((word for word in _WORDS if len(word) > 2), key=len, reverse=True)))


def splits_by_name(names: Iterable[str]) -> dict[str, str]:
    """Return what each name means (train, validation or test), of those that mean a part; keys in the order of `names`.

    A name may be in any case and have a filler or a number (`train_set`, `Training`, `02 test images`), or what others
    have too (`seg_train` beside `seg_test`).
    """
    read = {name: found for name in names if (found := part_and_rest(name)) is not None}
    rests = [rest for _, rest in read.values()]
    meant = {name: word for name, (word, rest) in read.items() if not rest or rests.count(rest) > 1}
    return _settled(meant)


def likely_splits(names: Iterable[str]) -> dict[str, str]:
    """Return what each name seems to mean, of those that have the name of a part in them somewhere."""
    found = {name: match[0] for name in names if (match := _LOOSE.search(_plain(name)))}
    return _settled({name: _WORDS[word] for name, word in found.items()})


def part_and_rest(name: str) -> tuple[str, frozenset[str]] | None:
    """Return which part a name speaks of, and its other words; None when it speaks of none, or of two."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.split(r"[\W_]+", _plain(spaced))
    if len(whole := re.split(r"[\W_]+", _plain(name))) == 1 and _SPLIT.fullmatch(whole[0]):
        words = whole
    found = [(match[1], word) for word in words if (match := _SPLIT.fullmatch(word))]
    if len(found) != 1:
        return None
    rest = {word for word in words if word != found[0][1] and word not in _FILLERS and not word.isdecimal()}
    return _WORDS[found[0][0]], frozenset(rest)


def _plain(name: str) -> str:
    """Return a name in lower case, without accents, and with `hold-out` as one word."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"(hold|held)[\W_]+out", r"\1out", unicodedata.normalize("NFC", plain))


def _settled(meant: dict[str, str]) -> dict[str, str]:
    evaluation = VALIDATION if TEST in meant.values() else TEST
    return {name: evaluation if split == _EVALUATION else split for name, split in meant.items()}


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
