"""PNG files whose pixels are sound and whose other parts are not, or are too much for PIL."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from transferlab.core.data.decoding.decode import UnusableImageError, decode_rgb

PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
LARGE = bytes(3 << 20)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_part(part, pixels=PHOTO):
    """A PNG with one more part before its pixels."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    at = file.getvalue().index(b"IDAT") - 4
    return file.getvalue()[:at] + part + file.getvalue()[at:]


def png_of(depth, colour, rows, transparent):
    """A PNG of one row with the samples' bits, PNG's number of the kind of colour, and a transparent colour."""
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), depth, colour, 0, 0, 0)
    bits = ["".join(f"{sample:0{depth}b}" for pixel in row for sample in pixel) for row in rows]
    packed = b"".join(
        b"\0" + int(row.ljust(-(-len(row) // 8) * 8, "0"), 2).to_bytes(-(-len(row) // 8), "big") for row in bits
    )
    parts = [(b"IHDR", header), (b"tRNS", transparent), (b"IDAT", zlib.compress(packed)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


@pytest.mark.parametrize("rest", [bytes(512), b"\0" * 100_000, b"a second file", chunk(b"tEXt", b"a\0b")])
def test_what_follows_the_end_does_not_matter(rest):
    assert np.array_equal(decode_rgb(with_part(b"") + rest, "a.png"), PHOTO)


@pytest.mark.parametrize(
    "part",
    [
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(LARGE)),
        chunk(b"zTXt", b"comment\0\0" + zlib.compress(LARGE)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(LARGE)),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0en\0\0" + LARGE),
        chunk(b"tEXt", b"comment\0" + LARGE),
        b"".join(chunk(b"tEXt", b"comment %d\0" % number + bytes(1_000_000)) for number in range(70)),
        chunk(b"zTXt", b"comment\0\0never packed"),
        chunk(b"gAMA", b"\0"),
        chunk(b"pHYs", b""),
        chunk(b"eXIf", b"junk"),
        chunk(b"\xff\xfe\xfd\xfc", b"no name"),
    ],
    ids=["profile", "compressed text", "compressed XMP", "XMP", "text", "many texts", "malformed text", "gamma", "size",
         "EXIF", "no name"],
)  # fmt: skip
def test_what_pixels_do_not_depend_on_may_be_large_or_malformed(part):
    assert np.array_equal(decode_rgb(with_part(part), "a.png"), PHOTO)


@pytest.mark.parametrize("kind", [b"tEXt", b"gAMA", b"eXIf"])
def test_a_wrong_checksum_is_named_with_its_part(kind):
    part = chunk(kind, b"abcd")[:-1] + b"?"
    with pytest.raises(UnusableImageError, match=f"checksum of its part '{kind.decode()}'"):
        decode_rgb(with_part(part), "a.png")


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white_at_every_depth(depth):
    most = 2**depth - 1
    image = png_of(depth, 0, [[(0,), (most,)]], struct.pack(">H", 0))
    assert np.array(decode_rgb(image, "a.png")).tolist() == [[[255] * 3, [255] * 3]]
    image = png_of(depth, 0, [[(0,), (most,)]], struct.pack(">H", most))
    assert np.array(decode_rgb(image, "a.png")).tolist() == [[[0] * 3, [255] * 3]]


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_is_white_at_every_depth(depth):
    unit = 1 if depth == 8 else 257
    colour, other = (10 * unit, 20 * unit, 30 * unit), (10 * unit, 20 * unit, 40 * unit)
    image = png_of(depth, 2, [[colour, other]], struct.pack(">3H", *colour))
    assert np.array(decode_rgb(image, "a.png")).tolist() == [[[255, 255, 255], [10, 20, 40]]]
