"""The model card: valid metadata at the top, whatever names the classes have, and what is not known said so."""

import pytest
import yaml

from transferlab.reporting.model_card import Background, model_card

ABOUT = {
    "model": "timm/resnet18",
    "weights": "timm/resnet18.a1_in1k",
    "strategy": "fine_tuning",
    "trial": 1,
    "seed": 7,
    "selection": "best validation accuracy",
    "epoch": 4,
    "library": "onnx",
    "opset": 20,
    "classes": ["`ants`", "bees\n# a heading"],
    "input_is": "RGB",
    "compared_with_torch": {"images": 30, "largest_difference": 2e-7},
}
IMAGES = {"train": {"a": 3, "b": 4}, "test": {"a": 1, "b": 2}}


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_metadata_has_the_accuracy_with_its_number_of_images():
    background = Background('Ants: "and" bees', "ants", (0.9, 0.8, 1.2, 30), IMAGES, "CC BY 4.0", True)
    card = model_card(ABOUT, background)
    found = metadata(card)
    assert (found["library_name"], found["pipeline_tag"]) == ("onnx", "image-classification")
    (index,) = found["model-index"]
    assert index["name"] == 'Ants: "and" bees'
    (result,) = index["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.9, "name": "accuracy, n = 30"}]
    assert "| accuracy | 90.0% | 80.0 to 100.0 | 30 |" in card
    assert "7 train images and 3 test images" in card
    assert "trial 2" in card
    assert "have seen these very images" in card
    assert "CC BY 4.0" in card


def test_a_class_cannot_break_out_of_its_code():
    card = model_card(ABOUT, Background("x", "x"))
    assert "`'ants'`, `bees # a heading`." in card


@pytest.mark.parametrize("key", ["weights", "strategy", "trial", "seed", "selection", "epoch"])
def test_what_is_not_known_is_said(key):
    card = model_card({**ABOUT, key: None}, Background("x", "x"))
    assert "model-index" not in metadata(card)
    assert "was not measured" in card
    assert "None" not in card
