"""TIFF files: what Pillow does not read of them, and one writer for all depths."""

import struct
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..errors import ImageError
from . import exif
from .arrays import upright
from .metadata import Metadata, attempt

__all__ = ["MAGIC", "decode_deep", "encode", "metadata", "pages", "pixels_only", "unpremultiplied"]

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # ways to store colors
PREMULTIPLIED, ALPHA = 1, 2  # what an extra channel is; 0 is left open
HIDDEN = 65_000  # a tag without a meaning
RESOLUTION = (282, 283, 296)
INCHES = {2: 1.0, 3: 2.54}  # the unit of a resolution, as a factor to pixels per inch
SAMPLES = {"u": 1, "f": 3}  # the formats of numbers


def pixels_only(data: bytes) -> bytes:
    """Return a TIFF file without its EXIF and GPS, so that damage there stops nothing."""
    try:
        block = exif.Directories(data)
    except ImageError:
        return data
    found = [block.first[tag].at for tag in (exif.EXIF, exif.GPS) if tag in block.first]
    if not found:
        return data
    changed = bytearray(data)
    for at in found:
        struct.pack_into(f"{block.order}H", changed, at, HIDDEN)
    return bytes(changed)


def metadata(data: bytes, notes: list[str]) -> Metadata:
    """Return what the tags say beside the pixels."""
    tags = Image.Exif()
    try:
        tags.load(data)
    except Exception:  # as in attempt
        return Metadata()

    def binary(tag: int) -> bytes | None:
        value = tags.get(tag)
        return value if isinstance(value, bytes) else None

    return Metadata(
        icc=attempt("icc", partial(binary, 34675), notes),
        exif=attempt("exif", partial(exif.of_tiff, data), notes),
        xmp=attempt("xmp", partial(binary, 700), notes),
        iptc=attempt("iptc", partial(binary, 33723), notes),
        dpi=_resolution(tags),
    )


def _resolution(tags: Image.Exif) -> tuple[float, float] | None:
    try:
        x, y = (float(tags[tag]) * INCHES[tags.get(296, 2)] for tag in (282, 283))
    except Exception:  # as in attempt
        return None
    return (x, y) if 0 < x < 1e6 and 0 < y < 1e6 else None


def pages(data: bytes) -> int:
    """Return the number of images; a reduced one, such as a thumbnail, does not count."""
    import tifffile  # takes long to import, and few files need it

    with tifffile.TiffFile(BytesIO(data)) as file:
        return sum(
            not page.is_reduced for page in file.pages if isinstance(page, tifffile.TiffPage)
        )


def decode_deep(data: bytes, limit: int, notes: list[str]) -> np.ndarray:
    """Return an image of 16 bits or floats, upright, ``(H, W, C)`` with C from 1 to 4.

    Premultiplied alpha is divided out, and extra channels that are no alpha are dropped.
    """
    import tifffile  # takes long to import, and few files need it

    with tifffile.TiffFile(BytesIO(data)) as file:
        page: Any = file.pages.first
        colors = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3}.get(page.photometric)
        kind = page.dtype.kind if page.dtype is not None else ""
        if colors is None or page.imagedepth > 1 or kind not in SAMPLES or page.dtype.itemsize < 2:
            raise ImageError("it is a TIFF image of a kind that is not read; save it as PNG")
        if page.imagewidth * page.imagelength > limit:
            raise Image.DecompressionBombError
        try:
            array = page.asarray()
        except (ValueError, ImportError) as error:
            if "imagecodecs" not in str(error):  # that would unpack what tifffile alone does not
                raise
            array = _by_opencv(data)
        array = np.asarray(array, page.dtype.newbyteorder("="))
        if page.planarconfig == 2 and page.samplesperpixel > 1:
            array = np.moveaxis(array, 0, -1)
        array = array.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)
        extras = [*map(int, page.extrasamples)]
        tag = page.tags.get(exif.ORIENTATION)
        turn = tag.value if tag is not None else 1
        is_negative = page.photometric == WHITE_IS_ZERO
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if is_negative:
        array = np.concatenate([_negative(array[..., :colors]), array[..., colors:]], axis=-1)
    return upright(_channels(array, colors, extras, notes), turn, axes=(0, 1))


def _by_opencv(data: bytes) -> np.ndarray:
    import cv2  # takes long to import, and few files need it

    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None:
        raise ImageError("it is packed in a way that is not read; save it as PNG, or unpacked")
    return np.asarray(bgr if bgr.ndim == 2 else bgr[..., [2, 1, 0, 3][: bgr.shape[2]]])


def _negative(array: np.ndarray) -> np.ndarray:
    return 1 - array if array.dtype.kind == "f" else ~array


def _channels(array: np.ndarray, colors: int, extras: list[int], notes: list[str]) -> np.ndarray:
    """Return the colors, and the alpha if there is one."""
    values = array[..., :colors]
    found = [k for k, extra in enumerate(extras) if extra in (PREMULTIPLIED, ALPHA)]
    if array.shape[-1] - colors > len(found[:1]):
        notes.append("it has extra channels that are no alpha; they are dropped")
    if not found or colors + found[0] >= array.shape[-1]:
        return values
    alpha = array[..., colors + found[0], None]
    if extras[found[0]] == PREMULTIPLIED:
        values = unpremultiplied(values, alpha)
    return np.concatenate([values, alpha], axis=-1)


def unpremultiplied(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return premultiplied values divided by their alpha; black where it is 0."""
    top = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
    share = np.divide(alpha, top, dtype=np.float64)
    plain = np.divide(values, share, out=np.zeros(values.shape), where=share > 0).clip(0, top)
    whole: np.ndarray = plain if top == 1 else np.rint(plain)
    return whole.astype(values.dtype)


def encode(array: np.ndarray, about: Metadata) -> bytes:
    """Return the bytes of an uncompressed TIFF file; deep gray with alpha becomes RGBA.

    Arguments:
        array: uint8, uint16, float32 or float64 of shape ``(H, W, C)``: gray (C = 1), gray and
            alpha (2), RGB (3) or RGBA (4).
        about: The metadata.
    """
    if array.shape[-1] == 2 and array.dtype != np.uint8:
        array = array[..., [0, 0, 0, 1]]
    h, w, channels = array.shape
    tags = _described(about)
    stored = array.astype(array.dtype.newbyteorder("<"), copy=False)
    tags.update({256: w, 257: h, 258: (8 * array.itemsize,) * channels, 259: 1})
    tags.update({262: RGB if channels > 2 else BLACK_IS_ZERO, 273: 0, 277: channels})
    tags.update({278: h, 279: array.nbytes, 284: 1})
    tags[339] = (SAMPLES[array.dtype.kind],) * channels
    if channels in (2, 4):
        tags[338] = ALPHA
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + stored.tobytes()


def _described(about: Metadata) -> ImageFileDirectory_v2:
    """Return a directory with the tags of the metadata."""
    tags = ImageFileDirectory_v2(prefix=b"II")
    if about.exif is not None:
        block = Image.Exif()
        block.load(about.exif)
        for tag in [tag for tag in exif.DESCRIPTIVE if tag in block]:
            tags[tag] = block.get_ifd(tag) if tag in (exif.EXIF, exif.GPS) else block[tag]
    for tag, data in ((34675, about.icc), (700, about.xmp), (33723, about.iptc)):
        if data is not None:
            tags.tagtype[tag] = 7  # bytes of no type
            tags[tag] = data
    if about.dpi is not None:
        tags.update({282: about.dpi[0], 283: about.dpi[1], 296: 2})
    return tags
