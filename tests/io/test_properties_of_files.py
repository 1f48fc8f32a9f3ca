"""Any image, in any format that can hold it, comes back bit for bit, with its metadata."""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from diffprior.errors import ImageError
from diffprior.io.files import encode, read

from support.images import SRGB, TURNS

GRAY = SRGB[:16] + b"GRAY" + SRGB[20:]
WRITERS = ("PNG", "TIFF", "WEBP", "BMP", "tifffile")
quick = settings(
    max_examples=70,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Case:
    """An image as it is stored, with what it says, and how it is written."""

    writer: str
    array: np.ndarray
    turn: int
    icc: bytes | None
    camera: str | None
    dpi: tuple[int, int] | None


@st.composite
def cases(draw: st.DrawFn) -> Case:
    writer = draw(st.sampled_from(WRITERS))
    deep = writer in ("PNG", "TIFF", "tifffile") and draw(st.booleans())
    channels = {
        "PNG": (1,) if deep else (1, 2, 3, 4),
        "TIFF": (1,) if deep else (1, 2, 3, 4),
        "WEBP": (3, 4),
        "BMP": (1, 3),
        "tifffile": (1, 2, 3, 4) if deep else (1, 3, 4),
    }[writer]
    count = draw(st.sampled_from(channels))
    h, w = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    seed = draw(st.integers(0, 2**32 - 1))
    dtype = np.uint16 if deep else np.uint8
    top = int(np.iinfo(dtype).max)
    array = np.random.default_rng(seed).integers(0, top, (h, w, count), dtype, endpoint=True)
    has_tags = writer != "BMP"
    return Case(
        writer=writer,
        array=array,
        turn=draw(st.integers(1, 8)) if has_tags else 1,
        icc=draw(st.sampled_from([None, SRGB if count > 2 else GRAY])) if has_tags else None,
        camera=draw(st.sampled_from([None, "Camera X"])) if has_tags else None,
        dpi=draw(st.sampled_from([None, (300, 150)])) if writer != "WEBP" else None,
    )


def written(case: Case) -> bytes:
    """Return the file, made by Pillow or tifffile."""
    flat = case.array[..., 0] if case.array.shape[-1] == 1 else case.array
    if case.writer == "tifffile":
        return by_tifffile(case, flat)
    block = Image.Exif()
    block[274] = case.turn
    if case.camera:
        block[272] = case.camera
    file = io.BytesIO()
    options = {"exif": block} if case.writer != "BMP" else {}
    options |= {"icc_profile": case.icc} if case.icc else {}
    options |= {"dpi": case.dpi} if case.dpi else {}
    options |= {"lossless": True, "exact": True} if case.writer == "WEBP" else {}
    Image.fromarray(flat).save(file, case.writer, **options)
    return file.getvalue()


def by_tifffile(case: Case, flat: np.ndarray) -> bytes:
    tags = [(274, 3, 1, case.turn, True)]
    tags += [(272, 2, len(case.camera) + 1, case.camera, True)] if case.camera else []
    options: dict[str, object] = {"resolution": case.dpi, "resolutionunit": 2} if case.dpi else {}
    count = case.array.shape[-1]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        flat,
        photometric="rgb" if count > 2 else "minisblack",
        extrasamples=["unassalpha"] if count % 2 == 0 else None,
        planarconfig="contig" if count > 1 else None,
        iccprofile=case.icc,
        extratags=tags,
        byteorder=">" if case.turn % 2 else "<",
        metadata=None,
        **options,
    )
    return file.getvalue()


def targets(case: Case) -> list[str]:
    deep = case.array.dtype == np.uint16
    alpha = case.array.shape[-1] % 2 == 0
    names = [".png", ".tif"]
    names += [] if deep else [".webp"]
    return names + ([] if deep or alpha else [".bmp"])


def is_same(found: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether values are the same; WebP and deep TIFF repeat gray where they must."""
    return bool((found == np.broadcast_to(expected, found.shape)).all())


@quick
@given(cases())
def test_known_pixels_stay_bit_for_bit_and_metadata_goes_along(case: Case) -> None:
    upright = TURNS[case.turn](case.array)
    dpi = case.dpi and (case.dpi[::-1] if case.turn > 4 else case.dpi)
    alpha = None if upright.shape[-1] % 2 else upright[..., -1]
    values = upright if alpha is None else upright[..., :-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", r"\.(webp|tif) cannot hold the color profile")
        warnings.filterwarnings("ignore", r"\.webp cannot hold .*the resolution")
        file = read(io.BytesIO(written(case)))
        assert is_same(file.images.values[0], values)
        assert file.images.values.dtype == case.array.dtype and file.icc == case.icc
        assert (file.images.alpha is None) == (alpha is None)
        assert alpha is None or (file.images.alpha == alpha).all()
        if dpi:
            assert np.allclose(file.metadata.dpi, dpi, atol=0.02)
        for suffix in targets(case):
            if suffix == ".bmp":
                warnings.simplefilter("ignore")  # it holds a resolution alone
            own = None if file.images.alpha is None else file.images.alpha[0]
            data = encode(file.images.values[0], own, suffix, file.metadata)
            again = read(io.BytesIO(data))
            assert is_same(again.images.values[0], values)
            if own is not None:
                assert (again.images.alpha == own).all()
            if suffix != ".bmp":
                image = Image.open(io.BytesIO(data)) if case.array.dtype == np.uint8 else None
                camera = image.getexif().get(272) if image else again_camera(again.metadata.exif)
                assert camera == case.camera and again.icc == profile(case, suffix)
            if dpi and suffix != ".webp":
                assert np.allclose(again.metadata.dpi, dpi, atol=0.02)


def profile(case: Case, suffix: str) -> bytes | None:
    """Return the profile that a format holds: one of gray fits no colors."""
    becomes_color = suffix == ".webp" or (
        suffix == ".tif" and case.array.shape[-1] == 2 and case.array.dtype == np.uint16
    )
    return None if becomes_color and case.icc == GRAY else case.icc


def again_camera(block: bytes | None) -> object:
    exif = Image.Exif()
    exif.load(block or b"")
    return exif.get(272)


@quick
@given(
    st.lists(st.tuples(st.sampled_from(["Title", "Author", "parameters"]), st.text(max_size=40))),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([1, 3]),
)
def test_texts_of_png_files_go_along(
    texts: list[tuple[str, str]], dtype: type, channels: int
) -> None:
    info = PngImagePlugin.PngInfo()
    for key, text in texts:
        info.add_itxt(key, text.replace("\0", " "))
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(file, "PNG", pnginfo=info)
    about = read(io.BytesIO(file.getvalue())).metadata
    data = encode(np.zeros((2, 2, channels), dtype), None, ".png", about, {"Software": "x"})
    file.seek(0)
    with Image.open(file) as before, Image.open(io.BytesIO(data)) as after:
        before.load()
        after.load()
        assert after.text == {**before.text, "Software": "x"}


@quick
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"\xff\xd8"]))
def test_bytes_of_no_image_are_refused_in_one_sentence(data: bytes, head: bytes) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(io.BytesIO(head + data), 10_000)
    except ImageError as error:
        assert 0 < len(str(error)) <= 300 and str(error).isprintable()
