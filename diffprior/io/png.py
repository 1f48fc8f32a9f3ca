"""PNG files: their chunks, and 16-bit images with color or alpha, which Pillow does not write."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk

from ..errors import ImageError
from ..phases import phase
from .metadata import COLOR, Metadata, attempt

__all__ = ["SIGNATURE", "animated", "decode_deep", "encode", "metadata", "pixels_only"]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp"
OLD_EXIF = (b"Raw profile type exif", b"Raw profile type APP1")  # as ImageMagick wrote it once
OURS = (b"Software", b"diffprior")  # texts that every result writes anew
LARGE = 2**23  # pixels; larger images are packed quickly: in 40% of the time, up to 8% larger
QUICK, THOROUGH = 3, 6  # levels of zlib
TOLD = 4_000_000  # bytes, after which the progress of writing shows
METER = 0.0254  # inches
MOST = 2**26  # bytes that a compressed text or profile may have


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield the name and the data of each chunk, and whether its checksum is right."""
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        body = data[at + 4 : end - 4]
        yield body[:4], body[4:], zlib.crc32(body) == int.from_bytes(data[end - 4 : end], "big")
        if body[:4] == b"IEND":
            return
        at = end


def pixels_only(data: bytes) -> bytes:
    """Return a PNG file with the chunks alone that its pixels need; a cut one keeps its end."""
    kept = [SIGNATURE]
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        name = data[at + 4 : at + 8]
        if name in PIXELS or end > len(data):
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    return b"".join(kept)


def animated(data: bytes) -> int:
    """Return the number of frames."""
    counts = [body[:4] for name, body, _ in chunks(data) if name == b"acTL"]
    return int.from_bytes(counts[0], "big") if counts else 1


def metadata(data: bytes, notes: list[str]) -> Metadata:
    """Return what the chunks say beside the pixels."""
    found: dict[bytes, bytes] = {}
    color: list[tuple[bytes, bytes]] = []
    text: list[tuple[bytes, bytes]] = []
    for name, body, is_whole in chunks(data):
        if name in PIXELS:
            continue
        if not is_whole:
            notes.append(f"its chunk {name.decode('ascii', 'replace')} is damaged and is dropped")
        elif name in COLOR:
            color.append((name, body))
        elif name in TEXTS:
            text.append((name, body))
        else:
            found.setdefault(name, body)
    keys = {body.partition(b"\0")[0]: (name, body) for name, body in text}
    xmp = attempt("xmp", partial(_text, keys.get(XMP)), notes)
    old = next((keys[key] for key in OLD_EXIF if key in keys), None)
    block = found.get(b"eXIf") or attempt("exif", partial(_old_exif, old), notes)
    left_out = (XMP, *OLD_EXIF, *OURS)
    return Metadata(
        icc=attempt("icc", partial(_profile, found.get(b"iCCP")), notes),
        exif=block,
        xmp=xmp,
        dpi=_resolution(found.get(b"pHYs", b"")),
        color=tuple(color),
        text=tuple((n, body) for n, body in text if body.partition(b"\0")[0] not in left_out),
    )


def _profile(body: bytes | None) -> bytes | None:
    return None if body is None else _unpacked(body.partition(b"\0")[2][1:])


def _text(chunk: tuple[bytes, bytes] | None) -> bytes | None:
    """Return the text of a text chunk."""
    if chunk is None:
        return None
    name, body = chunk
    rest = body.partition(b"\0")[2]
    if name != b"iTXt":
        return rest if name == b"tEXt" else _unpacked(rest[1:])
    text = rest[2:].split(b"\0", 2)[2]
    return _unpacked(text) if rest[0] else text


def _unpacked(data: bytes) -> bytes:
    unpack = zlib.decompressobj()
    text = unpack.decompress(data, MOST)
    if not unpack.eof:
        raise ValueError("it is cut short, or too large")
    return text


def _old_exif(chunk: tuple[bytes, bytes] | None) -> bytes | None:
    """Return the EXIF of a text that holds it in hexadecimal digits, after a name and a length."""
    words = (_text(chunk) or b"").split(maxsplit=2)
    return bytes.fromhex(words[2].decode()).removeprefix(b"Exif\0\0") if words else None


def _resolution(body: bytes) -> tuple[float, float] | None:
    if len(body) != 9 or body[8] != 1:
        return None
    x, y = struct.unpack(">II", body[:8])
    return (x * METER, y * METER) if x and y else None


def decode_deep(data: bytes) -> np.ndarray:
    """Return a 16-bit image with color or alpha as it is stored, ``(H, W, C)``."""
    import cv2  # takes long to import, and few files need it

    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.dtype != np.uint16 or bgr.ndim != 3 or bgr.shape[2] > 4:
        raise ImageError("its 16-bit layout is not supported; save it as a plain PNG")
    rgb = np.asarray(bgr)[..., [2, 1, 0, 3][: bgr.shape[2]]]
    return rgb[..., [0, 3]] if data[25] == 4 else rgb


def encode(array: np.ndarray, about: Metadata, text: Mapping[str, str]) -> bytes:
    """Return the bytes of a PNG file.

    Arguments:
        array: uint8 or uint16 of shape ``(H, W, C)``: gray (C = 1), gray and alpha (2), RGB (3) or
            RGBA (4).
        about: The metadata.
        text: Texts by name.
    """
    if array.dtype == np.uint16 and array.shape[-1] > 1:
        plain = memoryview(_deep(array))
    else:
        file = _Growing()
        image = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
        level = QUICK if array.shape[0] * array.shape[1] > LARGE else THOROUGH
        image.save(file, "PNG", compress_level=level)
        plain = file.getbuffer()
    head = len(SIGNATURE) + 25  # with the chunk IHDR
    added = BytesIO()
    for name, body in _described(about, text):
        putchunk(added, name, body)
    return b"".join([plain[:head], added.getvalue(), plain[head:]])


class _Growing(BytesIO):
    """The bytes of a file, which tells how many there are: to pack a large image takes long."""

    told = 0

    def write(self, data: Any) -> int:
        count = super().write(data)
        if (size := self.tell() // TOLD) > self.told:
            self.told = size
            phase(f"writing, {size * TOLD // 10**6} MB")
        return count


def _described(about: Metadata, text: Mapping[str, str]) -> Sequence[tuple[bytes, bytes]]:
    """Return the chunks of metadata."""
    found = list(about.color)
    if about.icc is not None:
        found.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(about.icc)))
    if about.dpi is not None:
        x, y = (round(value / METER) for value in about.dpi)
        found.append((b"pHYs", struct.pack(">IIB", x, y, 1)))
    if about.exif is not None:
        found.append((b"eXIf", about.exif))
    if about.xmp is not None:
        found.append((b"iTXt", XMP + b"\0\0\0\0\0" + about.xmp))
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    return [*found, *about.text, *((name, body) for name, body, *_ in info.chunks)]


def _deep(array: np.ndarray) -> bytes:
    """Return the bytes of a 16-bit PNG with color or alpha."""
    h, w, channels = array.shape
    # Each row is stored as its difference from the row above (filter 2), which packs well.
    rows = np.ascontiguousarray(array, ">u2").reshape(h, -1).view(np.uint8)
    up = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    lines = np.pad(up, ((0, 0), (1, 0)), constant_values=2)
    file = BytesIO()
    file.write(SIGNATURE)
    color = {2: 4, 3: 2, 4: 6}[channels]
    putchunk(file, b"IHDR", struct.pack(">IIBBBBB", w, h, 16, color, 0, 0, 0))
    putchunk(file, b"IDAT", zlib.compress(lines.tobytes()))
    putchunk(file, b"IEND", b"")
    return file.getvalue()
