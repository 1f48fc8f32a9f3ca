"""Files: what was lost, refused without need, or stopped a run."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, PngImagePlugin

import diffprior
from diffprior.cli.batch import Options, run
from diffprior.cli.commands import SHARED
from diffprior.errors import ImageError, TaskError
from diffprior.io import decoding, extras, files, jpeg, numbers
from diffprior.io.arrays import as_images
from diffprior.likelihoods.jpeg import Coefficients, agrees
from diffprior.operators.generators.kernels import kernel

from support.images import SRGB
from support.shell import complaint
from support.shell import diffprior as command

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture(scope="module")
def dog() -> Image.Image:
    """A photograph of 96 x 96 pixels."""
    return Image.open(SAMPLES / "dog.png").convert("RGB").crop((240, 110, 336, 206))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(data: bytes, limit: int = files.LIMIT) -> files.File:
    return files.read(io.BytesIO(data), limit)


def noise(shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def inpaint(folder: Path, name: str, output: str, **options: object) -> int:
    """Fill the pixels at the upper left as the command line does, in this process."""
    mask = np.zeros(files.read(folder / name).images.size, np.uint8)
    mask[:2, :2] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    settings = {"mask": folder / "mask.png", "steps": 1}
    place = Options(quiet=True, output=str(folder / output), **options)
    return run(diffprior.inpaint, [str(folder / name)], settings, place)


# Metadata


def photo(folder: Path, **options: object) -> None:
    """Write a photograph with a date, a camera and a profile, which lies on its side."""
    block = Image.Exif()
    block.update({272: "Camera X", 274: 6, 306: "2020:01:02 03:04:05"})
    block[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    image = Image.fromarray(noise((16, 24, 3)))
    image.save(folder / "photo.jpg", exif=block, dpi=(300, 300), icc_profile=SRGB)


@pytest.mark.saw("a result had lost the date, the place and the camera of the photograph")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_metadata_goes_along(tmp_path: Path, suffix: str) -> None:
    photo(tmp_path)
    with warnings.catch_warnings(record=True, action="always") as said:
        assert inpaint(tmp_path, "photo.jpg", f"out{suffix}") == 0
        assert inpaint(tmp_path, "photo.jpg", f"bare{suffix}", strip_metadata=True) == 0
    lost = [str(w.message) for w in said if "cannot hold" in str(w.message)]
    assert len(lost) == (suffix == ".webp")  # the resolution, which was not in EXIF
    with (
        Image.open(tmp_path / f"out{suffix}") as out,
        Image.open(tmp_path / f"bare{suffix}") as bare,
    ):
        block = out.getexif()
        assert (block[272], block[306]) == ("Camera X", "2020:01:02 03:04:05")
        assert block.get_ifd(0x8825)[1] == "N" and block.get(274, 1) == 1
        assert out.size == bare.size == (16, 24)
        assert bare.info["icc_profile"] == out.info["icc_profile"] == SRGB
        assert not {272, 306, 0x8825} & set(bare.getexif()) and not getattr(bare, "text", {})


@pytest.mark.saw("a picture in linear light came out dark: its gamma was not in the result")
def test_gamma_goes_along(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100_000))
    Image.fromarray(noise((16, 16, 3))).save(tmp_path / "linear.png", pnginfo=info)
    assert inpaint(tmp_path, "linear.png", "out.png") == 0
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["gamma"] == 1
    with pytest.warns(UserWarning, match=r"linear.png: \.jpg cannot hold the color space"):
        assert inpaint(tmp_path, "linear.png", "out.jpg") == 0


@pytest.mark.saw("one photograph with a damaged EXIF header ended the run with a traceback")
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # that of Pillow
@pytest.mark.parametrize("kind", ["short", "garbage", "order", "pointer"])
def test_damaged_exif_leaves_the_pixels(tmp_path: Path, kind: str, dog: Image.Image) -> None:
    blocks = {
        "short": b"Exif\0\0MM\0*",
        "garbage": b"Exif\0\0II*\0\x08\0\0\0\x09\0garbage",
        "order": b"Exif\0\0MM\0j\0\0\0\x08\0\x01",
        "pointer": b"Exif\0\0II*\0\xf0\xff\xff\xff",
    }
    data = saved(dog, "JPEG", exif=blocks[kind])
    with pytest.warns(UserWarning, match=r"the EXIF \(date, place, camera\) is damaged"):
        file = read(data)
    pixels = np.asarray(Image.open(io.BytesIO(saved(dog, "JPEG"))))
    np.testing.assert_array_equal(file.images.values[0], pixels)
    opened = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(as_images(opened).values[0], pixels)


@pytest.mark.saw("the other images of an animation or a scan of many pages were gone, unsaid")
@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF", "GIF", "AVIF", "MPO"])
def test_further_images_are_said(kind: str) -> None:
    first, second = (Image.fromarray(noise((16, 16, 3)) // k) for k in (1, 2))
    data = saved(first, kind, save_all=True, append_images=[second])
    with pytest.warns(UserWarning, match="it holds 2 images; only the first is worked on"):
        assert read(data).images.size == (16, 16)


@pytest.mark.saw("a logo with transparency became a JPEG with black corners, unsaid")
@pytest.mark.parametrize("suffix", [".jpg", ".jfif", ".bmp"])
def test_alpha_that_is_lost_is_said(suffix: str) -> None:
    values = noise((8, 8, 3))
    with pytest.warns(UserWarning, match=rf"^\{suffix} cannot hold the alpha \(transparency\)"):
        files.encode(values, noise((8, 8)), suffix)
    files.encode(values, np.full((8, 8), 255, np.uint8), suffix)  # opaque: nothing is lost


# Kinds of files that were refused, or not seen


@pytest.mark.saw("a folder of .jfif files from a browser had no images")
@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".avif", ".gif", ".JFIF", ".heic", ".dng"])
def test_a_folder_has_all_kinds(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"a{suffix}").touch()
    assert files.find([str(tmp_path)]) == [tmp_path / f"a{suffix}"]


@pytest.mark.saw("a photograph of 102 megapixels was refused, and no option allowed it")
def test_the_limit_is_an_option(tmp_path: Path) -> None:
    assert files.LIMIT >= 204_000_000  # of the largest cameras
    Image.fromarray(noise((20, 30))).save(tmp_path / "a.png")
    done = command("denoise", "a.png", "--sigma", "0.1", "--max-pixels", "599", folder=tmp_path)
    assert done.returncode == 1
    assert complaint(done) == (
        "a.png: it is larger than the limit of 599 pixels; --max-pixels sets another"
    )
    assert {"max_pixels", "strip_metadata"} <= set(SHARED)


SAMPLING = {"4:4:0": 0x121111, "4:1:1": 0x411111, "4:2:0": 0x221111, "4:2:2": 0x211111}


@pytest.mark.saw("dejpeg called a JPEG file no JPEG file, for its chroma had 4:4:0 or 4:1:1")
@pytest.mark.parametrize("kind", [*SAMPLING, "RGB", "gray"])
def test_all_codings_are_read_and_their_cells_hold_the_image(dog: Image.Image, kind: str) -> None:
    if kind in SAMPLING:
        flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLING[kind], cv2.IMWRITE_JPEG_QUALITY, 40]
        data = cv2.imencode(".jpg", np.asarray(dog)[..., ::-1], flags)[1].tobytes()
    else:
        image = dog.convert("L") if kind == "gray" else dog
        data = saved(image, "JPEG", quality=40, keep_rgb=kind == "RGB")
    coding = read(data).coding
    assert coding is not None and coding == jpeg.read(Image.open(io.BytesIO(data)))
    assert coding.colors == ("RGB" if kind == "RGB" else "YCbCr")
    assert coding.subsampling == (kind if kind in SAMPLING else "4:4:4")
    decoded = as_images(Image.open(io.BytesIO(data))).tensor()  # by libjpeg
    assert agrees(decoded[0], coding)
    channels = 1 if kind == "gray" else 3
    A = Coefficients((channels, 96, 96), coding)
    y = A.coded(decoded[:, :channels])
    clear = A.step.expand_as(y) > 6
    off = (y / A.step - (y / A.step).round())[clear].abs()
    assert off.mean() < 0.015  # a random number is 0.25 from the next whole one
    truth = as_images(dog.convert("L") if kind == "gray" else dog).tensor()[:, :channels]
    assert ((A(truth) - y).abs() <= A.step / 2 + 1).double().mean() > 0.995


@pytest.mark.saw("dejpeg said of a CMYK JPEG that it was no JPEG")
@pytest.mark.filterwarnings("ignore:.*its CMYK has no usable profile")
def test_codings_that_are_not_read_are_named(tmp_path: Path, dog: Image.Image, capsys) -> None:
    dog.convert("CMYK").save(tmp_path / "cmyk.jpg")
    assert run(diffprior.dejpeg, [str(tmp_path / "cmyk.jpg")], {}, Options(quiet=True)) == 1
    said = capsys.readouterr().err
    assert "it is a JPEG of four channels (CMYK)" in said and "give a quality" in said
    with pytest.raises(TaskError, match="it is a JPEG of four channels"):
        diffprior.dejpeg(Image.open(tmp_path / "cmyk.jpg"))


@pytest.mark.saw("a kernel drawn on a transparent ground blurred with the color of the ground")
def test_the_clear_part_of_a_kernel_is_zero(tmp_path: Path) -> None:
    pixels = np.full((3, 3, 4), 255, np.uint8)
    pixels[..., 3] = 0
    pixels[1, 1, 3], pixels[1, 2, 3] = 255, 85
    framed = np.array([[0, 0, 0], [0, 0.75, 0.25], [0, 0, 0]], np.float32)
    expected = torch.from_numpy(framed[1:2])
    for array, mode in ((pixels, "RGBA"), (pixels[..., [0, 3]], "LA")):
        Image.fromarray(array, mode).save(tmp_path / "k.png")
        torch.testing.assert_close(kernel(str(tmp_path / "k.png")), expected)
    np.save(tmp_path / "k.npy", 7 * framed)
    torch.testing.assert_close(kernel(str(tmp_path / "k.npy")), expected)
    for shape in ((1, 3), (1, 1, 3)):  # of one row, also as a batch
        np.save(tmp_path / "k.npy", framed[1:2].reshape(shape))
        torch.testing.assert_close(kernel(str(tmp_path / "k.npy")), expected)
    tifffile.imwrite(tmp_path / "k.tif", 8 * framed)  # floats of any range
    torch.testing.assert_close(kernel(str(tmp_path / "k.tif")), expected)


@pytest.mark.saw("a kernel file of another kind ended with a traceback, or with NaN everywhere")
@pytest.mark.parametrize(
    "array", [np.full((3, 3), np.nan), -np.ones((3, 3)), np.zeros((3, 3)), np.ones((2, 3, 4))]
)
def test_arrays_that_are_no_kernel_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "k.npy", array)
    with pytest.raises(ValueError, match="kernel has no negative weight|give an array"):
        kernel(str(tmp_path / "k.npy"))


# Layouts of pixels


def tiff(array: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, array, metadata=None, **options)
    return file.getvalue()


@pytest.mark.saw("an unnamed fourth channel was alpha in 16 bits and nothing in 8")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_extra_channel_is_the_same_at_both_depths(dtype: type) -> None:
    array = noise((7, 5, 4), dtype)
    data = tiff(array, photometric="rgb", extrasamples=["unspecified"])
    with pytest.warns(UserWarning, match="it has extra channels that are no alpha; they are drop"):
        images = read(data).images
    np.testing.assert_array_equal(images.values[0], array[..., :3])
    assert images.alpha is None and images.values.dtype == dtype


@pytest.mark.saw("16-bit scans of separate planes, premultiplied alpha or floats were refused")
@pytest.mark.parametrize("order", ["<", ">"])
def test_deep_layouts_are_read(order: str) -> None:
    array = noise((7, 5, 4), np.uint16)
    planes = tiff(
        np.moveaxis(array[..., :3], -1, 0),
        photometric="rgb",
        planarconfig="separate",
        byteorder=order,
    )
    np.testing.assert_array_equal(read(planes).images.values[0], array[..., :3])
    gray = tiff(
        array[..., :2], photometric="minisblack", extrasamples=["unassalpha"], byteorder=order
    )
    images = read(gray).images
    np.testing.assert_array_equal(images.values[0], array[..., :1])
    np.testing.assert_array_equal(images.alpha[0], array[..., 1])
    turned = tiff(
        array[..., :3], photometric="rgb", byteorder=order, extratags=[(274, 3, 1, 6, True)]
    )
    np.testing.assert_array_equal(read(turned).images.values[0], np.rot90(array[..., :3], -1))
    array[0, :, 3] = 65535
    product = array[..., :3].astype(np.uint64) * array[..., 3:] // 65535
    stored = np.concatenate([product.astype(np.uint16), array[..., 3:]], -1)
    images = read(
        tiff(stored, photometric="rgb", extrasamples=["assocalpha"], byteorder=order)
    ).images
    np.testing.assert_array_equal(images.values[0, 0], array[0, :, :3])  # opaque: bit for bit
    strong = array[..., 3] > 6000
    error = np.abs(images.values[0][strong].astype(int) - array[strong][:, :3])
    assert error.max() <= 65535 / 6000


@pytest.mark.saw("a float TIFF was refused, though its values were those of a photograph")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 3])
def test_floats_stay_in_tiff_and_are_rounded_in_png(dtype: type, channels: int) -> None:
    array = np.random.default_rng(0).random((7, 5, channels)).astype(dtype)
    photometric = "rgb" if channels == 3 else "minisblack"
    array = array if channels == 3 else array[..., 0]
    values = read(tiff(array, photometric=photometric)).images.values[0]
    np.testing.assert_array_equal(values.squeeze(), array)
    again = read(files.encode(values, None, ".tif")).images.values[0]
    np.testing.assert_array_equal(again.squeeze(), array)
    with pytest.warns(UserWarning, match="floating-point values are rounded to 16 bits in .png"):
        coarse = read(files.encode(values, None, ".png")).images.values[0]
    np.testing.assert_array_equal(coarse, np.rint(65535 * values.astype(np.float64)))
    bright = tiff(array + dtype(1), photometric=photometric)
    with pytest.raises(ImageError, match=r"floats from 1.* to .*; give them in \[0, 1\]"):
        read(bright)


@pytest.mark.saw("CMYK and Lab images came out in garish colors, or were called damaged")
def test_other_colors_become_srgb() -> None:
    lab = Image.fromarray(np.full((4, 4, 3), (128, 0, 0), np.uint8), "LAB")
    with pytest.warns(UserWarning, match="its LAB colors are converted to sRGB"):
        values = read(saved(lab, "TIFF")).images.values
    assert np.abs(values.astype(int) - 119).max() <= 2  # L* = 50 in sRGB; a and b near 0


@pytest.mark.saw("a PNG of 1, 2 or 4 bits, or with one clear color, came out in other values")
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_spread_to_eight(bits: int) -> None:
    array = noise((4, 8)) >> (8 - bits)
    rows = np.packbits(
        ((array[..., None] >> np.arange(bits)[::-1]) & 1).astype(np.uint8).reshape(4, -1), 1
    )
    file = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    file.seek(8)
    PngImagePlugin.putchunk(file, b"IHDR", struct.pack(">IIBBBBB", 8, 4, bits, 0, 0, 0, 0))
    PngImagePlugin.putchunk(file, b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))
    PngImagePlugin.putchunk(file, b"IEND", b"")
    values = read(file.getvalue()).images.values[0, ..., 0]
    np.testing.assert_array_equal(values, array * (255 // (2**bits - 1)))


@pytest.mark.saw("floats that an FFT or a resize left at 1.0000002 were refused")
@pytest.mark.parametrize("value", [1.0000002, -1.2e-7, 1 + 2**-23])
def test_one_rounding_beyond_the_range_is_in_it(value: float) -> None:
    array = np.full((4, 4, 3), 0.5, np.float32)
    array[0, 0] = np.float32(value)
    values = as_images(array).values
    assert values[0, 0, 0, 0] == np.float32(value).clip(0, 1)
    array[0, 0] = 1.01
    with pytest.raises(ImageError, match="floats from 0.5 to 1.01"):
        as_images(array)


# Kinds of the extra


@pytest.mark.saw("a photograph of a phone (HEIC) was called damaged")
@pytest.mark.parametrize("kind", ["HEIC", "EXR", "raw"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data = {
        "HEIC": b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99),
        "EXR": b"v/1\x01" + bytes(99),
        "raw": b"II*\0\x10\0\0\0CR\x02\0" + bytes(99),
    }
    for name in ("pillow_heif", "OpenEXR", "rawpy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ImageError, match=r"a package is missing: pip install 'diffprior\[formats\]'"
    ):
        read(data[kind])


@pytest.mark.saw("a photograph of a phone (HEIC) was refused")
def test_heic_is_read(dog: Image.Image) -> None:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(dog).save(file, quality=95)
    error = np.abs(read(file.getvalue()).images.values[0].astype(int) - np.asarray(dog))
    assert error.mean() < 4


@pytest.mark.saw("an image in OpenEXR was refused")
def test_linear_light_is_coded_as_srgb(tmp_path: Path) -> None:
    exr = pytest.importorskip("OpenEXR")
    light = np.random.default_rng(0).random((5, 4, 3)).astype(np.float32)
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"RGB": light}).write(str(tmp_path / "a.exr"))
    with pytest.warns(UserWarning, match="a.exr: its linear light is coded as sRGB"):
        values = files.read(tmp_path / "a.exr").images.values[0]
    from skimage.exposure import adjust_gamma

    assert values.dtype == np.float32
    assert np.abs(values - adjust_gamma(light, 1 / 2.2)).max() < 0.04  # sRGB is near 2.2
    coded = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(coded, light, atol=1e-6)
    exr.File(header, {"RGB": 9 * light}).write(str(tmp_path / "a.exr"))
    with pytest.raises(ImageError, match=r"its light is from .* to 8.*; tone-map it to \[0, 1\]"):
        files.read(tmp_path / "a.exr")


@pytest.mark.saw("a raw file was read as the small preview inside it")
def test_raw_files_are_told_from_tiff() -> None:
    made = saved(Image.new("RGB", (4, 4)), "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    plain = saved(Image.new("RGB", (4, 4)), "TIFF")
    assert extras.reader(made, ".tif") is extras.reader(plain, ".nef") is extras._raw
    assert extras.reader(plain, ".tif") is None
    with pytest.raises(ImageError):
        decoding.decode(plain, files.LIMIT, ".NEF")


# What is no file


@pytest.mark.saw("a sparse file of 60 GB ended the run with a MemoryError")
def test_sparse_files_are_refused_by_their_size(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    os.truncate(path, 60 * 2**30)
    for reader in (files.read, numbers.read):
        with pytest.raises(
            ImageError, match=r"a.png: it has 64424509440 bytes, and at most \d+ are"
        ):
            reader(path)
    os.truncate(path, 3 * 2**30)
    with pytest.raises(ImageError, match="a.png: it begins with zeros, as no image does"):
        files.read(path)


@pytest.mark.saw("a named pipe or a device let the command wait without end")
def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path, reason in (
        (tmp_path / "pipe.png", "it is a named pipe; give - and pipe the image in"),
        (Path("/dev/zero"), "it is a device"),
        (tmp_path, "it is a folder"),
        (tmp_path / "no\0name.png", "it cannot be read: embedded null byte"),
        (tmp_path / ("x" * 300), "it cannot be read: File name too long"),
    ):
        with pytest.raises(ImageError, match=reason):
            files.read(path)
    with open("/dev/zero", "rb") as endless:
        with pytest.raises(ImageError, match="/dev/zero: it begins with zeros"):
            files.read(endless)


@pytest.mark.saw("out of memory in one image, the run ended with a traceback")
def test_memory_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    data = saved(Image.new("RGB", (4, 4)), "PNG")
    monkeypatch.setattr(Image, "open", full)
    with pytest.raises(ImageError, match="it is too large for the memory of this machine"):
        read(data)


@pytest.mark.saw("a name with control characters changed the terminal, or turned its text around")
def test_names_are_shown_as_they_can_be(tmp_path: Path) -> None:
    for name, expected in (
        ("a\x1b[31m.png", r"a\x1b[31m.png"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("caf\udce9.png", r"caf\xe9.png"),
        ("two\nlines.png", r"two\nlines.png"),
        ("größe 日本.png", "größe 日本.png"),
    ):
        with pytest.raises(ImageError) as caught:
            files.read(tmp_path / name)
        text = str(caught.value)
        assert expected in text and text.isprintable() and len(text) <= 300
    with pytest.raises(ImageError) as caught:
        files.write(b"", tmp_path / ("deep/" * 90) / "a.png")
    assert len(str(caught.value)) <= 200


@pytest.mark.saw("a picture whose name is not UTF-8 could not be worked on")
def test_names_that_are_not_utf8_are_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    files.write(saved(Image.new("RGB", (4, 4)), "PNG"), path)
    assert files.read(path).images.size == (4, 4)
    assert inpaint(tmp_path, path.name, os.fsdecode(b"out-\xe9.png")) == 0


@pytest.mark.saw("a name that a killed run had begun was an empty file, which the rerun refused")
def test_a_kill_leaves_no_empty_file(tmp_path: Path) -> None:
    code = (
        "import os\n"
        "from pathlib import Path\n"
        "from diffprior.io.files import write\n"
        "def no(*a, **k): raise PermissionError(1, 'Operation not permitted')\n"
        "os.link = no\n"
        "os.replace = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "write(b'x' * 1000, Path('o.png'))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert [p.stat().st_size for p in tmp_path.glob("o.png")] in ([], [1000])
