"""16-bit files that Pillow cannot write: PNG and TIFF with color or alpha."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL.PngImagePlugin import PngInfo, putchunk

__all__ = ["png", "tiff"]


def png(array: np.ndarray, icc: bytes | None, info: PngInfo) -> bytes:
    """Return the bytes of a 16-bit PNG with color or alpha.

    Pillow does not write this kind, and OpenCV writes neither profiles nor text.

    Arguments:
        array: uint16 of shape ``(H, W, C)``: gray and alpha (C = 2), RGB (3) or RGBA (4).
        icc: The ICC profile, or None.
        info: Text entries.
    """
    h, w, channels = array.shape
    # Each row is stored as its difference from the row above (filter 2), which packs well.
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


def tiff(array: np.ndarray, icc: bytes | None) -> bytes:
    """Return the bytes of an uncompressed 16-bit TIFF, RGB or RGBA; gray with alpha becomes RGBA.

    Arguments:
        array: uint16 of shape ``(H, W, C)``: gray and alpha (C = 2), RGB (3) or RGBA (4).
        icc: The ICC profile, or None.
    """
    import tifffile  # takes long to import, and few files need it

    if array.shape[-1] == 2:
        array = array[..., [0, 0, 0, 1]]
    file = BytesIO()
    tifffile.imwrite(
        file,
        array,
        photometric="rgb",
        planarconfig="contig",
        extrasamples=["unassalpha"] if array.shape[-1] == 4 else None,
        iccprofile=icc,
        byteorder="<",
        metadata=None,
        software=False,
    )
    return file.getvalue()
