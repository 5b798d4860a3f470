"""The model card of an exported network, with the fields of the Hugging Face hub, and its licences.

Its fields are described at https://huggingface.co/docs/hub/model-cards (metadata at the top of `README.md`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from transferlab.reporting.wording import capital, count, enumerate_words, title

_TAG = re.compile(r"\w+")  # such as a1_in1k


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
        duplicates: pairs of photographs in two splits that are, or may be, the same; None where it is not known.
        without_duplicates: whether those were left out of training.
        seen_in_pretraining: whether the pretrained weights have seen these very images.
    """

    title: str
    experiment: str
    accuracy: tuple[float, float, float, int] | None = None
    images: Mapping[str, Mapping[str, int]] | None = None
    data_licence: str | None = None
    duplicates: int | None = None
    without_duplicates: bool = False
    seen_in_pretraining: bool = False


def documents(about: Mapping[str, Any], background: Background) -> dict[str, str]:
    """Write `README.md`, the card, and `LICENSE.md`, which its metadata name.

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
    environment.filters |= {
        "json": lambda value: json.dumps(value, ensure_ascii=False),
        "code": _code,
        "float3": "{:.3g}".format,
    }
    splits = {split: sum(counts.values()) for split, counts in (background.images or {}).items()}
    told = {
        "about": about,
        "background": background,
        "base_model": _base_model(about),
        "splits": enumerate_words(
            [count(number, f"{title(split)} image") for split, number in splits.items()] or ["?"]
        ),
        "has_splits": bool(splits),
        "duplicates": count(background.duplicates or 0, "pair"),
        "heading": capital(background.title),
    }
    templates = {"README.md": "model_card.md.j2", "LICENSE.md": "licences.md.j2"}
    return {file: environment.get_template(name).render(told) for file, name in templates.items()}


def _base_model(about: Mapping[str, Any]) -> str | None:
    """Return the model of the hub that training began with: timm's weights have a tag; files are no model there."""
    model, tag = about["model"], about["weights"]
    return f"{model}.{tag}" if model.startswith("timm/") and tag and _TAG.fullmatch(tag) else None


def _code(text: Any) -> str:
    """Write a name as code on one line; a backquote in it would end the code."""
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"
