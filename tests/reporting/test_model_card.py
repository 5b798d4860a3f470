"""The model card: valid metadata at the top, whatever names the classes have, and what is not known said so."""

import pytest
import yaml
from huggingface_hub import ModelCard

from transferlab.reporting.model_card import Background, documents

ABOUT = {
    "model": "timm/resnet18",
    "pooled": None,
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
INT8 = {
    "calibrated_on": 128, "images": 30, "accuracy": 0.8, "accuracy_float32": 0.81, "bytes": 2e6, "bytes_float32": 8e6,
    "images_per_second": 90.0, "images_per_second_float32": 40.0,
}  # fmt: skip
IMAGES = {"train": {"a": 3, "b": 4}, "test": {"a": 1, "b": 2}}


KNOWN = {
    "calibrated_on": 40,
    "prediction_sets": {"level": 0.9, "smallest_probability": 0.31234},
    "unfamiliar": {"training_images": 99, "neighbors": 10, "largest_distances": [0.21, 0.43], "flagged": 0.05},
}


def model_card(about, background):
    return documents(about, background)["README.md"]


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_metadata_has_the_accuracy_with_its_number_of_images():
    background = Background(
        'Ants: "and" bees', "ants", (0.9, 0.8, 1.2, 30), IMAGES, "CC BY 4.0", seen_in_pretraining=True
    )
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
    assert 'timm.create_model("local-dir:FOLDER"' in card
    pooled = model_card({**ABOUT, "pooled": {"stages": 4, "deviations": True}}, background)
    assert "`timm/resnet18` with a head on its last 4 stages" in pooled
    assert "local-dir" not in pooled, "timm has no such head"
    assert "a threshold for unfamiliar images, could be calibrated" in card


def test_the_hub_reads_the_metadata():
    background = Background("Ants", "ants", (0.9, 0.8, 0.95, 30), IMAGES)
    for weights, int8, base_model, relation in [
        ("a1_in1k", None, "timm/resnet18.a1_in1k", "finetune"),
        ("a1_in1k", INT8, "timm/resnet18.a1_in1k", "quantized"),
        ("package://weights/file.pth", None, None, None),
    ]:
        written = documents({**ABOUT, "weights": weights, "int8": int8}, background)
        data = ModelCard(written["README.md"]).data
        (result,) = data.eval_results
        assert (data.model_name, result.task_type, result.dataset_split) == ("Ants", "image-classification", "test")
        assert (result.metric_type, result.metric_value) == ("accuracy", 0.9)
        assert (data.base_model, data.get("base_model_relation")) == (base_model, relation)
        assert (data.license, data.metrics, data.license_link) == ("other", ["accuracy"], "LICENSE.md")
        assert data.license_link in written


def test_what_it_does_not_know_and_what_it_may_have_seen_is_on_the_card():
    background = Background("Ants", "ants", duplicates=3, without_duplicates=True)
    card = model_card({**ABOUT, "when_it_does_not_know": KNOWN}, background)
    assert "probability is at least 0.312 hold the true one for 90% of" in card
    assert "10th nearest of 99 training images\n  than 0.21 or 0.43, by" in card
    assert "3 pairs of photographs in two splits are, or may be, the same; left out of training." in card
    assert "Nothing is stated of the pretrained weights" in card
    assert "no pair of photographs in two splits is, or may be, the same." in model_card(
        ABOUT, Background("Ants", "ants", duplicates=0)
    )


def test_a_class_cannot_break_out_of_its_code():
    card = model_card(ABOUT, Background("x", "x"))
    assert "`'ants'`, `bees # a heading`." in card


@pytest.mark.parametrize("key", ["weights", "strategy", "trial", "seed", "selection", "epoch"])
def test_what_is_not_known_is_said(key):
    card = model_card({**ABOUT, key: None}, Background("x", "x"))
    assert "model-index" not in metadata(card)
    assert "was not measured" in card
    assert "None" not in card
