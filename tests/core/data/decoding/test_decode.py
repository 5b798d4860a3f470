import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from transferlab.core.data.decoding.decode import Rules, UnusableImageError, decode, decode_rgb
from transferlab.core.data.listing.scan import IMAGE_SUFFIXES

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def png(width, height, rows, depth=8):
    """A PNG in RGB whose data are `rows`, right or not."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_rgb_is_as_it_is(tmp_path):
    image_HWC = decode(saved(tmp_path / "a.png", Image.fromarray(PHOTO)))
    assert image_HWC.dtype == np.uint8
    assert np.array_equal(image_HWC, PHOTO)


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [
        (1, PHOTO), (2, PHOTO[:, ::-1]), (3, PHOTO[::-1, ::-1]), (4, PHOTO[::-1]), (5, PHOTO.swapaxes(0, 1)),
        (6, np.rot90(PHOTO, -1)), (7, np.rot90(PHOTO, 2).swapaxes(0, 1)), (8, np.rot90(PHOTO)), (99, PHOTO),
    ],
)  # fmt: skip
def test_exif_turns_it(tmp_path, orientation, shown):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(PHOTO), exif=exif)
    assert np.array_equal(decode(path), shown)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    grey_HW = np.array([[0, 128, 257, 32768, 65534, 65535]], np.uint16)
    image_HWC = decode(saved(tmp_path / f"a.{suffix}", Image.fromarray(grey_HW)))
    assert image_HWC[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]
    assert (image_HWC == image_HWC[..., :1]).all()


def test_16_bit_colour_is_scaled_not_clipped(tmp_path):
    row = b"\0" + struct.pack(">6H", 0, 128, 32768, 40000, 65280, 65535)
    (tmp_path / "a.png").write_bytes(png(2, 1, row, depth=16))
    assert np.abs(decode(tmp_path / "a.png").astype(int) - [[[0, 0, 128], [156, 255, 255]]]).max() <= 1


def test_transparent_pixels_are_white(tmp_path):
    rgba = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    rgba.putpixel((1, 0), (0, 0, 0, 0))
    assert decode(saved(tmp_path / "a.png", rgba)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9, 0, 0, 255])
    palette.putpixel((1, 0), 1)
    assert decode(saved(tmp_path / "p.png", palette, transparency=0)).tolist() == [[[255, 255, 255], [0, 0, 255]]]
    grey = Image.new("LA", (1, 1), (0, 128))
    assert abs(int(decode(saved(tmp_path / "la.png", grey))[0, 0, 0]) - 127) <= 1


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("1", "png"), ("P", "gif"), ("CMYK", "jpg"), ("CMYK", "tif")]
)
def test_other_modes_become_rgb(tmp_path, mode, suffix):
    image = Image.new("RGB", (16, 16), (200, 200, 200)).convert(mode)
    expected = np.asarray(image.convert("RGB"))
    image_HWC = decode(saved(tmp_path / f"a.{suffix}", image))
    assert image_HWC.shape == (16, 16, 3)
    assert np.abs(image_HWC.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_a_truncated_file_is_no_image(tmp_path, suffix):
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(np.kron(PHOTO, np.ones((4, 4, 1), np.uint8))))
    decode(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(UnusableImageError, match="cannot be decoded"):
        decode(path)


def test_a_png_whose_data_are_short_or_altered_is_no_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png(50, 50, bytes(100)))
    with pytest.raises(UnusableImageError, match="truncated"):
        decode(path)
    whole = bytearray(saved(path, Image.fromarray(PHOTO)).read_bytes())
    end = len(whole) - 12  # where IEND begins: before it are the pixels' own checksum and that of their part
    for place in (*range(whole.index(b"IDAT") + 4, end, 97), *range(end - 12, end)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        with pytest.raises(UnusableImageError, match=r"cannot be decoded|damaged: the checksum of its part 'IDAT'"):
            decode(path)


def test_other_contents_are_no_images(tmp_path):
    for content, message in [
        (b"", "is empty"),
        (b"<html></html>", "no image of a known format but a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "`git lfs pull` fetches the file"),
    ]:
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(UnusableImageError, match=message):
            decode(tmp_path / "a.jpg")


def test_an_animation_is_no_image_but_a_phones_picture_with_its_preview_is(tmp_path):
    frames = [Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)) for _ in range(3)]
    for suffix in ("gif", "webp", "tif", "png"):
        path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
        with pytest.raises(UnusableImageError, match="3 frames"):
            decode(path)
    path = saved(tmp_path / "a.jpg", frames[0], format="MPO", save_all=True, append_images=frames[1:])
    assert Image.open(path).n_frames == 3
    assert decode(path).shape == (20, 30, 3)


def test_a_decompression_bomb_is_no_image(tmp_path):
    (tmp_path / "a.png").write_bytes(png(20_000, 20_000, bytes(1_000)))
    with pytest.raises(UnusableImageError, match=r"400,000,000 pixels.*dataset.max_pixels allows 178,956,970"):
        decode(tmp_path / "a.png")


def test_the_limit_of_pixels_is_one_number(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(PHOTO))
    assert decode(path, Rules(max_pixels=600)).shape == PHOTO.shape
    with pytest.raises(UnusableImageError, match=r"It has 600 pixels.*allows 599"):
        decode(path, Rules(max_pixels=599))
    assert decode(saved(tmp_path / "b.png", Image.new("1", (10_000, 10_000)))).shape == (10_000, 10_000, 3)


def test_threads_that_decode_leave_the_settings_of_the_process_as_they_were():
    file = BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), dtype=np.uint8)).save(file, format="PNG")
    before = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: decode_rgb(file.getvalue(), "a.png"), range(100)))
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == before


@pytest.mark.parametrize("size", [(1, 1), (20_000, 3), (3, 20_000)])
def test_the_smallest_and_the_widest_are_images(tmp_path, size):
    assert decode(saved(tmp_path / "a.png", Image.new("RGB", size))).shape == (size[1], size[0], 3)


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif", "webp", "ppm", "jp2", "avif", "tga"])
def test_what_the_listing_takes_for_an_image_is_decoded(tmp_path, suffix):
    assert f".{suffix}" in IMAGE_SUFFIXES
    if suffix == "avif" and "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    assert decode(saved(tmp_path / f"a.{suffix}", Image.fromarray(PHOTO))).shape == PHOTO.shape


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("jfi", "JPEG"), ("pjpeg", "JPEG"), ("insp", "JPEG"), ("mpo", "MPO"), ("j2k", "JPEG2000"), ("jpx", "JPEG2000"),
     ("apng", "PNG"), ("dib", "BMP")],
)  # fmt: skip
def test_so_is_what_has_one_of_a_formats_other_suffixes(tmp_path, suffix, kind):
    assert f".{suffix}" in IMAGE_SUFFIXES
    Image.fromarray(PHOTO).save(tmp_path / f"a.{suffix}", format=kind)
    assert decode(tmp_path / f"a.{suffix}").shape == PHOTO.shape


@pytest.mark.skipif(os.name != "posix", reason="scripts of POSIX")
def test_no_other_program_is_given_a_file_whatever_is_in_it(tmp_path, monkeypatch):
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {tmp_path / 'it_ran'}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    for name in ("a.jpg", "a.eps"):
        (tmp_path / name).write_bytes(postscript)
        with pytest.raises(UnusableImageError, match="no image of a known format"):
            decode(tmp_path / name)
    assert not (tmp_path / "it_ran").exists()


def test_a_format_without_a_signature_is_known_by_its_name_alone(tmp_path):
    saved(tmp_path / "a.tga", Image.fromarray(PHOTO)).rename(tmp_path / "a.jpg")
    with pytest.raises(UnusableImageError, match="no image of a known format"):
        decode(tmp_path / "a.jpg")


ENCODED = {}
for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
    encoded = BytesIO()
    Image.fromarray(PHOTO).save(encoded, kind)
    ENCODED[kind] = encoded.getvalue()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ENCODED)), st.data())
def test_any_damage_is_told_or_leaves_an_image(kind, data):
    content = bytearray(ENCODED[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content)) | st.just(len(content))) :]
    try:
        image = decode_rgb(bytes(content), "a.jpg", Rules(max_pixels=10_000))  # a header may ask for much memory
    except UnusableImageError as error:
        assert str(error).startswith("It")  # noqa: PT017 - both ways are right
    else:
        assert image.mode == "RGB"


def test_pixels_of_unknown_scale_are_no_image(tmp_path):
    with pytest.raises(UnusableImageError, match=r"numbers \(float32\).*set dataset.range"):
        decode(saved(tmp_path / "a.tif", Image.fromarray(np.zeros((2, 2), np.float32))))


def test_a_placeholder_needs_both_the_name_and_the_look(tmp_path):
    drawing = Image.new("RGB", (100, 100), (246, 246, 246))
    drawing.paste((60, 60, 60), (20, 40, 80, 50))
    with pytest.raises(UnusableImageError, match="placeholder"):
        decode(saved(tmp_path / "imageNotFound.png", drawing))
    assert decode(saved(tmp_path / "digit_one.png", drawing)).shape == (100, 100, 3)
    assert decode(saved(tmp_path / "not_found_in_books.png", Image.fromarray(PHOTO))).shape == PHOTO.shape
