from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferlab.core.decode import UnusableImageError, decode

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (20, 30, 3), np.uint8)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def test_rgb_is_as_it_is(tmp_path):
    image_HWC = decode(saved(tmp_path / "a.png", Image.fromarray(PHOTO)))
    assert image_HWC.dtype == np.uint8
    assert np.array_equal(image_HWC, PHOTO)


def test_exif_turns_it(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    path = saved(tmp_path / "a.png", Image.fromarray(PHOTO), exif=exif)
    assert np.array_equal(decode(path), np.rot90(PHOTO, -1))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, suffix):
    grey_HW = np.array([[0, 128, 257, 32768, 65534, 65535]], np.uint16)
    image_HWC = decode(saved(tmp_path / f"a.{suffix}", Image.fromarray(grey_HW)))
    assert image_HWC[0, :, 0].tolist() == [0, 0, 1, 128, 255, 255]
    assert (image_HWC == image_HWC[..., :1]).all()


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


def test_other_contents_are_no_images(tmp_path):
    for content, message in [(b"", "is empty"), (b"<html></html>", "no image of a known format")]:
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
    header = BytesIO()
    Image.new("1", (10_000, 10_000)).save(header, "PNG")
    (tmp_path / "a.png").write_bytes(header.getvalue())
    with pytest.raises(UnusableImageError, match="implausibly many pixels"):
        decode(tmp_path / "a.png")


def test_pixels_of_unknown_scale_are_no_image(tmp_path):
    with pytest.raises(UnusableImageError, match="'F'"):
        decode(saved(tmp_path / "a.tif", Image.fromarray(np.zeros((2, 2), np.float32))))


def test_a_placeholder_needs_both_the_name_and_the_look(tmp_path):
    drawing = Image.new("RGB", (100, 100), (246, 246, 246))
    drawing.paste((60, 60, 60), (20, 40, 80, 50))
    with pytest.raises(UnusableImageError, match="placeholder"):
        decode(saved(tmp_path / "imageNotFound.png", drawing))
    assert decode(saved(tmp_path / "digit_one.png", drawing)).shape == (100, 100, 3)
    assert decode(saved(tmp_path / "not_found_in_books.png", Image.fromarray(PHOTO))).shape == PHOTO.shape
