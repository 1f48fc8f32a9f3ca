"""Damage small files of every kind that is read, and see that only errors of the library come.

    python scripts/fuzz.py --seconds 600

With atheris installed (`pip install atheris`), ``--guided`` lets it choose the damage by what the
Python code does. A file that breaks a reader is written to ``--out``, and the exit code is 1.
"""

import io
import random
import struct
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import tifffile
import typer
from PIL import Image

from diffprior.errors import DiffpriorError
from diffprior.io import files, numbers
from diffprior.io.jpeg import segment_of_iptc
from diffprior.io.masks import mask_tensor, read_mask
from diffprior.io.metadata import Metadata
from diffprior.operators.generators.kernels import kernel

__all__ = ["Target", "damaged", "fuzz", "targets"]

PIXELS = 2**16  # that are read: a larger image is refused, so that a run stays small
VALUES = (0, 1, 0x7F, 0x80, 0xFF)
SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Target:
    """A reader with the files that it is tried on.

    Attributes:
        read: Reads the bytes of a file; the path is where they may be written for that.
        seeds: Files that it can read.
    """

    read: Callable[[bytes, Path], object]
    seeds: Sequence[bytes]


@dataclass(frozen=True)
class Finding:
    """A file that a reader failed on with an error that is not of the library."""

    name: str
    data: bytes
    error: Exception


def targets() -> Mapping[str, Target]:
    """Return the readers by name."""
    images = {name: Target(_image, seeds) for name, seeds in _image_seeds().items()}
    arrays = [_npy(np.arange(12.0).reshape(3, 4)), _npy(np.ones((2, 3, 4), np.uint16))]
    return images | {
        "npy": Target(_numbers, arrays),
        "kernel": Target(_kernel, [*images["png"].seeds, *arrays]),
        "mask": Target(_mask, [*images["png"].seeds, *images["tif"].seeds]),
    }


def _image(data: bytes, _: Path) -> object:
    file = files.read(io.BytesIO(data), PIXELS)
    values = file.images.values[0]
    alpha = None if file.images.alpha is None else file.images.alpha[0]
    return [files.encode(values, alpha, suffix, file.metadata) for suffix in (".png", ".tif")]


def _numbers(data: bytes, _: Path) -> object:
    return numbers.read(io.BytesIO(data))


def _kernel(data: bytes, path: Path) -> object:
    name = path.with_suffix(".npy" if data[1:6] == b"NUMPY" else ".png")
    name.write_bytes(data)
    return kernel(str(name))


def _mask(data: bytes, path: Path) -> object:
    path.write_bytes(data)
    mask = read_mask(path, PIXELS)
    return mask_tensor(mask, mask)


def _npy(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _metadata() -> Metadata:
    block = Image.Exif()
    block.update({272: "Camera X", 274: 6, 306: "2020:01:02 03:04:05"})
    block[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x927C: bytes(40)}
    block[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    return Metadata(
        exif=block.tobytes()[6:],
        xmp=xmp,
        dpi=(300, 300),
        color=((b"gAMA", struct.pack(">I", 100_000)), (b"cICP", bytes((9, 16, 0, 1)))),
        text=((b"tEXt", b"Comment\0a text"), (b"zTXt", b"Long\0\0" + zlib.compress(bytes(99)))),
    )


def _image_seeds() -> dict[str, list[bytes]]:
    """Return small files of every format, of several depths, with metadata."""
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 256, (9, 7, 4)).astype(np.uint8)
    deep = rng.integers(0, 65536, (9, 7, 4)).astype(np.uint16)
    about = _metadata()
    seeds: dict[str, list[bytes]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for suffix in (".png", ".jpg", ".webp", ".avif", ".tif", ".bmp"):
            alpha = None if suffix in (".jpg", ".bmp") else plain[..., 3]
            color = files.encode(plain[..., :3], alpha, suffix, about)
            gray = files.encode(plain[..., :1], None, suffix, about)
            seeds[suffix[1:]] = [color, gray]
        for suffix in (".png", ".tif"):
            seeds[suffix[1:]] += [files.encode(deep[..., :3], deep[..., 3], suffix, about)]
    seeds["jpg"] += [_jpeg(plain), _saved(plain[..., :3], "JPEG", progressive=True)]
    seeds["png"] += [_palette(), _saved(plain[..., :1] > 99, "PNG")]
    seeds["tif"] += _tiffs(plain, deep)
    seeds["gif"] = [_saved(plain[..., 0], "GIF", save_all=True, append_images=[_shape()])]
    return seeds


def _saved(
    array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]", kind: str, **options: object
) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    image.save(file, kind, **options)
    return file.getvalue()


def _shape() -> Image.Image:
    return Image.new("L", (7, 9), 77)


def _palette() -> bytes:
    file = io.BytesIO()
    image = _shape().convert("P")
    image.save(file, "PNG", transparency=3)
    return file.getvalue()


def _jpeg(plain: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Return a CMYK JPEG with IPTC."""
    file = io.BytesIO()
    extra = segment_of_iptc(b"\x1c\x02\x05\x00\x05title")
    Image.fromarray(plain, "CMYK").save(file, "JPEG", extra=extra)
    return file.getvalue()


def _tiffs(
    plain: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
    deep: "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]",
) -> list[bytes]:
    """Return TIFF files of the layouts that Pillow does not read."""
    made = []
    for array, settings in (
        (deep[..., :3], {"photometric": "rgb", "planarconfig": "contig", "compression": "zlib"}),
        (np.moveaxis(deep[..., :3], -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (deep, {"photometric": "rgb", "extrasamples": ["assocalpha"]}),
        (deep[..., 0], {"photometric": "miniswhite", "byteorder": ">"}),
        ((deep[..., :3] / 65535).astype(np.float32), {"photometric": "rgb"}),
        (plain[..., 0], {"photometric": "minisblack", "tile": (16, 16)}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, array, metadata=None, **settings)
        made.append(file.getvalue())
    return made


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a file with one to four kinds of damage."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if not changed:
            break
        rng.choice((_flip, _set, _number, _cut, _drop, _repeat))(changed, rng)
    is_png = bytes(changed[:8]) == SIGNATURE
    return _with_checksums(bytes(changed)) if is_png and rng.random() < 0.7 else bytes(changed)


def _place(data: bytearray, rng: random.Random) -> int:
    """Return an offset: half of them in the first 256 bytes, where headers are."""
    return rng.randrange(min(len(data), 256) if rng.random() < 0.5 else len(data))


def _flip(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] = rng.choice(VALUES)


def _number(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    number = struct.pack(rng.choice(("<I", ">I")), rng.choice((0, 1, 2**31, 2**32 - 1, 65_536)))
    data[at : at + 4] = number[: len(data) - at]


def _cut(data: bytearray, rng: random.Random) -> None:
    if rng.random() < 0.3:
        del data[_place(data, rng) :]


def _drop(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.randint(1, 16)]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    data[at:at] = data[at : at + rng.randint(1, 64)]


def _with_checksums(data: bytes) -> bytes:
    """Return a PNG file whose checksums are right again, so that damage reaches the readers."""
    made = [data[:8]]
    at = 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            break
        body = data[at + 4 : end - 4]
        made += [data[at : at + 4], body, struct.pack(">I", zlib.crc32(body))]
        at = end
    return b"".join([*made, data[at:]])


def attempt(name: str, target: Target, data: bytes, path: Path) -> Finding | None:
    """Read a file; return what was found if another error than those of the library came."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(data, path)
    except DiffpriorError as error:
        if len(str(error)) > 300:
            return Finding(name, data, error)
    except ValueError as error:
        if name != "kernel":  # a kernel that cannot be made is a plain ValueError
            return Finding(name, data, error)
    except Exception as error:
        return Finding(name, data, error)
    return None


def fuzz(rounds: int | None, seconds: float, seed: int) -> tuple[int, list[Finding]]:
    """Try damaged files until the rounds or the seconds are over.

    Returns:
        The number of files, and those that broke a reader.
    """
    end = time.monotonic() + seconds
    found = []
    count = 0
    known = targets()
    with TemporaryDirectory() as folder:
        for name, data in _files(known, random.Random(seed)):
            if count == rounds or time.monotonic() > end:
                break
            finding = attempt(name, known[name], data, Path(folder) / "file")
            found += [finding] if finding else []
            count += 1
    return count, found


def _files(known: Mapping[str, Target], rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Yield damaged files without end, one of each kind in turn."""
    while True:
        for name, target in known.items():
            yield name, damaged(rng.choice(target.seeds), rng)


def _guided(seconds: float) -> None:
    """Let atheris choose the damage; it ends the process by itself."""
    import atheris

    known = targets()
    names = sorted(known)
    folder = TemporaryDirectory()

    def one(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        finding = attempt(name, known[name], data[1:], Path(folder.name) / "file")
        if finding is not None:
            raise finding.error

    corpus = Path(folder.name) / "corpus"
    corpus.mkdir()
    for index, name in enumerate(names):
        for k, seed in enumerate(known[name].seeds):
            (corpus / f"{name}{k}").write_bytes(bytes([index]) + seed)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", str(corpus)], one)
    atheris.Fuzz()


def main(
    seconds: Annotated[float, typer.Option(help="How long to try.")] = 60,
    rounds: Annotated[int | None, typer.Option(help="How many files to try at most.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the damage.")] = 0,
    guided: Annotated[bool, typer.Option(help="Let atheris choose the damage.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the files that were found.")] = Path("found"),
) -> None:
    """Damage small files of every kind that is read, and name the readers that break."""
    if guided:
        _guided(seconds)
        return
    count, found = fuzz(rounds, seconds, seed)
    for k, finding in enumerate(found):
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{finding.name}-{k}"
        path.write_bytes(finding.data)
        print(f"{path}: {type(finding.error).__name__}: {finding.error}")
    print(f"{count} files, {len(found)} broke a reader")
    raise typer.Exit(1 if found else 0)


if __name__ == "__main__":
    typer.run(main)
