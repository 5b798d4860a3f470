"""The model card of an exported network, with the fields of the Hugging Face hub.

Its fields are described at https://huggingface.co/docs/hub/model-cards (metadata at the top of `README.md`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from transferlab.reporting.wording import capital, count, enumerate_words, title


@dataclass(frozen=True)
class Background:
    """What a model card says beyond `model.json`.

    Attributes:
        title: of the card.
        experiment: its name.
        accuracy: test accuracy of this network: mean, low and high of the 95% interval, and the number of test images;
            None where it was not measured.
        images: images per split and class; empty where they are not known.
        data_licence: of the training images; None where it is not known.
        seen_in_pretraining: whether the pretrained weights have seen these very images.
    """

    title: str
    experiment: str
    accuracy: tuple[float, float, float, int] | None = None
    images: Mapping[str, Mapping[str, int]] | None = None
    data_licence: str | None = None
    seen_in_pretraining: bool = False


def model_card(about: Mapping[str, Any], background: Background) -> str:
    """Write `README.md`.

    Args:
        about: what `model.json` says.
        background: what it does not say.
    """
    # Not escaped: it is Markdown, in which names stand as code.
    environment = Environment(  # noqa: S701
        loader=PackageLoader("transferlab.reporting", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": lambda value: json.dumps(value, ensure_ascii=False), "code": _code}
    splits = {split: sum(counts.values()) for split, counts in (background.images or {}).items()}
    return environment.get_template("model_card.md.j2").render(
        about=about,
        background=background,
        splits=enumerate_words([count(number, f"{title(split)} image") for split, number in splits.items()] or ["?"]),
        has_splits=bool(splits),
        heading=capital(background.title),
    )


def _code(text: Any) -> str:
    """Write a name as code on one line; a backquote in it would end the code."""
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"
