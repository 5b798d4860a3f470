import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional as tv

from transferlab.core.runtime.seeding import generator
from transferlab.core.transforms import resample
from transferlab.core.transforms.geometry import mirrored
from transferlab.core.transforms.input import Input, Preset
from transferlab.core.transforms.operations import (
    ColorJitter,
    RandomCrop,
    RandomFlip,
    RandomResizedCrop,
    RandomRotation,
)
from transferlab.core.transforms.pixels import HostImages
from transferlab.core.transforms.view import View, resized_shape, resolve
from transferlab.core.validation import FieldProblems

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
IDENTITY = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SHAPES = [(40, 40), (41, 57), (57, 41), (333, 200), (36, 36), (37, 36), (48, 333)]
PILS = {"bilinear": tv.InterpolationMode.BILINEAR, "bicubic": tv.InterpolationMode.BICUBIC}


def view(size=32, resize=36, mode="short_side", interpolation="bilinear", **statistics):
    return View(size=size, resize=resize, mode=mode, interpolation=interpolation, **{**IDENTITY, **statistics})


def noise(shape):
    return RNG.integers(0, 256, (*shape, 3), np.uint8)


def smooth(shape):
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    return np.stack([127 + 100 * np.sin(x / 6 + c) * np.cos(y / 5) for c in range(3)], axis=-1).astype(np.uint8)


def stored(image_HWC, how):
    return np.asarray(how.stored_as(Image.fromarray(image_HWC)))


def held_out(images, how):
    images = [stored(image, how) for image in images]
    draws = how.draw(np.array([image.shape[:2] for image in images]), (), None)
    return how.render(HostImages(images, CPU), draws)


def expected(image_HWC, how):
    """torchvision's own Resize and CenterCrop of a PIL image, in [0, 1]."""
    size = [how.resize, how.resize] if how.mode == "squash" else [how.resize]
    resized = tv.resize(Image.fromarray(image_HWC), size, interpolation=PILS[how.interpolation])
    return tv.to_dtype(tv.to_image(tv.center_crop(resized, [how.size, how.size])), torch.float32, scale=True)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("mode", ["short_side", "squash"])
@pytest.mark.parametrize("size", [32, 31, 36])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_held_out_view_is_torchvisions_resize_and_centre_crop(shape, size, mode, interpolation):
    how = view(size=size, mode=mode, interpolation=interpolation)
    image_HWC = noise(shape)
    # The crop lies on whole pixels: no interpolation at all, the very bytes.
    assert (held_out([image_HWC], how)[0] - expected(image_HWC, how)).abs().max() < 1e-5


@pytest.mark.parametrize("shape", [(20, 20), (21, 33), (33, 21), (35, 90), (5, 7)])
@pytest.mark.parametrize("mode", ["short_side", "squash"])
def test_smaller_images_are_enlarged_as_torchvision_does(shape, mode):
    how, image_HWC = view(mode=mode), smooth(shape)
    # PIL rounds to bytes between its two passes; nothing else differs.
    assert (held_out([image_HWC], how)[0] - expected(image_HWC, how)).abs().max() < 1.6 / 255


@pytest.mark.parametrize(("kind", "bound"), [("noise", 0.17), ("smooth", 0.02)])
def test_bicubic_enlargement_differs_from_torchvisions_within_a_bound(kind, bound):
    # torch's cubic has a = -0.75, PIL's -0.5; the largest difference of their weights makes 0.164 of a pixel's range.
    how = view(interpolation="bicubic")
    for shape in [(20, 27), (18, 18), (35, 33)]:
        image_HWC = noise(shape) if kind == "noise" else smooth(shape)
        assert (held_out([image_HWC], how)[0] - expected(image_HWC, how)).abs().max() < bound


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(8, 300))
def test_the_size_after_resizing_is_torchvisions(height, width, resize):
    ours = resized_shape(torch.tensor([[height, width]]).float(), resize, "short_side")[0].tolist()
    blank = torch.empty(1, height, width, device="meta")
    assert ours == list(tv.resize(blank, [resize], antialias=False).shape[1:])


def test_images_of_different_shapes_share_a_batch():
    how = view()
    images = [noise(shape) for shape in [(40, 90), (90, 40), (20, 30), (64, 64)]]
    together = held_out(images, how)
    alone = torch.cat([held_out([image], how) for image in images])
    assert torch.allclose(together, alone, atol=1e-4)


def test_values_are_normalised_per_channel():
    how = view(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    image_HWC = noise((40, 40))
    plain = held_out([image_HWC], view())
    assert torch.allclose(
        held_out([image_HWC], how)[0], tv.normalize(plain[0], [0.1, 0.2, 0.3], [0.5, 0.25, 2.0]), atol=1e-6
    )


OPERATIONS = (
    RandomResizedCrop(),
    RandomFlip(),
    RandomRotation(degrees=20),
    ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
)


def test_a_view_depends_on_the_image_and_not_on_its_batch():
    how = view()
    images = [stored(noise(shape), how) for shape in [(40, 90), (90, 40), (20, 30), (64, 64), (50, 50)]]
    shapes_N2 = np.array([image.shape[:2] for image in images])
    draws = how.draw(shapes_N2, OPERATIONS, generator(0))
    whole = how.render(HostImages(images, CPU), draws)
    order = torch.tensor([3, 0, 4, 2, 1])
    for rows in torch.split(order, 2):
        batch = how.render(HostImages(images, CPU).take(rows), draws.take(rows))
        assert torch.allclose(batch, whole[rows], atol=2e-4)
    again = how.render(HostImages(images, CPU), how.draw(shapes_N2, OPERATIONS, generator(0)))
    assert torch.equal(again, whole)


def test_a_smaller_view_shows_the_same_part_of_the_image():
    whole, image_HWC = view(64, 72), smooth((72, 96))
    half = whole.at(32)
    assert whole.at(None) is whole
    assert (half.size, half.resize) == (32, 36)
    shown = []
    for how in (whole, half):
        draws = how.draw(np.array([image_HWC.shape[:2]]), (), None)
        shown.append(how.render(HostImages([image_HWC], CPU), draws))
    assert (torch.nn.functional.avg_pool2d(shown[0], 2) - shown[1]).abs().max() < 0.02


def test_pixels_are_the_batch_before_normalisation():
    how = view(mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    images = HostImages([noise((36, 36))], CPU)
    draws = how.draw(images.shape_N2, OPERATIONS, generator(0))
    pixels = how.pixels(images, draws)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    assert torch.allclose(how.render(images, draws)[0], tv.normalize(pixels[0], how.mean, how.std), atol=1e-6)


def test_augmentation_works_on_the_resized_image_however_it_is_stored():
    # A smaller image is enlarged by the same resample that crops it.
    how, image_HWC = view(resize=40), smooth((20, 26))
    draws = how.draw(np.array([(20, 26)]), (RandomCrop(),), generator(4))
    (scale_x, left), (scale_y, top) = draws.map_N23[0][0, [0, 2]], draws.map_N23[0][1, [1, 2]]
    assert (float(scale_x), float(scale_y)) == (0.5, 0.5)
    enlarged = tv.resize(torch.from_numpy(image_HWC).permute(2, 0, 1).float(), [40], antialias=True) / 255
    crop = tv.crop(enlarged, int(top / 0.5), int(left / 0.5), 32, 32)
    assert torch.allclose(how.render(HostImages([image_HWC], CPU), draws)[0], crop, atol=1e-4)


@given(st.floats(-40, 60), st.integers(2, 20))
def test_mirroring_is_numpys_reflect(point, extent):
    pixels = np.pad(np.arange(extent), 80, mode="symmetric" if extent == 1 else "reflect")
    ours = mirrored(torch.tensor(np.floor(point) + 0.5, dtype=torch.float64), torch.tensor(extent))
    assert float(ours) == pixels[int(np.floor(point)) + 80] + 0.5


GEOMETRIES = st.lists(
    st.one_of(
        st.builds(RandomResizedCrop, scale=st.just((0.3, 1.0)), size=st.sampled_from([None, 40])),
        st.builds(RandomCrop, padding=st.sampled_from([0, 4]), padding_mode=st.sampled_from(["zeros", "reflect"])),
        st.builds(RandomRotation, degrees=st.sampled_from([0, 1, 30])),
        st.just(RandomFlip()),
    ),
    max_size=3,
).map(tuple)


@given(operations=GEOMETRIES, seed=st.integers(0, 99), interpolation=st.sampled_from(["bilinear", "bicubic"]))
@settings(max_examples=60, deadline=None)
def test_beyond_an_image_is_black_whether_corners_or_all_points_are_looked_at(operations, seed, interpolation):
    how = view(interpolation=interpolation)
    images = HostImages([stored(noise(shape), how) for shape in [(40, 52), (41, 36), (36, 36)]], CPU)
    draws = how.draw(images.shape_N2, operations, generator(seed))
    quick = how.pixels(images, draws)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "_is_inside", lambda *_: False)
        assert torch.equal(quick, how.pixels(images, draws))


def test_crops_stay_inside_and_padding_does_not():
    shape_N2 = np.array([(36, 50)])
    crop, padded = (view().draw(shape_N2, (o,), generator(0)) for o in (RandomResizedCrop(), RandomCrop(padding=40)))
    assert resample._is_inside(crop.map_N23, 32, shape_N2)
    assert not resample._is_inside(padded.map_N23, 32, shape_N2)


def test_a_pixel_wide_image_can_be_mirrored():
    assert float(mirrored(torch.tensor(3.5), torch.tensor(1))) in (0.5, 1.5)


PRESET = Preset(size=224, resize=256, interpolation="bicubic", mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
STATISTICS = {"mean": [0.7, 0.8, 0.9], "std": [0.11, 0.12, 0.13]}


def test_pretrained_weights_bring_their_own_view():
    settled = resolve(Input(), PRESET, STATISTICS)
    assert settled == View(**{**dataclasses.asdict(PRESET), "mode": "short_side"})


def test_without_weights_the_training_split_normalises():
    settled = resolve(Input(), Preset(size=32, resize=32), STATISTICS)
    assert settled.mean == (0.7, 0.8, 0.9)
    assert settled.std == (0.11, 0.12, 0.13)


def test_what_the_user_writes_wins():
    mine = Input(size=96, resize=100, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    settled = resolve(mine, PRESET, STATISTICS)
    assert dataclasses.asdict(settled) == dataclasses.asdict(mine)


@pytest.mark.parametrize(("mode", "resize"), [("short_side", 110), ("squash", 96)])
def test_the_resize_follows_the_size(mode, resize):
    assert resolve(Input(size=96, mode=mode), PRESET, None).resize == resize


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"size": 7}, "size"),
        ({"size": 64, "resize": 63}, "resize"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean"),
        ({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.0, 0.5)}, "std"),
    ],
)
def test_impossible_inputs_are_refused_by_key(wrong, key):
    with pytest.raises(FieldProblems) as caught:
        Input(**wrong)
    assert [problem.field for problem in caught.value.problems] == [key]


def test_the_widest_and_the_tallest_may_be_in_one_batch():
    """A canvas for both would be of 20,000 x 20,000 px: 14 GB."""
    images = [noise(shape) for shape in [(20, 20_000), (20_000, 20), (1, 1), (36, 48)]]
    together = held_out(images, view())
    assert torch.equal(together, torch.cat([held_out([image], view()) for image in images]))


def test_each_network_is_given_the_statistics_of_its_own_store():
    own = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    known = {**STATISTICS, "stores": {"short_side_96_bilinear": own}}
    unknowing = Preset(size=96, resize=96)
    assert resolve(Input(), unknowing, known).mean == (0.1, 0.2, 0.3)
    assert resolve(Input(), unknowing, known).std == (0.4, 0.5, 0.6)
    assert resolve(Input(size=64), unknowing, known).mean == tuple(STATISTICS["mean"]), "as in earlier versions"
    assert resolve(Input(), PRESET, known).mean == PRESET.mean
