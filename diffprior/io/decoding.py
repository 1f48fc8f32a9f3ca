"""The bytes of an image file, decoded: values, metadata, and notes on what is left out."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import ImageError
from . import exif, extras, jpeg, png, tiff
from .arrays import is_lossy, pil_array, upright
from .metadata import Metadata, attempt, settled

__all__ = ["NAMES", "Decoded", "decode"]

READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
NAMES = "PNG, JPEG, WebP, AVIF, TIFF, BMP or GIF"
HEADS = {
    png.SIGNATURE: "PNG",
    b"\xff\xd8": "JPEG",
    b"RIFF": "WEBP",
    b"BM": "BMP",
    b"GIF8": "GIF",
    **dict.fromkeys(tiff.MAGIC, "TIFF"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """A decoded file.

    Attributes:
        values: The values and the alpha, upright, ``(H, W)`` or ``(H, W, C)``.
        metadata: What it says beside them, for an upright image.
        coding: How it was compressed, if it is a JPEG file of a usual kind.
        uncoded: Why a JPEG file has no ``coding``.
        notes: What was left out or changed, one sentence each, which begins with "it" or "its".
        orientation: The EXIF orientation that it was stored in, from 1 (upright) to 8.
        lossy: Whether it was compressed with loss.
    """

    values: np.ndarray
    metadata: Metadata
    coding: jpeg.Coding | None = None
    uncoded: str | None = None
    notes: tuple[str, ...] = ()
    orientation: int = 1
    lossy: bool = False


def decode(data: bytes, limit: int, suffix: str = "") -> Decoded:
    """Return what the bytes of an image file hold.

    Arguments:
        data: The bytes.
        limit: The largest number of pixels that is decoded.
        suffix: The suffix of the file's name, by which some raw files are told from TIFF.

    Raises:
        ImageError: If they are of no known format, damaged, or of more pixels. No other error.
    """
    notes: list[str] = []
    try:
        with _at_most(limit):
            reader = extras.reader(data, suffix.lower()) or _by_pillow
            decoded = reader(data, limit, notes)
        if isinstance(decoded, tuple):
            values, about, turn = decoded
            decoded = _described(upright(values, turn, axes=(0, 1)), about, turn, notes)
        return replace(decoded, notes=tuple(notes))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"it is larger than the limit of {limit} pixels; --max-pixels sets another"
        ) from error
    except MemoryError as error:
        raise ImageError("it is too large for the memory of this machine") from error
    except UnidentifiedImageError as error:
        raise ImageError(_unknown(data)) from error
    except Exception as error:  # decoders raise anything on damaged data
        reason = " ".join(str(error).split())[:100]
        raise ImageError(f"it is damaged or cut short ({reason})") from error


def _unknown(data: bytes) -> str:
    kind = _format(data)
    if kind is None:
        return f"it is no {NAMES} image"
    return f"it is damaged or cut short, or a kind of {kind} that is not read; save it as PNG"


def _format(data: bytes) -> str | None:
    """Return the format that the first bytes show."""
    if data[4:8] == b"ftyp":
        return "AVIF"
    return next((name for head, name in HEADS.items() if data.startswith(head)), None)


@contextmanager
def _at_most(limit: int) -> Iterator[None]:
    """Make Pillow refuse more than `limit` pixels, and silence its other warnings.

    Pillow takes the limit from a global variable, which is restored afterwards.
    """
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = limit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _by_pillow(data: bytes, limit: int, notes: list[str]) -> Decoded:
    kind = _format(data)
    bare = {"PNG": png.pixels_only, "JPEG": jpeg.pixels_only, "TIFF": tiff.pixels_only}
    stripped = bare[kind](data) if kind in bare else data
    try:
        image = _open(stripped, kind)
    except UnidentifiedImageError:
        if kind != "TIFF":
            raise
        return _deep_tiff(data, limit, notes)
    _count(image, data, kind, notes)
    if isinstance(image, TiffImageFile) and _is_deep_tiff(image):
        return _deep_tiff(data, limit, notes)
    is_deep = kind == "PNG" and image.mode in ("LA", "RGB", "RGBA") and data[24] == 16
    image.load()
    about = _metadata(image, data, kind, notes)
    values = png.decode_deep(stripped) if is_deep else _values(image, about.icc, notes)
    if image.mode in ("CMYK", "LAB"):
        about = replace(about, icc=None)
    if kind == "TIFF":  # which Pillow turns itself
        turn = exif.orientation(data)
    else:
        turn = exif.orientation(about.exif, about.xmp)
        values = upright(values, turn, axes=(0, 1))
    decoded = replace(_described(values, about, turn, notes), lossy=is_lossy(image, data))
    if kind != "JPEG":
        return decoded
    return replace(decoded, coding=jpeg.read(image, turn), uncoded=jpeg.why_not(image))


def _open(data: bytes, kind: str | None) -> Image.Image:
    """Open an image; damaged EXIF, which Pillow parses at once in AVIF, does not stop that."""
    try:
        return Image.open(BytesIO(data), formats=READ)
    except UnidentifiedImageError:
        if kind != "AVIF":
            raise
    load = Image.Exif.load
    try:
        Image.Exif.load = lambda self, data: None  # type: ignore[method-assign]
        return Image.open(BytesIO(data), formats=READ)
    finally:
        Image.Exif.load = load  # type: ignore[method-assign]


def _count(image: Image.Image, data: bytes, kind: str | None, notes: list[str]) -> None:
    """Note that only the first of several images is used."""
    counts: Mapping[str | None, Callable[[bytes], int]] = {
        "PNG": png.animated,
        "JPEG": jpeg.pictures,
        "TIFF": tiff.pages,
    }
    try:
        count = counts[kind](data) if kind in counts else getattr(image, "n_frames", 1)
    except Exception:  # parsers raise anything on damaged data
        count = 1
    if count > 1:
        notes.append(f"it holds {count} images; only the first is worked on")


def _metadata(image: Image.Image, data: bytes, kind: str | None, notes: list[str]) -> Metadata:
    """Return the metadata of an image, as it is stored."""
    own = {"PNG": png.metadata, "JPEG": jpeg.metadata, "TIFF": tiff.metadata}
    if kind in own:
        return own[kind](data, notes)
    info: dict[Any, Any] = image.info
    block = info.get("exif")
    dpi = info.get("dpi")
    return Metadata(
        icc=info.get("icc_profile"),
        exif=block.removeprefix(b"Exif\0\0") if isinstance(block, bytes) and block else None,
        xmp=info.get("xmp"),
        dpi=(float(dpi[0]), float(dpi[1])) if dpi and min(dpi) > 0 else None,
    )


def _described(values: np.ndarray, about: Metadata, turn: int, notes: list[str]) -> Decoded:
    """Return an upright image with its metadata, which are those of the image as it was stored."""
    size = (values.shape[0], values.shape[1])
    block = about.exif
    if block is not None:
        turned = attempt("exif", partial(exif.upright, block, size, turn), notes)
        about = replace(about, exif=turned)
    return Decoded(values=values, metadata=settled(about, turn), orientation=turn)


def _is_deep_tiff(image: TiffImageFile) -> bool:
    """Return whether Pillow would cut the values to 8 bits, or reads them in another order."""
    bits = set(image.tag_v2.get(258, (1,)))
    return bits == {16} and image.mode in ("LA", "RGB", "RGBA", "RGBX", "RGBa")


def _deep_tiff(data: bytes, limit: int, notes: list[str]) -> Decoded:
    values = tiff.decode_deep(data, limit, notes)
    return _described(values, tiff.metadata(data, notes), exif.orientation(data), notes)


def _values(image: Image.Image, icc: bytes | None, notes: list[str]) -> np.ndarray:
    """Return the values of an image that Pillow loaded, as it is stored."""
    if isinstance(image, TiffImageFile) and _has_unnamed(image):
        notes.append("it has extra channels that are no alpha; they are dropped")
    if image.mode in ("CMYK", "LAB"):
        image = _as_srgb(image, icc, notes)
    is_inverted = isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0
    values = pil_array(image)
    return ~values if is_inverted and image.mode[:4] == "I;16" else values


def _has_unnamed(image: TiffImageFile) -> bool:
    """Return whether an image has channels that are neither colors nor alpha."""
    extras = np.atleast_1d(image.tag_v2.get(338, ()))
    return len(extras) > 1 or bool((extras == 0).any())


def _as_srgb(image: Image.Image, icc: bytes | None, notes: list[str]) -> Image.Image:
    """Return a CMYK or Lab image in sRGB, by its profile if that can be used."""
    target = ImageCms.createProfile("sRGB")
    try:
        source: Any = (
            ImageCms.createProfile("LAB")
            if image.mode == "LAB"
            else ImageCms.ImageCmsProfile(BytesIO(icc or b""))
        )
        made = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        if image.mode == "LAB":
            raise
        made = None
        notes.append("its CMYK has no usable profile; its colors are converted roughly")
    else:
        notes.append(f"its {image.mode} colors are converted to sRGB")
    return image.convert("RGB") if made is None else made
