"""The parts of a PNG file (PNG specification, third edition, 5.3): checked, and without what no pixel depends on."""

from __future__ import annotations

import zlib

from transferlab.core.data.decoding.errors import UnusableImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_BYTES_OF_TEXT = 1 << 20  # PIL refuses the whole image where a text or profile unpacks to more
COMPRESSED = {b"iCCP", b"zTXt", b"iTXt"}


def sound_png(data: bytes) -> bytes:
    """Return a PNG up to its end mark, without colour profiles and texts that are too large for PIL.

    PIL does not compare the checksums of all parts, and takes a file with a wrong one in a text for no PNG at all.

    Raises:
        UnusableImageError: the checksum of a part is not that of its content; the message names the part.
    """
    view, at = memoryview(data), len(SIGNATURE)
    kept: list[bytes | memoryview] = [view[:at]]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if end > len(data):
            break  # truncated: PIL says so
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            name = kind.decode("ascii", "backslashreplace")
            raise UnusableImageError(f"It is damaged: the checksum of its part {name!r} is not that of its content.")
        if kind not in COMPRESSED or not _is_too_large(kind, bytes(view[at + 8 : end - 4])):
            kept.append(view[at:end])
        at = end
        if kind == b"IEND":
            return b"".join(kept)
    return b"".join([*kept, view[at:]])


def bit_depth(data: bytes) -> int:
    """Return the bits of a sample (of a colour or of a palette's index), from the header."""
    return data[24]


def _is_too_large(kind: bytes, content: bytes) -> bool:
    """Tell whether a compressed part unpacks to more than PIL takes."""
    _, _, rest = content.partition(b"\0")
    if kind == b"iTXt":
        is_compressed = rest[:1] == b"\x01"
        text = rest[2:].split(b"\0", 2)[-1]  # after the language and the translated keyword
        if not is_compressed:
            return len(text) > MOST_BYTES_OF_TEXT
    else:
        text = rest[1:]
    try:
        return len(zlib.decompressobj().decompress(text, MOST_BYTES_OF_TEXT + 1)) > MOST_BYTES_OF_TEXT
    except zlib.error:
        return False  # PIL has an opinion on it
