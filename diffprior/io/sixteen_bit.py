"""The 16-bit files that Pillow cannot write: PNG with colors or alpha, and TIFF."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL.PngImagePlugin import PngInfo, putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

__all__ = ["png", "tiff"]


def png(array: np.ndarray, icc: bytes | None, info: PngInfo) -> bytes:
    """Return a 16-bit PNG with alpha or color, whose rows are stored as differences ("up")."""
    h, w, channels = array.shape
    rows = np.ascontiguousarray(array, ">u2").reshape(h, -1).view(np.uint8)
    up = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    lines = np.pad(up, ((0, 0), (1, 0)), constant_values=2)
    file = BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    color = {2: 4, 3: 2, 4: 6}[channels]
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", w, h, 16, color, 0, 0, 0))
    if icc is not None:
        putchunk(file, b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    for chunk, data, *_ in info.chunks:
        putchunk(file, chunk, data)
    putchunk(file, b"IDAT", zlib.compress(lines.tobytes()))
    putchunk(file, b"IEND", b"")
    return file.getvalue()


def tiff(array: np.ndarray, icc: bytes | None, info: PngInfo) -> bytes:
    """Return an uncompressed 16-bit TIFF in one strip, RGB or RGBA."""
    if array.shape[-1] == 2:
        array = array[..., [0, 0, 0, 1]]
    h, w, channels = array.shape
    tags = ImageFileDirectory_v2(prefix=b"II")
    tags.update({256: w, 257: h, 258: (16,) * channels, 259: 1, 262: 2, 277: channels})
    tags.update({273: 0, 278: h, 279: array.nbytes})
    if channels == 4:
        tags[338] = 2
    if icc is not None:
        tags[34675] = icc
    file = BytesIO()
    tags.save(file)
    return file.getvalue() + array.astype("<u2").tobytes()
