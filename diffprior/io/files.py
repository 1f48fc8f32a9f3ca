"""Image files, read and written without loss. No file is overwritten unless it is forced."""

__all__ = [
    "LIMIT",
    "READABLE",
    "SUFFIXES",
    "File",
    "check_depth",
    "encode",
    "find",
    "read",
    "read_values",
    "write",
]

import glob
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from ..validation import shown, warn
from . import atomic, exif, extras, jpeg, png, tiff
from .arrays import ImageError, Images, as_images
from .decoding import Decoded, decode
from .metadata import NOTHING, Metadata, fitting
from .sources import describe, fetch

LIMIT = 2**28  # pixels
BYTES = 16  # that a file may have for each pixel of the limit: RGBA in 32-bit floats
ROOM = 2**26  # bytes that it may have beside them
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
SUFFIXES = tuple(FORMATS)  # of files that are written
READABLE = (*SUFFIXES, ".gif", ".apng", *extras.SUFFIXES)
OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
    "AVIF": {"quality": 95, "subsampling": "4:4:4"},
}
NO_ALPHA = ("JPEG", "BMP")
WIDE = ("PNG", "TIFF")  # formats of more than 8 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class File:
    """An image file.

    Attributes:
        name: The name for messages.
        images: The image, as a batch of one.
        metadata: What the file says beside the pixels, for an upright image.
        coding: How the file was compressed, if it is a JPEG file of a usual kind.
        uncoded: Why a JPEG file has no ``coding``.
    """

    name: str
    images: Images
    metadata: Metadata = NOTHING
    coding: jpeg.Coding | None = None
    uncoded: str | None = None

    @property
    def icc(self) -> bytes | None:
        """The ICC profile, or None."""
        return self.metadata.icc


def read(source: Path | BinaryIO, limit: int = LIMIT) -> File:
    """Return the first image of a PNG, JPEG, WebP, AVIF, TIFF, BMP or GIF file.

    HEIC, raw files of cameras and OpenEXR need the extra ``formats``. The image is turned upright
    by its EXIF orientation. 16 bits and floats are kept. Palettes become RGB or RGBA, and CMYK and
    Lab become sRGB. What is left out, such as further pages or damaged metadata, is said in a
    warning.

    Arguments:
        source: A path, or a binary stream that is read to its end.
        limit: The largest number of pixels that is decoded.

    Raises:
        ImageError: If the file cannot be read, has another format, is damaged, or is too large. No
            other error.
    """
    name, decoded = _decode(source, limit)
    try:
        images = as_images(decoded.values)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    return File(
        name=name,
        images=replace(images, orientation=decoded.orientation, lossy=decoded.lossy),
        metadata=decoded.metadata,
        coding=decoded.coding,
        uncoded=decoded.uncoded,
    )


def read_values(source: Path | BinaryIO, limit: int = LIMIT) -> np.ndarray:
    """Return the values in a file, ``(H, W)`` or ``(H, W, C)``; floats may have any range.

    All else is as in `read`.
    """
    return _decode(source, limit)[1].values


def _decode(source: Path | BinaryIO, limit: int) -> tuple[str, Decoded]:
    """Return the name of a file and what it holds, and warn of what is left out."""
    name = describe(source)
    suffix = Path(source if isinstance(source, Path) else name).suffix
    try:
        decoded = decode(fetch(source, BYTES * limit + ROOM), limit, suffix)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    for note in decoded.notes:
        warn(f"{name}: {note}")
    return name, decoded


def find(arguments: Sequence[str]) -> list[Path]:
    """Return the files that the arguments name, each once.

    An argument is a file, which need not exist; a folder, which stands for the images in it, in the
    order of their names; or a pattern with ``*``, ``**``, ``?`` or ``[]``, which stands for the
    images that match it.

    Raises:
        ImageError: If a folder holds no image or a pattern matches none.
    """
    return list(dict.fromkeys(path for argument in arguments for path in _matches(argument)))


def encode(
    values: np.ndarray,
    alpha: np.ndarray | None,
    suffix: str,
    metadata: Metadata | None = None,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of an image file.

    JPEG and AVIF are lossy (quality 95, 4:4:4). WebP stores gray as RGB. A 16-bit gray TIFF with
    alpha becomes RGBA. Floats stay in TIFF, and become 16 bits in PNG. An alpha or metadata that
    the format cannot hold is dropped with a warning.

    Arguments:
        values: Gray or RGB values of shape ``(H, W, 1)`` or ``(H, W, 3)``: uint8; for PNG and TIFF
            also uint16, float32 or float64.
        alpha: The opacity of shape ``(H, W)`` and the same dtype, or None.
        suffix: One of `SUFFIXES`, in upper or lower case.
        metadata: What the file is to say beside the pixels.
        text: Text entries of a PNG file, by name. The other formats drop them.

    Raises:
        ImageError: If the format is unknown or cannot hold the image.
    """
    kind = check_depth(values.dtype, suffix)
    channels = _channels(values, alpha, kind)
    about, lost = fitting(metadata or NOTHING, kind, channels)
    if metadata is not None and metadata.icc and not about.icc and values.shape[-1] < channels:
        lost = ["the color profile", *lost]
    if about.exif is not None:
        about = replace(about, exif=exif.upright(about.exif, values.shape[:2]))
    array = values
    if alpha is not None and kind not in NO_ALPHA:
        array = np.concatenate([values, alpha[..., None]], axis=-1)
    elif alpha is not None and (alpha < np.iinfo(alpha.dtype).max).any():
        lost = ["the alpha (transparency)", *lost]
    if kind == "PNG" and array.dtype.kind == "f":
        array = np.rint(65535 * array.clip(0, 1)).astype(np.uint16)
        warn(f"floating-point values are rounded to 16 bits in {suffix}; .tif keeps them")
    if lost:
        warn(f"{suffix} cannot hold {', '.join(lost)}; dropped")
    try:
        if kind == "PNG":
            return png.encode(array, about, text or {})
        return tiff.encode(array, about) if kind == "TIFF" else _by_pillow(array, kind, about)
    except (OSError, ValueError, RuntimeError, struct.error) as error:
        raise ImageError(f"the image cannot be written as {kind}: {error}") from error


def _channels(values: np.ndarray, alpha: np.ndarray | None, kind: str) -> int:
    """Return the number of channels that a format stores: some repeat gray."""
    is_repeated = kind == "TIFF" and alpha is not None and values.dtype != np.uint8
    return 3 if kind == "WEBP" or is_repeated else values.shape[-1]


def check_depth(dtype: np.dtype, suffix: str) -> str:
    """Return the format of a suffix, and check that it can hold values of a dtype."""
    kind = FORMATS.get(suffix.lower())
    if kind is None:
        raise ImageError(f"{suffix or 'no suffix'} is no format; use one of {' '.join(SUFFIXES)}")
    if dtype != np.uint8 and (dtype not in (np.uint16, np.float32, np.float64) or kind not in WIDE):
        accepted = "uint8 fits, and uint16 and floats into PNG (.png) and TIFF (.tif)"
        raise ImageError(f"{dtype} values do not fit into {suffix}; {accepted}")
    return kind


def write(data: atomic.Data, path: Path, force: bool = False) -> None:
    """Write a file completely or not at all.

    Arguments:
        data: The bytes of the file, or a function that yields them piece by piece.
        path: Where to write it.
        force: Whether an existing file is overwritten.

    Raises:
        ImageError: If the file exists (without force) or cannot be written.
    """
    try:
        atomic.place(data, path, force)
    except FileExistsError as error:
        raise ImageError(f"{shown(path)} exists; use --force to overwrite it") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{shown(path)} cannot be written: {reason}") from error


def _matches(argument: str) -> list[Path]:
    if not argument:
        raise ImageError("an empty name is no image; give a file, a folder or a pattern")
    path = Path(argument)
    if path.is_dir():
        matches = list(path.iterdir())
    elif path.exists() or not any(sign in argument for sign in "*?["):
        return [path]
    else:
        matches = [Path(match) for match in glob.glob(argument, recursive=True)]
    chosen = sorted(p for p in matches if p.suffix.lower() in READABLE and p.name[0] != ".")
    if not chosen:
        raise ImageError(f"{shown(argument)}: no image there ({' '.join(SUFFIXES)} and others)")
    return chosen


def _by_pillow(array: np.ndarray, kind: str, about: Metadata) -> bytes:
    options = OPTIONS.get(kind, {}) | {"icc_profile": about.icc, "xmp": about.xmp}
    if about.exif is not None:
        options["exif"] = b"Exif\0\0" + about.exif if kind == "JPEG" else about.exif
    if about.dpi is not None:
        options["dpi"] = about.dpi
    if about.iptc is not None:
        options["extra"] = jpeg.segment_of_iptc(about.iptc)
    file = BytesIO()
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    image.save(file, kind, **{k: v for k, v in options.items() if v is not None})
    return file.getvalue()
