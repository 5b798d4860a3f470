"""The parts of a PNG file (PNG specification, third edition, 5.3): checked, and without what no pixel depends on."""

from __future__ import annotations

import zlib

from transferlab.core.data.decoding.errors import UnusableImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Parts beside the critical ones on which pixels, their number or their orientation depend.
_NEEDED = {b"tRNS", b"eXIf", b"acTL", b"fcTL", b"fdAT"}
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}  # where XMP, and other programs, keep the orientation
_EXIF_STARTS = (b"II*\0", b"MM\0*", b"Exif\0\0")
MOST_BYTES_OF_TEXT = 1 << 20  # PIL refuses the whole image where a text unpacks to more
MOST_BYTES_OF_TEXTS = 16 << 20  # and where all of them do to more than 64 MB


def sound_png(data: bytes) -> bytes:
    """Return a PNG up to its end mark, without what no pixel depends on: it may be too large for PIL, or malformed.

    PIL does not compare the checksums of all parts, and takes a file with a wrong one in a text for no PNG at all.

    Raises:
        UnusableImageError: the checksum of a part is not that of its content; the message names the part.
    """
    view, at, texts = memoryview(data), len(SIGNATURE), 0
    kept: list[bytes | memoryview] = [view[:at]]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if end > len(data):
            break  # truncated: PIL says so
        content = view[at + 8 : end - 4]
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            name = kind.decode("ascii", "backslashreplace")
            raise UnusableImageError(f"It is damaged: the checksum of its part {name!r} is not that of its content.")
        size = _unpacked(kind, bytes(content)) if kind in _TEXTS else None
        if size is not None and size <= MOST_BYTES_OF_TEXT and texts + size <= MOST_BYTES_OF_TEXTS:
            kept.append(view[at:end])
            texts += size
        elif kind[:1].isupper() or (
            kind in _NEEDED and (kind != b"eXIf" or bytes(content[:6]).startswith(_EXIF_STARTS))
        ):
            kept.append(view[at:end])
        at = end
        if kind == b"IEND":
            return b"".join(kept)
    return b"".join([*kept, view[at:]])


def bit_depth(data: bytes) -> int:
    """Return the bits of a sample (of a colour or of a palette's index), from the header."""
    return data[24]


def _unpacked(kind: bytes, content: bytes) -> int | None:
    """Return the bytes of a text, of which at most one more than PIL takes is unpacked; None where it is malformed."""
    _, mark, rest = content.partition(b"\0")
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return len(rest) if mark else None
    packed = rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else rest[1:]  # after the language and the keyword in it
    try:
        return len(zlib.decompressobj().decompress(packed, MOST_BYTES_OF_TEXT + 1))
    except zlib.error:
        return None
