"""Every mode and bit depth that is accepted, against an independent decoder, or values worked out by hand."""

import struct
from io import BytesIO

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from transferlab.core.data.decoding import formats
from transferlab.core.data.decoding.decode import DEFAULT, Rules, UnusableImageError, decode_rgb, deep_values
from transferlab.core.data.decoding.levels import Levels, Percentiles, settled, span

RNG = np.random.default_rng(0)
DEEP_HW = np.linspace(0, 65535, 24 * 32).round().astype(np.uint16).reshape(24, 32)
DEEP_HW3 = RNG.integers(0, 65536, (24, 32, 3)).astype(np.uint16)
DEEP_HW3[0, :2] = [[0, 0, 0], [65535, 65535, 65535]]


def span_of(content, name, percentiles, rules=DEFAULT):
    values = deep_values(content, name, rules)
    return None if values is None else span(values, percentiles)


def tiff(values, **options):
    file = BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def packed_tiff(values, bits, photometric=1):
    """An uncompressed grey TIFF (TIFF 6.0) of one strip whose samples have any number of bits, the first bit first."""
    height, width = values.shape
    rows = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    data = b"".join(int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in rows)
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8 + 2 + 12 * 9 + 4)]
    entries += [(277, 1), (278, height), (279, len(data))]
    directory = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + data


def grey_png(values):
    return imagecodecs.png_encode(values)


def pgm(values, highest):
    height, width = values.shape
    return f"P5 {width} {height} {highest}\n".encode() + values.astype(">u2" if highest > 255 else "u1").tobytes()


def scaled(values, bits):
    """To 8 bits, in exact integers, with rounding."""
    highest = 2**bits - 1
    return (values.astype(np.int64) * 510 + highest) // (2 * highest)


GREYS = {
    "PNG, 16 bits": (16, grey_png(DEEP_HW), imagecodecs.png_decode),
    "TIFF, 16 bits": (16, tiff(DEEP_HW), imagecodecs.tiff_decode),
    "TIFF, 16 bits, other byte order": (16, tiff(DEEP_HW, byteorder=">"), imagecodecs.tiff_decode),
    "TIFF, 16 bits, LZW": (16, tiff(DEEP_HW, compression="lzw"), imagecodecs.tiff_decode),
    "TIFF, 16 bits, deflate with differences": (
        16, tiff(DEEP_HW, compression="zlib", predictor=True), imagecodecs.tiff_decode
    ),
    "BigTIFF, 16 bits": (16, tiff(DEEP_HW, bigtiff=True), imagecodecs.tiff_decode),
    "TIFF, 12 bits": (12, packed_tiff(DEEP_HW >> 4, 12), lambda _: DEEP_HW >> 4),
    "PGM, 16 bits": (16, pgm(DEEP_HW, 65535), lambda _: DEEP_HW),
    "PGM, 12 bits": (12, pgm(DEEP_HW >> 4, 4095), lambda _: DEEP_HW >> 4),
    **{
        f"JPEG 2000, {bits} bits": (
            bits, imagecodecs.jpeg2k_encode(DEEP_HW >> (16 - bits), level=0, bitspersample=bits),
            imagecodecs.jpeg2k_decode,
        )
        for bits in (10, 12, 16)
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", GREYS)
def test_grey_of_more_than_8_bits_has_the_values_of_another_decoder(kind):
    bits, content, decoder = GREYS[kind]
    expected_HW = scaled(decoder(content), bits)
    image_HW3 = np.asarray(decode_rgb(content, "a.png"))
    assert np.abs(image_HW3[..., 0] - expected_HW).max() <= (1 if "JPEG" in kind or "PGM" in kind else 0)
    assert (image_HW3 == image_HW3[..., :1]).all()
    assert (image_HW3.min(), image_HW3.max()) == (0, 255)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_zero_is_white_is_inverted(bits):
    values = DEEP_HW if bits == 16 else (DEEP_HW >> 8).astype(np.uint8)
    content = tiff(values, photometric="miniswhite")
    assert np.array_equal(np.asarray(decode_rgb(content, "a.tif"))[..., 0], 255 - scaled(values, bits))


COLOURS = {
    "PNG, 8 bits": (8, lambda v: imagecodecs.png_encode(v), imagecodecs.png_decode),
    "PNG, 16 bits": (16, lambda v: imagecodecs.png_encode(v), imagecodecs.png_decode),
    "TIFF, 8 bits": (8, lambda v: tiff(v, photometric="rgb"), imagecodecs.tiff_decode),
    "TIFF, 16 bits": (16, lambda v: tiff(v, photometric="rgb"), imagecodecs.tiff_decode),
    "TIFF, 16 bits, LZW": (16, lambda v: tiff(v, photometric="rgb", compression="lzw"), imagecodecs.tiff_decode),
    "WebP": (8, lambda v: imagecodecs.webp_encode(v, lossless=True), imagecodecs.webp_decode),
    "BMP": (8, lambda v: imagecodecs.bmp_encode(v), imagecodecs.bmp_decode),
    "JPEG": (8, lambda v: imagecodecs.jpeg_encode(v, level=95), imagecodecs.jpeg_decode),
    "JPEG 2000": (8, lambda v: imagecodecs.jpeg2k_encode(v, level=0), imagecodecs.jpeg2k_decode),
}


@pytest.mark.parametrize("kind", COLOURS)
def test_colours_have_the_values_of_another_decoder(kind):
    bits, encode, decoder = COLOURS[kind]
    content = encode(DEEP_HW3 if bits == 16 else (DEEP_HW3 >> 8).astype(np.uint8))
    expected_HW3 = scaled(decoder(content), bits)
    difference = np.asarray(decode_rgb(content, "a.png")).astype(int) - expected_HW3
    assert np.abs(difference).max() <= (2 if kind == "JPEG" else 0)


DARK_HW3 = DEEP_HW3 >> 6  # colours of 10 bits in 16
WITH_ALPHA_HW4 = np.concatenate([DARK_HW3, np.full((24, 32, 1), 65535, np.uint16)], axis=2)
DARK_COLOURS = {
    "PNG": imagecodecs.png_encode(DARK_HW3),
    "PNG with alpha": imagecodecs.png_encode(WITH_ALPHA_HW4),
    "TIFF": tiff(DARK_HW3, photometric="rgb"),
    "TIFF, other byte order": tiff(DARK_HW3, photometric="rgb", byteorder=">"),
    "TIFF, deflate with differences": tiff(DARK_HW3, photometric="rgb", compression="zlib", predictor=True),
    "TIFF in tiles": tiff(DARK_HW3, photometric="rgb", tile=(16, 16)),
    "TIFF with alpha": tiff(WITH_ALPHA_HW4, photometric="rgb", extrasamples=["unassalpha"], compression="lzw"),
    "TIFF in planes": tiff(np.moveaxis(DARK_HW3, 2, 0), photometric="rgb", planarconfig="separate"),
    "TIFF in planes, deflate": tiff(
        np.moveaxis(DARK_HW3, 2, 0), photometric="rgb", planarconfig="separate", compression="zlib"
    ),
}


@pytest.mark.parametrize("kind", DARK_COLOURS)
def test_colours_that_use_part_of_16_bits_keep_all_their_values(kind):
    assert span_of(DARK_COLOURS[kind], "a.png", (0, 100)) == (0, 1023)
    image = decode_rgb(DARK_COLOURS[kind], "a.png", Rules(levels=Levels(low=0, high=1023)))
    assert np.array_equal(np.asarray(image), scaled(DARK_HW3, 10))


def test_grey_of_16_bits_with_alpha_keeps_its_values_where_it_can_be_seen():
    values_HW2 = np.stack([1000 + (DEEP_HW >> 6), np.full_like(DEEP_HW, 65535)], axis=2)
    values_HW2[0] = 0  # transparent, and black below
    content = imagecodecs.png_encode(values_HW2)
    assert span_of(content, "a.png", (0, 100)) == (1000 + (DEEP_HW[1, 0] >> 6), 2023)
    image_HW = np.asarray(decode_rgb(content, "a.png", Rules(levels=Levels(low=1000, high=2023))))[..., 0]
    assert (image_HW[0] == 255).all()
    assert np.array_equal(image_HW[1:], scaled(DEEP_HW[1:] >> 6, 10))


def test_planes_of_16_bits_need_the_extra(monkeypatch):
    monkeypatch.setattr("transferlab.core.data.decoding.tiff.find_spec", lambda _: None)
    with pytest.raises(UnusableImageError, match=r"a plane of more than 8 bits for each colour.*transferlab\[tiff\]"):
        decode_rgb(DARK_COLOURS["TIFF in planes"], "a.tif")


@pytest.mark.parametrize("dtype", ["i1", "i2", "i4", "u4", "f4", "f8", "u8"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_numbers_with_or_without_a_sign_are_in_order_and_inverted_where_zero_is_white(dtype, photometric):
    values = np.array([[0, 30, 60, 120]], dtype) - np.array(0 if "u" in dtype else 20, dtype)
    content = tiff(values.repeat(2, axis=0), photometric=photometric)
    low, high = span_of(content, "a.tif", (0, 100))
    assert high - low == 120
    row = np.asarray(decode_rgb(content, "a.tif", Rules(levels=Levels(low=low, high=high))))[0, :, 0]
    assert row.tolist() == ([0, 64, 128, 255] if photometric == "minisblack" else [255, 191, 127, 0])


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_as_light_with_channels_chosen(bits):
    content = packed_tiff(DEEP_HW >> (16 - bits), bits)
    for levels in (None, Levels(channels=(1,))):
        image_HW = np.asarray(decode_rgb(content, "a.tif", Rules(levels=levels)))[..., 0]
        assert np.array_equal(image_HW, scaled(DEEP_HW >> (16 - bits), bits))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_what_pillow_reads_wrongly_is_refused(bits):
    content = imagecodecs.jpeg2k_encode(DEEP_HW3 >> (16 - bits), level=0, bitspersample=bits)
    with pytest.raises(UnusableImageError, match=f"colours of {bits} bits.*convert it to PNG"):
        decode_rgb(content, "a.jp2")


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.uint32, np.int32, np.float32])
def test_any_numbers_become_grey_by_given_levels(dtype):
    values = np.array([[0, 100, 150, 200, 300]], dtype)
    content, levels = tiff(values), Levels(low=100, high=200)
    image = decode_rgb(content, "a.tif", Rules(levels=levels))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert span_of(content, "a.tif", (0, 100)) == (0, 300)
    assert np.asarray(decode_rgb(content, "a.tif", Rules(levels=Levels())))[0, :, 0].tolist() == [0, 85, 128, 170, 255]


def test_large_unsigned_numbers_are_not_negative():
    content = tiff(np.array([[0, 2**31, 2**32 - 1]], np.uint32))
    image = decode_rgb(content, "a.tif", Rules(levels=Levels(low=0, high=2**32 - 1)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 128, 255]


def test_what_is_no_number_is_black_and_a_flat_image_is_no_error():
    content = tiff(np.array([[np.nan, -np.inf, 0, 1, np.inf]], np.float32))
    assert np.asarray(decode_rgb(content, "a.tif", Rules(levels=Levels())))[0, :, 0].tolist() == [0, 0, 0, 255, 255]
    for flat in (np.zeros((2, 2), np.float32), np.full((2, 2), np.nan, np.float32)):
        assert np.asarray(decode_rgb(tiff(flat), "a.tif", Rules(levels=Levels()))).max() == 0


def test_levels_turn_with_exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    file = BytesIO()
    Image.fromarray(DEEP_HW).save(file, "PNG", exif=exif)
    turned = np.asarray(decode_rgb(file.getvalue(), "a.png"))[..., 0]
    assert np.array_equal(turned, np.rot90(scaled(DEEP_HW, 16), -1))


def test_the_range_of_a_data_set_spans_its_files_and_that_of_a_file_is_its_own():
    assert settled("dataset", [(5.0, 9.0), (3.0, 7.0)]) == Levels(low=3, high=9)
    assert settled("dataset") is None
    assert settled("file") == Levels()
    assert settled((1.0, 2.0), [(5.0, 9.0)]) == Levels(low=1, high=2)
    assert settled(Percentiles(of="file", low=1, high=99)) == Levels(percentiles=(1, 99))
    assert span_of(grey_png(np.arange(101, dtype=np.uint16)[None]), "a.png", (10, 90)) == (10, 90)
    assert span_of(grey_png(np.arange(101, dtype=np.uint8)[None]), "a.png", (10, 90)) is None


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros((8, 8, 5), np.uint16), "5 samples of 16 bits"),
        (np.zeros((8, 8, 3), np.float32), "3 samples of 32 bits"),
        (np.zeros((8, 8), np.float64), "1 sample of 64 bits"),
    ],
)
def test_a_tiff_that_pillow_does_not_read_is_told_of_by_what_is_in_it(values, told, monkeypatch):
    monkeypatch.setattr("transferlab.core.data.decoding.tiff.find_spec", lambda _: None)
    content = tiff(values, photometric="rgb" if values.shape[2:] == (3,) else "minisblack", planarconfig="contig")
    with pytest.raises(UnusableImageError, match=rf"TIFF with {told} a pixel.*transferlab\[tiff\]"):
        decode_rgb(content, "a.tif")


def test_a_heif_photograph_is_read_by_the_extra_and_told_of_without_it(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = BytesIO()
    values = np.stack([(DEEP_HW >> 8).astype(np.uint8)] * 3, axis=-1)
    pillow_heif.from_pillow(Image.fromarray(values)).save(file, quality=-1)
    for name in ("IMG_0001.HEIC", "sent as.jpg"):
        assert np.abs(np.asarray(decode_rgb(file.getvalue(), name)).astype(int) - values).max() <= 2
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    with pytest.raises(UnusableImageError, match=r"pip install 'transferlab\[heif\]'"):
        decode_rgb(file.getvalue(), "IMG_0001.HEIC")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jxl", b"\xff\x0a" + bytes(20), "JPEG XL"),
        ("a.nef", tiff(DEEP_HW), "raw photograph"),
        ("a.dcr", tiff((DEEP_HW3 >> 8).astype(np.uint8), photometric="rgb"), "raw photograph"),
        ("a.DNG", tiff((DEEP_HW3 >> 8).astype(np.uint8), photometric="rgb"), "raw photograph"),
        ("a.heic", b"", "empty"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(9), "DICOM image.* with pydicom"),
        ("sent as.png", bytes(128) + b"DICM" + bytes(9), "DICOM image.* with pydicom"),
        ("a.psd", b"8BPS" + bytes(40), "image of Photoshop.* with psd-tools"),
        ("a.EXR", b"v/1\1" + bytes(40), "high dynamic range"),
        ("a.svs", b"II*\0" + bytes(9), "whole slide.* with OpenSlide"),
    ],
)
def test_photographs_that_others_read_are_told_of(name, content, told):
    with pytest.raises(UnusableImageError, match=told):
        decode_rgb(content, name)
