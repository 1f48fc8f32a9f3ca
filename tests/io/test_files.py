"""Image files keep their bits, and no file is lost, halved or overwritten."""

import io
import os
import stat
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin, TiffImagePlugin

from diffprior.io.arrays import ImageError, as_images
from diffprior.io.files import SUFFIXES, encode, find, read, write
from diffprior.io.masks import mask_tensor, read_mask
from diffprior.io.metadata import Metadata

from support.images import SRGB, TURNS


def noise(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def deep_tiff(array: np.ndarray, **tags: object) -> bytes:
    """Return a 16-bit RGB or RGBA TIFF with further tags, made apart from the encoder."""
    h, w, channels = array.shape
    ifd = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM")
    ifd.update({256: w, 257: h, 258: (16,) * channels, 259: 1, 262: 2, 273: 0, 277: channels})
    ifd.update({278: h, 279: array.nbytes} | {int(k[1:]): v for k, v in tags.items()})
    file = io.BytesIO()
    ifd.save(file)
    return file.getvalue() + array.astype(">u2").tobytes()


LOSSLESS = [
    (suffix, dtype, channels, alpha)
    for suffix in (".png", ".tif", ".TIFF", ".webp", ".bmp")
    for dtype in (np.uint8, np.uint16)
    for channels in (1, 3)
    for alpha in (False, True)
    if not (dtype == np.uint16 and suffix in (".webp", ".bmp"))
    and not (suffix == ".bmp" and alpha)
    and not (suffix == ".webp" and channels == 1)
    and not (dtype == np.uint16 and channels == 1 and alpha and suffix != ".png")
]


@pytest.mark.parametrize(("suffix", "dtype", "channels", "has_alpha"), LOSSLESS)
def test_lossless_formats_keep_every_bit(
    tmp_path: Path, suffix: str, dtype: type, channels: int, has_alpha: bool
) -> None:
    values = noise((7, 5, channels), dtype)
    alpha = noise((7, 5), dtype) if has_alpha else None
    icc = SRGB if channels == 3 and suffix != ".bmp" else None
    data = encode(values, alpha, suffix, Metadata(icc=icc), {"Software": "x"})
    path = tmp_path / f"a{suffix}"
    write(data, path)
    file = read(path)
    assert file.name == str(path) and file.icc == icc
    assert file.images.values.dtype == dtype
    np.testing.assert_array_equal(file.images.values[0], values)
    if alpha is None:
        assert file.images.alpha is None
    else:
        assert file.images.alpha is not None
        np.testing.assert_array_equal(file.images.alpha[0], alpha)
    again = encode(file.images.values[0], alpha, suffix, file.metadata, {"Software": "x"})
    assert again == data


def test_colors_survive_where_the_image_is_clear() -> None:
    values, alpha = noise((4, 4, 3)), np.zeros((4, 4), np.uint8)
    file = read(io.BytesIO(encode(values, alpha, ".webp")))
    np.testing.assert_array_equal(file.images.values[0], values)


def test_deep_gray_with_alpha_becomes_rgba_in_tiff() -> None:
    values, alpha = noise((4, 6, 1), np.uint16), noise((4, 6), np.uint16)[::-1]
    file = read(io.BytesIO(encode(values, alpha, ".tif")))
    np.testing.assert_array_equal(file.images.values[0], values.repeat(3, axis=-1))
    np.testing.assert_array_equal(file.images.alpha, alpha[None])


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp", ".bmp"])
def test_gray_survives_in_the_other_formats(suffix: str) -> None:
    values = np.full((16, 16, 1), 77, np.uint8)
    file = read(io.BytesIO(encode(values, None, suffix)))
    assert (file.images.values == 77).all()


def test_jpeg_is_close_keeps_the_profile_and_full_color_and_drops_alpha() -> None:
    values = np.zeros((16, 16, 3), np.uint8)
    values[:, ::2] = (255, 0, 0)
    with pytest.warns(UserWarning, match=r"^\.jpg cannot hold the alpha \(transparency\); dropped"):
        data = encode(values, np.zeros((16, 16), np.uint8), ".jpg", Metadata(icc=SRGB))
    file = read(io.BytesIO(data))
    assert file.icc == SRGB and file.images.alpha is None
    assert np.abs(file.images.values[0].astype(int) - values).mean() < 8
    assert Image.open(io.BytesIO(data)).layer[0][1:3] == (1, 1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_png_says_what_it_is_told(dtype: type, channels: int) -> None:
    text = {"Software": "diffprior", "Comment": "größer, 日本"}
    data = encode(noise((3, 4, channels), dtype), None, ".png", Metadata(icc=SRGB), text)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.text == text  # type: ignore[attr-defined]
        assert image.info["icc_profile"] == SRGB


def test_deep_png_is_what_another_decoder_reads() -> None:
    values, alpha = noise((9, 8, 3), np.uint16), noise((9, 8), np.uint16)
    data = encode(values, alpha, ".png", Metadata(icc=SRGB), {"a": "b"})
    bgra = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert bgra is not None
    np.testing.assert_array_equal(bgra[..., 2::-1], values)
    np.testing.assert_array_equal(bgra[..., 3], alpha)


def test_a_gray_profile_is_dropped_from_color() -> None:
    gray = SRGB[:16] + b"GRAY" + SRGB[20:]
    assert read(io.BytesIO(encode(noise((2, 2, 1)), None, ".png", Metadata(icc=gray)))).icc == gray
    assert read(io.BytesIO(encode(noise((2, 2, 3)), None, ".png", Metadata(icc=gray)))).icc is None


@pytest.mark.parametrize("channels", [3, 4])
def test_other_programs_read_our_deep_tiff(channels: int) -> None:
    array = noise((7, 5, channels), np.uint16)
    alpha = array[..., 3] if channels == 4 else None
    data = encode(array[..., :3], alpha, ".tif", Metadata(icc=SRGB))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        assert page.iccprofile == SRGB and page.photometric.name == "RGB"
        assert page.extrasamples == ((2,) if channels == 4 else ())  # 2: not premultiplied
        np.testing.assert_array_equal(page.asarray(), array)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(bgr[..., [2, 1, 0, 3][:channels]], array)


@pytest.mark.parametrize("compression", [cv2.IMWRITE_TIFF_COMPRESSION_LZW, 8])
def test_compressed_deep_tiff_is_read(compression: int) -> None:
    bgr = noise((40, 30, 3), np.uint16)
    ok, data = cv2.imencode(".tif", bgr, [cv2.IMWRITE_TIFF_COMPRESSION, compression])
    assert ok
    values = read(io.BytesIO(data.tobytes())).images.values
    assert values.dtype == np.uint16
    np.testing.assert_array_equal(values[0], bgr[..., ::-1])


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG", "deep PNG", "deep TIFF", "grey"])
def test_images_are_turned_upright(kind: str, orientation: int) -> None:
    deep = kind.startswith("deep")
    array = noise((3, 5, 3), np.uint16 if deep else np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    if kind == "deep PNG":
        plain = encode(array, None, ".png")
        PngImagePlugin.putchunk(file, b"eXIf", exif.tobytes()[6:])
        data = plain[:33] + file.getvalue() + plain[33:]
    elif kind == "deep TIFF":
        data = deep_tiff(array, t274=orientation)
    elif kind == "grey":
        array = noise((3, 5, 1), np.uint16)
        Image.fromarray(array[..., 0]).save(file, "PNG", exif=exif)
        data = file.getvalue()
    else:
        array = np.kron(array, np.ones((8, 8, 1), np.uint8)) if kind == "JPEG" else array
        options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
        Image.fromarray(array).save(file, kind, exif=exif, **options)
        data = file.getvalue()
    values = read(io.BytesIO(data)).images.values[0]
    expected = TURNS[orientation](array)
    assert values.shape == expected.shape and values.dtype == expected.dtype
    error = np.abs(values.astype(int) - expected)
    assert error.max() <= (3 if kind == "JPEG" else 0)


def test_palettes_become_colors_and_their_transparency_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    opaque = read(saved(tmp_path / "a.png", image)).images
    assert opaque.alpha is None and opaque.values.tolist() == [[[[10, 20, 30], [40, 50, 60]]]]
    clear = read(saved(tmp_path / "b.png", image, transparency=1)).images
    assert clear.alpha is not None and clear.alpha.tolist() == [[[255, 0]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_clear_color_in_16_bits_becomes_alpha(channels: int) -> None:
    array = noise((3, 4, channels), np.uint16)
    plain = encode(array, None, ".png")
    chunk = io.BytesIO()
    PngImagePlugin.putchunk(chunk, b"tRNS", struct.pack(f">{channels}H", *array[1, 2].tolist()))
    p = read(io.BytesIO(plain[:33] + chunk.getvalue() + plain[33:])).images
    np.testing.assert_array_equal(p.values[0], array)
    assert p.alpha is not None and p.alpha.dtype == np.uint16
    assert p.alpha[0, 1, 2] == 0 and (p.alpha == 65535).sum() == 11


def test_cmyk_becomes_rgb_without_its_profile(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    path = saved(tmp_path / "a.jpg", image, icc_profile=SRGB, quality=100)
    with pytest.warns(UserWarning, match="a.jpg: its CMYK has no usable profile; its colors are"):
        file = read(path)
    assert file.icc is None
    assert np.abs(file.images.values[0].astype(int) - (255, 0, 0)).max() <= 3


def test_one_bit_images_are_black_and_white(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[True, False]]))
    assert read(saved(tmp_path / "a.png", image)).images.values.ravel().tolist() == [255, 0]


def test_garbage_in_exif_is_dropped_with_a_warning() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 2)).save(file, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x09\0garbage")
    with pytest.warns(
        UserWarning, match=r"the EXIF \(date, place, camera\) is damaged and is dropped"
    ):
        read_file = read(io.BytesIO(file.getvalue()))
    assert read_file.images.size == (2, 4) and read_file.metadata.exif is None


def test_streams_are_read() -> None:
    file = read(io.BytesIO(encode(noise((2, 3, 3)), None, ".png")))
    assert file.name == "the stream" and file.images.size == (2, 3)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_masks_are_read_in_any_depth(tmp_path: Path, dtype: type) -> None:
    white = True if dtype is bool else np.iinfo(dtype).max
    path = saved(tmp_path / "m.png", Image.fromarray(np.array([[0, white]], dtype)))
    m = mask_tensor(read_mask(path), as_images(np.zeros((1, 2))))
    assert m.flatten().tolist() == [0, 1]
    deep = np.full((1, 2, 3), 65535, np.uint16)
    path.write_bytes(encode(deep, np.array([[0, 65535]], np.uint16), ".png"))
    assert mask_tensor(read_mask(path), as_images(np.zeros((1, 2)))).flatten().tolist() == [0, 1]


def bad_file(kind: str, folder: Path) -> Path:
    path = folder / "bad.png"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        text = {"empty": b"", "text": b"hello, this is no picture at all"}
        path.write_bytes(text.get(kind, b""))
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "bad.png: it cannot be read: No such file or directory"),
        ("folder", "bad.png: it is a folder"),
        ("empty", "bad.png: it is empty"),
        ("text", "bad.png: it is no PNG, JPEG, WebP, AVIF, TIFF, BMP or GIF image"),
    ],
)
@pytest.mark.parametrize("reader", [read, read_mask])
def test_unreadable_files_are_named(
    tmp_path: Path, kind: str, message: str, reader: Callable[[Path], object]
) -> None:
    with pytest.raises(ImageError, match=message):
        reader(bad_file(kind, tmp_path))


CUT = [(suffix, np.uint8) for suffix in SUFFIXES] + [(".png", np.uint16), (".tif", np.uint16)]


@pytest.mark.parametrize(("suffix", "dtype"), CUT)
def test_truncated_files_are_not_padded(tmp_path: Path, suffix: str, dtype: type) -> None:
    data = encode(noise((64, 64, 3), dtype), None, suffix)
    path = tmp_path / f"cut{suffix}"
    for keep in (0.5, 0.9):
        path.write_bytes(data[: int(keep * len(data))])
        with pytest.raises(ImageError, match=rf"cut\{suffix}: it is damaged or cut short"):
            read(path)


def test_damaged_bytes_are_noticed(tmp_path: Path) -> None:
    data = bytearray(encode(noise((64, 64, 3), np.uint16), None, ".png"))
    data[len(data) // 2] ^= 255
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ImageError, match=r"a\.png: it is damaged"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("times", [1.5, 4])
def test_large_images_are_refused_by_their_header(dtype: type, times: float) -> None:
    data = encode(noise((20, 30, 3), dtype), None, ".png")
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="the stream: it is larger than the limit of"):
        read(io.BytesIO(data), limit=int(600 / times))
    assert read(io.BytesIO(data), limit=600).images.size == (20, 30)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_bomb_is_not_decoded() -> None:
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n")
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 16, 2, 0, 0, 0)
    PngImagePlugin.putchunk(file, b"IHDR", header)
    PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(bytes(1000)))
    PngImagePlugin.putchunk(file, b"IEND", b"")
    file.seek(0)
    with pytest.raises(ImageError, match="larger than the limit of 268435456 pixels; --max-pixels"):
        read(file)


def test_the_limit_can_be_raised_beyond_the_error_of_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = encode(noise((20, 30, 3)), None, ".png")
    assert read(io.BytesIO(data)).images.size == (20, 30)


def test_unknown_formats_and_values_are_refused() -> None:
    gray = np.zeros((2, 2, 1), np.uint8)
    for suffix in (".gif", ""):
        with pytest.raises(ImageError, match=r"is no format; use one of \.png \.jpg \.jpeg"):
            encode(gray, None, suffix)
    for suffix in (".jpg", ".webp", ".bmp"):
        with pytest.raises(ImageError, match=rf"uint16 values .* \{suffix}; .*PNG .* TIFF"):
            encode(gray.astype(np.uint16), None, suffix)
    with pytest.raises(ImageError, match="float64 values do not fit"):
        encode(gray.astype(float), None, ".webp")
    with pytest.raises(ImageError, match="float16 values do not fit"):
        encode(gray.astype(np.float16), None, ".tif")
    with pytest.raises(ImageError, match="cannot be written as WEBP"):
        encode(np.zeros((1, 16_384, 3), np.uint8), None, ".webp")


def test_find_knows_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "note.txt", ".hidden.png", "sub/c.tif", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = ["a.JPG", "b.png", "odd[1].png"]
    assert [p.name for p in find([str(tmp_path)])] == names
    assert [p.name for p in find([f"{tmp_path}/*"])] == names
    assert [p.name for p in find([f"{tmp_path}/**/?.*"])] == ["a.JPG", "b.png", "c.tif"]
    assert find([f"{tmp_path}/odd[1].png"]) == [tmp_path / "odd[1].png"]
    assert find(["none.png", f"{tmp_path}/note.txt"]) == [Path("none.png"), tmp_path / "note.txt"]
    twice = find([f"{tmp_path}/b.png", str(tmp_path)])
    assert [p.name for p in twice] == ["b.png", "a.JPG", "odd[1].png"]


def test_find_refuses_folders_and_patterns_without_images(tmp_path: Path) -> None:
    for argument in (str(tmp_path), f"{tmp_path}/*.png"):
        with pytest.raises(ImageError, match="no image there"):
            find([argument])


def test_write_overwrites_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write(b"one", path)
    with pytest.raises(ImageError, match=r"a\.png exists; use --force to overwrite it"):
        write(b"two", path)
    assert path.read_bytes() == b"one"
    write(b"two", path, force=True)
    assert path.read_bytes() == b"two" and os.listdir(tmp_path) == ["a.png"]
    (tmp_path / "plain").touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def failing(*_: object, **__: object) -> None:
    raise OSError(5, "Input/output error")


def test_write_manages_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", failing)
    path = tmp_path / "a.png"
    write(b"one", path)
    assert path.read_bytes() == b"one"
    with pytest.raises(ImageError, match="exists"):
        write(b"two", path)
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("broken", [["fsync"], ["link", "replace"]])
def test_a_failed_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: list[str], force: bool
) -> None:
    for name in broken:
        monkeypatch.setattr(os, name, failing)
    monkeypatch.setattr("diffprior.io.atomic._rename_to_free", lambda *_: False)
    with pytest.raises(ImageError, match=r"a\.png cannot be written: Input/output error"):
        write(b"data", tmp_path / "a.png", force=force)
    assert os.listdir(tmp_path) == []


def test_a_failed_write_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(ImageError, match="cannot be written"):
        write(b"new", path, force=True)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.png"]


def test_missing_and_impossible_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder, reason in [("none", "No such file or directory"), ("file", "Not a directory")]:
        with pytest.raises(ImageError, match=rf"{folder}/a\.png cannot be written: {reason}"):
            write(b"data", tmp_path / folder / "a.png")


def test_unwritable_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refusing)
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    with pytest.raises(ImageError, match=r"a\.png cannot be written: Permission denied"):
        write(b"data", tmp_path / "a.png")


@pytest.mark.parametrize("turn", [1, 6])
def test_deep_gray_of_which_0_is_white_is_no_negative(tmp_path: Path, turn: int) -> None:
    array = noise((3, 5), np.uint16)
    path = saved(tmp_path / "m.tif", Image.fromarray(~array), tiffinfo={262: 0, 274: turn})
    with Image.open(path) as image:
        assert image.tag_v2[262] == 0 and image.tag_v2[274] == turn
    np.testing.assert_array_equal(read(path).images.values[0, ..., 0], TURNS[turn](array))


def test_a_tiff_of_another_kind_is_called_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "f.tif", np.zeros((2, 2, 3), np.uint32), photometric="rgb")
    with pytest.raises(ImageError, match="f.tif: the image holds uint32; give uint8"):
        read(tmp_path / "f.tif")


def test_an_empty_name_is_no_folder() -> None:
    with pytest.raises(ImageError, match="an empty name is no image"):
        find([""])
