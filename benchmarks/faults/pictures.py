"""How bad and odd image files are made."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.faults.attempt import photo
from transferlab.core.data.decoding.decode import decode_rgb

# A suffix, a file's content, and how it should look where that is to be compared.
Made = tuple[str, bytes] | tuple[str, bytes, Image.Image]
Make = Callable[[np.random.Generator], Made]
STILLS = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".gif": "GIF", ".bmp": "BMP"}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Encode an image, as a file's content."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_of(width: int, height: int, rows: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Make a grey PNG whose header and data may disagree, with more chunks before the data."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    crc = [struct.pack(">I", zlib.crc32(kind + content)) for kind, content in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + end for (kind, content), end in zip(chunks, crc, strict=True)
    )


def cut(*suffixes: str) -> Make:
    """Files that end too early."""

    def make(rng: np.random.Generator) -> Made:
        suffix = suffixes[rng.integers(len(suffixes))]
        content = encoded(photo(rng), STILLS[suffix])
        return suffix, content[: rng.integers(len(content) // 10, len(content) * 9 // 10)], decode_rgb(content, "")

    return make


def flipped(suffix: str) -> Make:
    """Files with one other bit, after the header."""

    def make(rng: np.random.Generator) -> Made:
        content = bytearray(encoded(photo(rng), STILLS[suffix]))
        whole = decode_rgb(bytes(content), "")
        content[rng.integers(len(content) // 4, len(content) - 20)] ^= 1 << int(rng.integers(8))
        return suffix, bytes(content), whole

    return make


def still(suffix: str, mode: str = "RGB", kind: str = "", **options: Any) -> Make:
    """Whole files of some kind and PIL mode."""
    return lambda rng: (suffix, encoded(photo(rng).convert(mode), kind or STILLS[suffix], **options))


def animated(suffix: str) -> Make:
    """Files of three images."""

    def make(rng: np.random.Generator) -> Made:
        more = [photo(rng), photo(rng)]
        return suffix, encoded(photo(rng), STILLS[suffix], save_all=True, append_images=more)

    return make


def turned(rng: np.random.Generator) -> Made:
    """Make a photograph that its EXIF data turn by a quarter."""
    exif, image = Image.Exif(), photo(rng)
    exif[0x0112] = 6
    return ".png", encoded(image, "PNG", exif=exif), image.transpose(Image.Transpose.ROTATE_270)


def deep_grey(rng: np.random.Generator) -> Made:
    """16 bits of grey."""
    return ".png", encoded(Image.fromarray(rng.integers(0, 65536, (30, 40)).astype(np.uint16)), "PNG")


def text_bomb(rng: np.random.Generator) -> Made:
    """Make a small picture with a comment of 100 MB."""
    return ".png", png_of(8, 8, bytes(9 * 8), (b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))))


def plain(suffix: str, content: bytes) -> Make:
    """Something else under an image's name."""
    return lambda rng: (suffix, content)


def noise(rng: np.random.Generator) -> Made:
    """Random bytes."""
    return ".jpg", rng.bytes(5_000)


WIDE = ((20_000, 20), (20, 20_000))
FAULTS: dict[str, tuple[int, Make]] = {
    "JPEG cut off": (30, cut(".jpg")),
    "PNG cut off": (30, cut(".png")),
    "WebP, TIFF, GIF or BMP cut off": (40, cut(".webp", ".tif", ".gif", ".bmp")),
    "PNG with a flipped bit": (50, flipped(".png")),
    "JPEG with a flipped bit": (50, flipped(".jpg")),
    "PNG whose data are too short": (5, lambda rng: (".png", png_of(50, 50, rng.bytes(100)))),
    "zero bytes": (5, plain(".jpg", b"")),
    "text under the name of an image": (5, plain(".jpg", b"no photograph\n")),
    "web page under the name of an image": (5, plain(".png", b"<html><body>404</body></html>")),
    "PostScript under the name of an image": (5, plain(".jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")),
    "random bytes": (20, noise),
    "animated GIF": (5, animated(".gif")),
    "animated WebP": (5, animated(".webp")),
    "TIFF of several pages": (5, animated(".tif")),
    "decompression bomb, 20,000 x 20,000 px": (2, lambda rng: (".png", png_of(20_000, 20_000, bytes(1_000)))),
    "decompression bomb in a PNG's comment": (2, text_bomb),
    "numbers without a scale (32-bit float TIFF)": (5, still(".tif", "F")),
    "GIF, one image": (5, still(".gif")),
    "WebP": (5, still(".webp")),
    "TIFF": (5, still(".tif")),
    "BMP": (5, still(".bmp")),
    "CMYK": (5, still(".jpg", "CMYK")),
    "16-bit grey": (5, deep_grey),
    "palette": (5, still(".png", "P")),
    "transparency": (5, still(".png", "RGBA")),
    "grey": (5, still(".jpg", "L")),
    "turned by EXIF": (5, turned),
    "1 x 1 px": (5, lambda rng: (".png", encoded(photo(rng, (1, 1)), "PNG"))),
    "20,000 px wide, and as tall": (6, lambda rng: (".png", encoded(photo(rng, WIDE[rng.integers(2)]), "PNG"))),
}
