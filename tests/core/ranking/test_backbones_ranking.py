import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny import STATISTICS, machine, photographs, split_of, strategy

from transferlab.core.data.decoding.batch import Decoding
from transferlab.core.loading.images import Images
from transferlab.core.models import factory
from transferlab.core.models.backbones.model import Model
from transferlab.core.ranking.backbones import Candidate, LabelledImages, features, rank, sample
from transferlab.core.transforms.input import Input

SMALL = Input(size=32, resize=36)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    images, labels_N = photographs(40)
    for number, image_HWC in enumerate(images):
        Image.fromarray(image_HWC).save(root / f"{number}.png")
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(40)], "label": labels_N, "class": labels_N.astype(str)})
    rows = rows.assign(split="train", stratify="", group="")
    statistics = {**STATISTICS, "classes": ["red", "blue"]}
    return LabelledImages(root, rows, statistics, Decoding(workers=0))


def test_candidates_of_several_sizes_are_ranked(labelled, tmp_path):
    told = []
    candidates = [
        Candidate(Model(name="timm/test_resnet"), SMALL),
        Candidate(Model(name="transferlab/small_resnet"), Input(size=48, resize=48)),
    ]
    found = rank(candidates, labelled, machine(), tmp_path, lambda *at: told.append(at))
    assert {one.candidate for one in found} == set(candidates)
    assert found[0].accuracy >= found[1].accuracy
    assert found[0].accuracy > 0.9  # colours are easy
    assert {(one.size, one.features) for one in found} == {(32, 512), (48, 256)} or all(one.features for one in found)
    assert all(np.isfinite(one.log_evidence) and one.feature_seconds > 0 for one in found)
    assert told[-1] == (40, 40)


@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit", "torchvision/squeezenet1_1"])
def test_features_are_what_the_head_is_given(tmp_path, name):
    config = strategy(name)
    checkpoint = factory.initial(config.model, Input(size=160, resize=160), ["a", "b"], STATISTICS, 0)
    network, split = factory.load(checkpoint, machine()), split_of(tmp_path, 5)
    images = Images(split, checkpoint.header.view, machine())
    found_NF = torch.from_numpy(features(network, checkpoint.header.head, images, machine()))
    assert found_NF.shape[0] == 5
    head = network.get_submodule(checkpoint.header.head[0])
    if isinstance(head, torch.nn.Linear):
        expected = torch.cat([network(x) for x in images.in_order()])
        assert torch.allclose(head(found_NF), expected, atol=1e-4)


def test_a_sample_is_stratified_and_always_the_same():
    rows = pd.DataFrame({"label": [0] * 90 + [1] * 9 + [2]})
    chosen = sample(rows, 40)
    assert len(chosen) == 40
    assert chosen.index.is_monotonic_increasing
    assert 3 <= (chosen["label"] == 1).sum() <= 5
    assert chosen.equals(sample(rows, 40))
    assert sample(rows, 100) is rows
