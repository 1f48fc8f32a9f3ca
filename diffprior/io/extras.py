"""Formats that need the extra ``formats``: HEIC, camera raw and OpenEXR."""

from collections.abc import Callable
from importlib import import_module
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from . import exif
from .metadata import Metadata, attempt
from .tiff import unpremultiplied

__all__ = ["SUFFIXES", "Reader", "reader"]

HEIC = (".heic", ".heif", ".hif")
RAW = (".dng", ".cr2", ".cr3", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
SUFFIXES = (*HEIC, *RAW, ".exr")
BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
RAW_HEADS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
TIFF = (b"II*\0", b"MM\0*")
DNG = 50706  # the tag of a version of DNG

Reader = Callable[[bytes, int, list[str]], tuple[np.ndarray, Metadata, int]]


def reader(data: bytes, suffix: str) -> Reader | None:
    """Return the function that reads a file of such a format, None if it is of none.

    The function takes the bytes, the largest number of pixels and a list of notes. It returns the
    values ``(H, W, C)``, the metadata, and the orientation of these values.

    Arguments:
        data: The bytes of the file.
        suffix: The suffix of its name; some raw files are TIFF files by their first bytes.
    """
    if data[4:8] == b"ftyp":
        if data[8:12] == b"crx ":
            return _raw
        return _heic if data[8:12] in BRANDS and b"avif" not in data[8:64] else None
    if data[:4] == b"v/1\x01":
        return _exr
    is_raw = data.startswith(RAW_HEADS) or data[8:10] == b"CR"
    is_tiff = data[:4] in TIFF
    return _raw if is_raw or (is_tiff and (suffix in RAW or _is_dng(data))) else None


def _is_dng(data: bytes) -> bool:
    try:
        return DNG in exif.Directories(data).first
    except ImageError:
        return False


def _module(name: str, kind: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImageError(
            f"it is {kind}, for which a package is missing: pip install 'diffprior[formats]'"
        ) from error


def _check(height: int, width: int, limit: int) -> None:
    if height * width > limit:
        raise Image.DecompressionBombError


def _heic(data: bytes, limit: int, notes: list[str]) -> tuple[np.ndarray, Metadata, int]:
    """Read a HEIC file, in 16 bits if it has more than 8; its orientation is done by the reader."""
    heif = _module("pillow_heif", "a HEIC image").open_heif(data, convert_hdr_to_8bit=False)
    _check(heif.size[1], heif.size[0], limit)
    if len(heif) > 1:
        notes.append(f"it holds {len(heif)} images; only the first is worked on")
    info = heif.info
    block = info.get("exif") or b""
    about = Metadata(
        icc=info.get("icc_profile"),
        exif=block.removeprefix(b"Exif\0\0") or None,
        xmp=info.get("xmp"),
    )
    return np.atleast_3d(np.asarray(heif)), about, 1


def _raw(data: bytes, limit: int, notes: list[str]) -> tuple[np.ndarray, Metadata, int]:
    """Develop a raw file with the white balance of the camera, in sRGB and 16 bits, upright."""
    rawpy = _module("rawpy", "a raw file of a camera")
    with rawpy.imread(BytesIO(data)) as raw:
        _check(raw.sizes.height, raw.sizes.width, limit)
        values = raw.postprocess(use_camera_wb=True, output_bps=16)
    notes.append("it is developed with the white balance of the camera, in sRGB")
    is_tiff = data[:4] in TIFF
    block = attempt("exif", lambda: exif.of_tiff(data), notes) if is_tiff else None
    return values, Metadata(exif=block), 1


def _exr(data: bytes, limit: int, notes: list[str]) -> tuple[np.ndarray, Metadata, int]:
    """Read the colors and the alpha of an OpenEXR file, from linear light to sRGB, as float32."""
    open_exr = _module("OpenEXR", "an OpenEXR image").File
    low, high = open_exr(BytesIO(data), header_only=True).header()["dataWindow"]
    _check(int(high[1] - low[1]) + 1, int(high[0] - low[0]) + 1, limit)
    with open_exr(BytesIO(data)) as file:
        channels = {name: np.asarray(c.pixels) for name, c in file.channels().items()}
    name = next((name for name in ("RGBA", "RGB", "Y") if name in channels), None)
    if name is None:
        raise ImageError(f"it has the channels {', '.join(channels)[:60]}; give RGB, RGBA or Y")
    linear = np.atleast_3d(channels[name]).astype(np.float32)
    values, alpha = linear[..., :3], linear[..., 3:]
    if not np.isfinite(linear).all() or values.min() < 0 or values.max() > 1:
        raise ImageError(
            f"its light is from {values.min():g} to {values.max():g}; tone-map it to [0, 1]"
        )
    if name == "RGBA":  # whose colors are premultiplied in this format
        values = unpremultiplied(values, alpha)
    notes.append("its linear light is coded as sRGB")
    coded = np.where(values <= 0.0031308, 12.92 * values, 1.055 * values ** (1 / 2.4) - 0.055)
    made = np.concatenate([coded, alpha], axis=-1).clip(0, 1).astype(np.float32)
    return made, Metadata(), 1
