"""The image formats that are ever tried, and the photographs of which another package, or program, would be needed."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from pathlib import PurePath

from PIL import Image, TiffImagePlugin

from transferlab.core.files.strangers import what_else

# All that is ever tried. PIL knows dozens more, and gives PostScript, whatever the file is called, to another program.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
NAMED_FORMATS = {".tga": "TGA"}  # has no signature: nearly anything could be one, so its name must say it

# Photographs that Pillow alone does not read: what they are, by suffix.
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif", ".heics", ".heifs"})
# JPEG XL (ISO/IEC 18181), JPEG XR (ITU-T T.832), sequences of AVIF.
OTHER_SUFFIXES = frozenset({".jxl", ".jxr", ".wdp", ".hdp", ".avifs"})
# Of cameras; the raw formats that LibRaw lists.
RAW_SUFFIXES = frozenset(
    {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef"}
    | {".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}
)
# Of instruments and picture editors: what they are, and what reads them.
SPECIAL = {
    **dict.fromkeys((".dcm", ".dicom"), ("a DICOM image", "pydicom")),
    **dict.fromkeys((".svs", ".ndpi", ".mrxs", ".scn"), ("a whole slide", "OpenSlide")),
    **dict.fromkeys((".czi", ".lif", ".nd2", ".oib", ".vsi"), ("an image of a microscope", "bioio or Bio-Formats")),
    **dict.fromkeys((".fits", ".fit", ".fts"), ("a FITS image", "astropy")),
    ".nii": ("a NIfTI image", "nibabel"),
    **dict.fromkeys((".exr", ".hdr"), ("an image of high dynamic range", "OpenImageIO")),
    **dict.fromkeys((".psd", ".psb"), ("an image of Photoshop", "psd-tools")),
    ".xcf": ("an image of GIMP", "GIMP"),
}
FOREIGN_SUFFIXES = HEIF_SUFFIXES | OTHER_SUFFIXES | RAW_SUFFIXES | SPECIAL.keys()

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF 6.0, section 2; BigTIFF
_BITS, _SAMPLES = 258, 277  # TIFF 6.0, section 8
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # ISO/IEC 23008-12, annex B
_JPEG_XL_STARTS = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


def formats_to_try(data: bytes, name: str) -> tuple[str, ...]:
    """Return PIL's names of the formats to try for a file, of those that are installed.

    None for a raw photograph: many are TIFFs, of which PIL would read the thumbnail.
    """
    Image.init()
    if PurePath(name).suffix.lower() in RAW_SUFFIXES:
        return ()
    wanted = [*FORMATS, NAMED_FORMATS.get(PurePath(name).suffix.lower(), "")]
    if _is_heif(data) and _can_read_heif():
        wanted.append("HEIF")
    return tuple(known for known in wanted if known in Image.OPEN)


def why_unknown(data: bytes, name: str) -> str:
    """Say why nothing that was tried reads a file."""
    suffix = PurePath(name).suffix.lower()
    if not data:
        return "Its content is empty."
    if what := what_else(data[:64]):
        return f"Its content is no image of a known format but {what}."
    if _is_heif(data):
        return "It is a HEIF photograph, which the extra 'heif' reads: pip install 'transferlab[heif]'."
    if data.startswith(_JPEG_XL_STARTS):
        return "It is a JPEG XL photograph, which cannot be read here: convert it to PNG or JPEG."
    if data[4:12] in {b"ftypavif", b"ftypavis"}:
        return "It is an AVIF photograph, which the installed Pillow cannot read: pip install --upgrade pillow."
    if suffix in RAW_SUFFIXES:
        return "It is a camera's raw photograph, which cannot be read here: develop it to PNG, TIFF or JPEG."
    if suffix in SPECIAL or data[128:132] == b"DICM":
        what, reader = SPECIAL.get(suffix, SPECIAL[".dcm"])
        return f"It is {what}, which cannot be read here: convert it to PNG or TIFF, with {reader} for example."
    if data[:4] in TIFF_STARTS:
        return _what_tiff(data)
    return "Its content is no image of a known format."


def _what_tiff(data: bytes) -> str:
    """Say what is in a TIFF that PIL does not read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            file = BytesIO(data)
            file.seek(directory.next)
            directory.load(file)
            bits = directory.get(_BITS, (1,))
            samples = directory.get(_SAMPLES, len(bits))
    except Exception:  # whatever is wrong with it, it is no TIFF that can be used
        return "It is a TIFF whose directory cannot be read."
    return (
        f"It is a TIFF with {samples} sample{'' if samples == 1 else 's'} of {bits[0]} bits a pixel, of a kind that "
        "Pillow does not read: the extra 'tiff' may (pip install 'transferlab[tiff]'), or save it as grey of 16 bits "
        "or 32-bit float, or as RGB of 8 bits."
    )


def heif_reader() -> str:
    """Name what reads HEIF, with its version, after a comma; empty where nothing does."""
    return f", pillow-heif {version('pillow-heif')}" if find_spec("pillow_heif") else ""


def _is_heif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def _can_read_heif() -> bool:
    """Have PIL read HEIF, if the extra is installed."""
    if find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False)
    return True
