"""Image files, read and written without loss. No file is overwritten unless it is forced."""

__all__ = [
    "LIMIT",
    "SUFFIXES",
    "File",
    "check_depth",
    "encode",
    "find",
    "read",
    "write",
]

import glob
import os
import secrets
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageOps import exif_transpose
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import TiffImageFile

from . import jpeg, sixteen_bit
from .arrays import ImageError, Images, as_images, is_lossy, orientation, upright

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
LIMIT = 89_478_485  # pixels, as in Pillow
_FORMATS = dict(zip(SUFFIXES, "PNG JPEG JPEG WEBP TIFF TIFF BMP".split(), strict=True))
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True, "exact": True},
}


@dataclass(frozen=True, kw_only=True, eq=False)
class File:
    """An image file.

    Attributes:
        name: The name for messages.
        images: The image, as a batch of one.
        icc: The ICC profile, or None.
        coding: How the file was compressed, if it is a JPEG file.
    """

    name: str
    images: Images
    icc: bytes | None
    coding: jpeg.Coding | None = None


def read(source: Path | BinaryIO, limit: int = LIMIT) -> File:
    """Return the first image of a PNG, JPEG, WebP, TIFF or BMP file.

    The image is turned upright by its EXIF orientation. 16 bits are kept. Palettes become RGB or
    RGBA, and CMYK becomes RGB without its profile.

    Arguments:
        source: A path, or a binary stream that is read to its end.
        limit: The largest number of pixels that is decoded.

    Raises:
        ImageError: If the file cannot be read, has another format, is damaged, or is too large.
    """
    name = str(source if isinstance(source, Path) else getattr(source, "name", "the stream"))
    try:
        with _at_most(limit):
            loaded, icc, coding = _decoded(_bytes(source), limit)
        if loaded.values.dtype.kind == "f":
            raise ImageError("its values are floating point; save them in 16 bits")
        return File(name=name, images=loaded, icc=icc, coding=coding)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


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
    icc: bytes | None = None,
    text: Mapping[str, str] | None = None,
) -> bytes:
    """Return the bytes of an image file.

    JPEG is lossy (quality 95, 4:4:4). WebP stores gray as RGB. JPEG and BMP drop the alpha. A
    16-bit gray TIFF with alpha becomes RGBA. A color image drops a profile of gray.

    Arguments:
        values: Gray or RGB values of shape ``(H, W, 1)`` or ``(H, W, 3)``: uint8, or uint16 for PNG
            and TIFF.
        alpha: The opacity of shape ``(H, W)`` and the same dtype, or None.
        suffix: One of `SUFFIXES`, in upper or lower case.
        icc: The ICC profile, or None. BMP drops it.
        text: Text entries of a PNG file, by name. The other formats drop them.

    Raises:
        ImageError: If the format is unknown or cannot hold the image.
    """
    kind = check_depth(values.dtype, suffix)
    if icc is not None and icc[16:20] == b"GRAY" and values.shape[-1] == 3:
        icc = None
    array = values
    if alpha is not None and kind not in ("JPEG", "BMP"):
        array = np.concatenate([values, alpha[..., None]], axis=-1)
    if values.dtype == np.uint16 and array.shape[-1] > 1:
        if kind == "PNG":
            return sixteen_bit.png(array, icc, _info(text))
        return sixteen_bit.tiff(array, icc)
    return _shallow(array, kind, icc, _info(text))


def check_depth(dtype: np.dtype, suffix: str) -> str:
    """Return the format of a suffix, and check that it can hold values of a dtype."""
    kind = _FORMATS.get(suffix.lower())
    if kind is None:
        raise ImageError(f"{suffix or 'no suffix'} is no format; use one of {' '.join(SUFFIXES)}")
    if dtype != np.uint8 and (dtype != np.uint16 or kind not in ("PNG", "TIFF")):
        accepted = "uint8 fits, and uint16 into PNG (.png) and TIFF (.tif)"
        raise ImageError(f"{dtype} values do not fit into {suffix}; {accepted}")
    return kind


def write(data: bytes, path: Path, force: bool = False) -> None:
    """Write a file completely or not at all.

    Arguments:
        data: The bytes of the file.
        path: Where to write it.
        force: Whether an existing file is overwritten.

    Raises:
        ImageError: If the file exists (without force) or cannot be written.
    """
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if force:
            os.replace(part, path)
        else:
            _claim(part, path)
    except FileExistsError as error:
        raise ImageError(f"{path} exists; use --force to overwrite it") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink()


def _claim(part: Path, path: Path) -> None:
    """Move a file to a path that must be free, even on a file system without hard links."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        path.open("xb").close()
        try:
            os.replace(part, path)
        except BaseException:
            path.unlink()
            raise


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
    chosen = sorted(p for p in matches if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
    if not chosen:
        raise ImageError(f"{argument}: no image there ({' '.join(SUFFIXES)})")
    return chosen


def _bytes(source: Path | BinaryIO) -> bytes:
    try:
        data = source.read_bytes() if isinstance(source, Path) else source.read()
    except OSError as error:
        raise ImageError(f"it cannot be read: {error.strerror or error}") from error
    if not data:
        raise ImageError("it is empty")
    return data


def _decoded(data: bytes, limit: int) -> tuple[Images, bytes | None, jpeg.Coding | None]:
    try:
        image = Image.open(BytesIO(data), formats=list(_FORMATS.values()))
        is_deep = _is_deep(image, data)
        image.load()
        icc = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
        coding = jpeg.read(image)
        images = as_images(_deep(image, data) if is_deep else _plain(image))
        origin = {"orientation": orientation(image), "lossy": is_lossy(image, data)}
        return replace(images, **origin), icc, coding
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"it is larger than the limit of {limit} pixels") from error
    except UnidentifiedImageError as error:
        raise ImageError(_unknown(data)) from error
    except Exception as error:  # decoders raise anything on damaged data
        raise ImageError(f"it is damaged or cut short ({error})") from error


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


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow would cut these 16 bits to 8, as it does for all but gray images."""
    if image.mode not in ("LA", "RGB", "RGBA"):
        return False
    if isinstance(image, TiffImageFile):
        return set(image.tag_v2[258]) == {16}
    return image.format == "PNG" and data[24] == 16


def _plain(image: Image.Image) -> Image.Image | np.ndarray:
    """Return an image upright; 16-bit values of a TIFF whose white is 0 are inverted."""
    turned = exif_transpose(image)
    is_inverted = isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0
    return ~np.asarray(turned) if is_inverted and image.mode[:4] == "I;16" else turned


def _unknown(data: bytes) -> str:
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "it is a TIFF image of a kind that is not read; save it as PNG, or in 8 or 16 bits"
    return "it is no PNG, JPEG, WebP, TIFF or BMP image"


def _deep(image: Image.Image, data: bytes) -> np.ndarray:
    """Return a 16-bit image that Pillow would cut to 8 bits, upright, ``(H, W, C)``."""
    import cv2  # takes long to import, and few files need it

    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if tags.get(338) == (1,) or tags.get(284) == 2:
        raise ImageError("a 16-bit TIFF of separate planes or premultiplied alpha is not read")
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] > 4:
        raise ImageError("its 16-bit layout is not supported; save it as a plain PNG")
    rgb = np.asarray(bgr)[..., [2, 1, 0, 3][: bgr.shape[2]]]
    if tags:
        return rgb
    pixels = rgb[..., [0, 3]] if data[25] == 4 else rgb
    return upright(pixels, image.getexif().get(0x0112, 1), axes=(0, 1))


def _info(text: Mapping[str, str] | None) -> PngInfo:
    info = PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    return info


def _shallow(array: np.ndarray, kind: str, icc: bytes | None, info: PngInfo) -> bytes:
    image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    file = BytesIO()
    try:
        image.save(file, kind, icc_profile=icc, pnginfo=info, **_OPTIONS.get(kind, {}))
    except (OSError, ValueError, struct.error) as error:
        raise ImageError(f"the image cannot be written as {kind}: {error}") from error
    return file.getvalue()
