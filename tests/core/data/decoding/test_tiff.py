"""TIFFs that Pillow does not read: colours as floats, many channels, channels in pages."""

from io import BytesIO

import numpy as np
import pytest
import tifffile

from transferlab.core.data.decoding.decode import DEFAULT, Rules, UnusableImageError, decode_rgb, deep_values
from transferlab.core.data.decoding.levels import Levels, span

RNG = np.random.default_rng(0)
RGB_HW3 = RNG.random((12, 16, 3)).astype(np.float32)
BANDS_HWC = RNG.integers(0, 10_000, (12, 16, 13)).astype(np.uint16)  # as Sentinel-2 has


def span_of(content, name, percentiles, rules=DEFAULT):
    values = deep_values(content, name, rules)
    return None if values is None else span(values, percentiles)


def written(values, **options):
    file = BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def in_8_bits(values, low, high):
    return np.floor((values.astype(np.float64) - low).clip(0, high - low) / (high - low) * 255 + 0.5)


def rules(low, high, *channels):
    return Rules(levels=Levels(low=low, high=high, channels=channels or None))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_float_colours_are_scaled_by_the_range(dtype, planar):
    values = RGB_HW3.astype(dtype)
    content = written(
        values if planar == "contig" else values.transpose(2, 0, 1), photometric="rgb", planarconfig=planar
    )
    found = np.asarray(decode_rgb(content, "a.tif", rules(0.1, 0.9)))
    assert np.array_equal(found, in_8_bits(values, 0.1, 0.9))
    assert span_of(content, "a.tif", (0, 100)) == (values.min(), values.max())


@pytest.mark.parametrize("layout", ["contig", "separate", "pages"])
def test_channels_are_chosen_by_number(layout):
    if layout == "contig":
        content = written(BANDS_HWC, photometric="minisblack", planarconfig="contig")
    else:
        planes = BANDS_HWC.transpose(2, 0, 1)
        options = {"planarconfig": "separate"} if layout == "separate" else {"metadata": None}
        content = written(planes, photometric="minisblack", **options)
    found = np.asarray(decode_rgb(content, "a.tif", rules(0, 3000, 4, 3, 2)))
    assert np.array_equal(found, in_8_bits(BANDS_HWC[..., [3, 2, 1]], 0, 3000))
    grey = np.asarray(decode_rgb(content, "a.tif", rules(0, 3000, 8)))
    assert np.array_equal(grey, np.repeat(in_8_bits(BANDS_HWC[..., 7:8], 0, 3000), 3, axis=2))
    assert span_of(content, "a.tif", (0, 100), rules(0, 1, 8)) == (BANDS_HWC[..., 7].min(), BANDS_HWC[..., 7].max())


def test_channels_of_8_bits_are_as_they_are():
    values = (BANDS_HWC % 256).astype(np.uint8)
    content = written(values, photometric="minisblack", planarconfig="contig")
    assert np.array_equal(np.asarray(decode_rgb(content, "a.tif", rules(0, 1, 13, 1, 7))), values[..., [12, 0, 6]])
    assert span_of(content, "a.tif", (0, 100), rules(0, 1, 1)) is None


def test_white_is_zero_and_orientation_count_here_too():
    values = np.arange(6, dtype=np.float64).reshape(2, 3)
    turned = written(values, extratags=[(274, "H", 1, 6, True)])
    assert np.array_equal(np.asarray(decode_rgb(turned, "a.tif", rules(0, 5)))[..., 0], in_8_bits(values, 0, 5)[::-1].T)
    inverted = written(BANDS_HWC[..., :5], photometric="miniswhite", planarconfig="contig")
    found = np.asarray(decode_rgb(inverted, "a.tif", rules(0, 65535, 5)))[..., 0]
    assert np.array_equal(found, in_8_bits(65535 - BANDS_HWC[..., 4].astype(int), 0, 65535))


@pytest.mark.parametrize(
    ("content", "allowed", "told"),
    [
        (
            written(BANDS_HWC, photometric="minisblack", planarconfig="contig"),
            Rules(),
            "13 channels: say in dataset.ch",
        ),
        (
            written(BANDS_HWC[..., :5], planarconfig="contig", photometric="minisblack"),
            rules(0, 1, 6),
            "names number 6",
        ),
        (written(RGB_HW3, photometric="rgb"), Rules(), "without a range from black to white"),
        (written(RGB_HW3, photometric="rgb"), Rules(max_pixels=100), "192 pixels"),
        (written(RGB_HW3, photometric="rgb")[:-100], rules(0, 1), "truncated"),
        (written(RGB_HW3[None].repeat(4, 0), photometric="rgb"), rules(0, 1), "stack"),
    ],
)
def test_what_cannot_be_one_image_is_told_of(content, allowed, told):
    with pytest.raises(UnusableImageError, match=told):
        decode_rgb(content, "a.tif", allowed)


def test_a_damaged_one_never_does_more_than_be_refused():
    content = bytearray(written(BANDS_HWC, photometric="minisblack", planarconfig="contig", compression="zlib"))
    for place in range(0, 400, 7):
        damaged = content.copy()
        damaged[place] ^= 0xFF
        try:
            decode_rgb(bytes(damaged), "a.tif", rules(0, 1, 1))
        except UnusableImageError:
            continue
