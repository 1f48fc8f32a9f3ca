"""Image files in and out: nothing lost that the format can hold, nothing overwritten unasked."""

__all__ = [
    "LIMIT",
    "SUFFIXES",
    "File",
    "check_depth",
    "encode",
    "find",
    "read",
    "read_mask",
    "write",
]

import glob
import os
import secrets
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageOps import exif_transpose
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import TiffImageFile

from . import jpeg, sixteen_bit
from .arrays import ImageError, Images, as_images

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
        name: What it is called in messages.
        images: A batch of one.
        icc: Its ICC profile.
        coding: How it was compressed, if it is an upright JPEG file.
    """

    name: str
    images: Images
    icc: bytes | None
    coding: jpeg.Coding | None = None


def read(source: Path | BinaryIO, limit: int = LIMIT) -> File:
    """Return the (first) image of a PNG, JPEG, WebP, TIFF or BMP file.

    Depths of 16 bits are kept. It is turned upright by its EXIF orientation, palettes become RGB or
    RGBA, and CMYK becomes RGB without its profile.

    Arguments:
        source: A path, or a binary stream that is read to its end.
        limit: The largest number of pixels that is decoded.

    Raises:
        ImageError: If the file cannot be read, is no such image, is damaged or is too large.
    """
    name = str(source if isinstance(source, Path) else getattr(source, "name", "the stream"))
    try:
        with _at_most(limit):
            image, icc, coding = _decoded(_bytes(source), limit)
            loaded = as_images(image)
        if loaded.values.dtype.kind == "f":
            raise ImageError("its values are floating point; save them in 16 bits")
        return File(name=name, images=loaded, icc=icc, coding=coding)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error


def read_mask(source: Path, limit: int = LIMIT) -> Image.Image | np.ndarray:
    """Return a mask file for `diffprior.io.arrays.mask_tensor`; files and errors as `read`."""
    p = read(source, limit).images
    mask: Image.Image | np.ndarray = p.restore_kind(p.values)
    return mask


def find(arguments: Sequence[str]) -> list[Path]:
    """Return the files that the arguments name, each once.

    An argument is a file (`read` tells if there is none), a folder, which stands for the images
    in it by name, or a pattern with ``*``, ``**``, ``?`` or ``[]``, for the images that match.

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

    JPEG (quality 95, 4:4:4) is lossy; WebP makes gray RGB; JPEG and BMP drop the alpha. A deep gray
    TIFF with alpha becomes RGBA. A gray profile is dropped from a colored image.

    Arguments:
        values: Of shape ``(H, W, 1)`` or ``(H, W, 3)``, uint8, or uint16 for PNG and TIFF.
        alpha: The opacity of shape ``(H, W)`` and the same dtype, or None.
        suffix: One of `SUFFIXES`, in any case.
        icc: The ICC profile; BMP drops it.
        text: What a PNG is to say about itself; the other formats drop it.

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
        return (sixteen_bit.png if kind == "PNG" else sixteen_bit.tiff)(array, icc, _info(text))
    return _shallow(array, kind, icc, _info(text))


def check_depth(dtype: np.dtype, suffix: str) -> str:
    """Return the format of files that end so, or refuse values that it cannot hold."""
    kind = _FORMATS.get(suffix.lower())
    if kind is None:
        raise ImageError(f"{suffix or 'no suffix'} is no format; use one of {' '.join(SUFFIXES)}")
    if dtype != np.uint8 and (dtype != np.uint16 or kind not in ("PNG", "TIFF")):
        accepted = "uint8 fits, and uint16 into PNG (.png) and TIFF (.tif)"
        raise ImageError(f"{dtype} values do not fit into {suffix}; {accepted}")
    return kind


def write(data: bytes, path: Path, force: bool = False) -> None:
    """Write a file whole or not at all, over an existing one only by force.

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
    """Move part to a path that must be free, also where the file system knows no hard links."""
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
        found = list(path.iterdir())
    elif path.exists() or not any(sign in argument for sign in "*?["):
        return [path]
    else:
        found = [Path(match) for match in glob.glob(argument, recursive=True)]
    chosen = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.name[0] != ".")
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


def _decoded(
    data: bytes, limit: int
) -> tuple[Image.Image | np.ndarray, bytes | None, jpeg.Coding | None]:
    try:
        image = Image.open(BytesIO(data), formats=list(_FORMATS.values()))
        is_deep = _is_deep(image, data)
        image.load()
        icc = None if image.mode in ("CMYK", "LAB") else image.info.get("icc_profile")
        coding = jpeg.read(image)
        return _deep(image, data) if is_deep else _plain(image), icc, coding
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
    """Let Pillow refuse more than `limit` pixels, which it takes from a global, and keep quiet."""
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow would cut these 16 bits to 8, as it does for all but plain gray."""
    if image.mode not in ("LA", "RGB", "RGBA"):
        return False
    if isinstance(image, TiffImageFile):
        return set(image.tag_v2[258]) == {16}
    return image.format == "PNG" and data[24] == 16


def _plain(image: Image.Image) -> Image.Image | np.ndarray:
    """Return an image upright, and 16 bits for which white is 0 the right way round."""
    upright = exif_transpose(image)
    reverse = isinstance(image, TiffImageFile) and image.tag_v2.get(262) == 0
    return ~np.asarray(upright) if reverse and image.mode[:4] == "I;16" else upright


def _unknown(data: bytes) -> str:
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "it is a TIFF image of a kind that is not read; save it as PNG, or in 8 or 16 bits"
    return "it is no PNG, JPEG, WebP, TIFF or BMP image"


def _deep(image: Image.Image, data: bytes) -> np.ndarray:
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    if tags.get(338) == (1,) or tags.get(284) == 2:
        raise ImageError("a 16-bit TIFF of separate planes or premultiplied alpha is not read")
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] > 4:
        raise ImageError("its 16-bit layout is not supported; save it as a plain PNG")
    rgb = np.asarray(bgr)[..., [2, 1, 0, 3][: bgr.shape[2]]]
    if tags:
        return rgb
    return _upright(rgb[..., [0, 3]] if data[25] == 4 else rgb, image.getexif().get(0x0112, 1))


def _upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Return an array (H, W, C) turned by an EXIF orientation, 1 to 8."""
    turned = array.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else array
    turned = turned[::-1] if orientation in (3, 4, 7, 8) else turned
    return turned[:, ::-1] if orientation in (2, 3, 6, 7) else turned


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
