"""What a file says beside its pixels goes along: date, place, camera, resolution, color space."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

from diffprior.io import exif, jpeg, png
from diffprior.io.arrays import ImageError, as_images
from diffprior.io.files import SUFFIXES, encode, read
from diffprior.io.metadata import Metadata, fitting

from support.images import SRGB

MAKER = b"Canon\0\1\2\3" + bytes(range(256))
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" '
    b'dc:creator="me"/><xmp:Thumbnails><rdf:Alt>old</rdf:Alt></xmp:Thumbnails></x:xmpmeta>'
)
IPTC = b"\x1c\x02\x05\x00\x05title\x1c\x02\x50\x00\x02me"
HOLDS_EXIF = [s for s in SUFFIXES if s not in (".bmp",)]
LINEAR = (b"gAMA", struct.pack(">I", 100_000))


def photo(**more: object) -> bytes:
    """Return a JPEG photograph, turned, with all that a phone writes."""
    block = Image.Exif()
    block.update({271: "Maker", 272: "Camera X", 306: "2020:01:02 03:04:05", 274: 6, 256: 24})
    block[0x8769] = {0x9003: "2020:01:02 03:04:05", 0x927C: MAKER, 0xA002: 24, 0xA003: 16}
    block[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
    file = io.BytesIO()
    array = np.kron(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40, np.ones((8, 8), np.uint8))
    extra = jpeg.segment_of_iptc(IPTC)
    options = {"exif": block, "dpi": (300, 150), "xmp": XMP, "icc_profile": SRGB, "extra": extra}
    Image.fromarray(np.stack([array] * 3, -1)).save(file, "JPEG", quality=95, **options | more)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def kept(suffix: str, data: bytes, **options: object) -> bytes:
    file = read(io.BytesIO(data))
    return encode(file.images.values[0], None, suffix, file.metadata, **options)


@pytest.mark.filterwarnings("ignore:.* cannot hold the (IPTC|resolution)")
@pytest.mark.parametrize("suffix", HOLDS_EXIF)
def test_date_place_camera_and_maker_notes_go_along(suffix: str) -> None:
    image = opened(kept(suffix, photo()))
    block = image.getexif()
    assert (block[271], block[272], block[306]) == ("Maker", "Camera X", "2020:01:02 03:04:05")
    assert block.get(274, 1) == 1 and image.size == (16, 24)
    details = block.get_ifd(0x8769)
    assert details[0x9003] == "2020:01:02 03:04:05" and details[0x927C] == MAKER
    assert (details[0xA002], details[0xA003]) == (16, 24) or suffix in (".tif", ".tiff")
    place = block.get_ifd(0x8825)
    assert place[1] == "N" and [float(v) for v in place[2]] == [52, 31, 12]
    assert image.info["icc_profile"] == SRGB


@pytest.mark.filterwarnings("ignore:.* cannot hold the (IPTC|resolution)")
@pytest.mark.parametrize("suffix", HOLDS_EXIF)
def test_xmp_goes_along_upright_and_without_its_thumbnail(suffix: str) -> None:
    xmp = read(io.BytesIO(kept(suffix, photo()))).metadata.xmp
    assert xmp is not None and b'tiff:Orientation="1"' in xmp and b'dc:creator="me"' in xmp
    assert b"Thumbnails" not in xmp and b"old" not in xmp


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_the_resolution_goes_along_and_turns_with_the_image(suffix: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = opened(kept(suffix, photo()))
    assert image.info["dpi"] == pytest.approx((150, 300), abs=0.02)


@pytest.mark.parametrize("suffix", [".webp", ".avif"])
def test_without_exif_the_resolution_becomes_exif(suffix: str) -> None:
    data = encode(np.zeros((8, 8, 3), np.uint8), None, suffix, Metadata(dpi=(300, 300)))
    assert opened(data).getexif()[282] == 300
    with pytest.warns(
        UserWarning, match=rf"^\{suffix} cannot hold the IPTC, the resolution"
    ) as said:
        kept(suffix, photo())
    assert len(said) == 1


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_iptc_goes_along(suffix: str) -> None:
    data = kept(suffix, photo())
    assert read(io.BytesIO(data)).metadata.iptc == IPTC
    if suffix == ".jpg":
        assert opened(data).info["photoshop"][0x0404] == IPTC


def test_the_block_stays_byte_for_byte() -> None:
    """So that offsets in the notes of makers hold; but for the orientation and the size."""
    before = opened(photo()).info["exif"].removeprefix(b"Exif\0\0")
    after = opened(kept(".jpg", photo())).info["exif"].removeprefix(b"Exif\0\0")
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(after, before, strict=True)) <= 20


def with_thumbnail(small: bytes) -> bytes:
    """Return an EXIF block whose second directory holds a thumbnail."""
    block = Image.Exif()
    block[272] = "Camera X"
    plain = bytearray(block.tobytes()[6:])
    end = 8 + 2 + 12
    at = len(plain)
    struct.pack_into("<I" if plain[:2] == b"II" else ">I", plain, end, at)
    order = "<" if plain[:2] == b"II" else ">"
    entries = ((0x0201, 4, 1, at + 30), (0x0202, 4, 1, len(small)))
    second = struct.pack(f"{order}H", 2) + b"".join(
        struct.pack(f"{order}HHII", *e) for e in entries
    )
    return bytes(plain) + second + bytes(4) + small


def test_the_thumbnail_of_the_old_image_is_gone() -> None:
    small = b"\xff\xd8 a face that was painted over \xff\xd9"
    block = with_thumbnail(small)
    check = Image.Exif()
    check.load(block)
    assert check.get_ifd(0x0201) is not None and small in block
    after = exif.upright(block, (4, 4))
    assert small not in after and len(after) == len(block)
    again = Image.Exif()
    again.load(after)
    assert again[272] == "Camera X" and again._info is not None and again._info.next == 0


@pytest.mark.parametrize("make", ["II", "MM"])
def test_sizes_beyond_16_bits_are_said(make: str) -> None:
    block = Image.Exif()
    block.endian = "<" if make == "II" else ">"
    block[0x8769] = {0xA002: 24, 0xA003: 16}
    after = Image.Exif()
    after.load(exif.upright(block.tobytes()[6:], (70_000, 3)))
    assert after.get_ifd(0x8769) == {0xA002: 3, 0xA003: 70_000}


def test_a_tiff_keeps_what_describes_its_photograph() -> None:
    file = io.BytesIO()
    tags = {270: "title", 306: "2020:01:02 03:04:05", 315: "me", 33432: "(c)", 274: 8, 700: XMP}
    details = {0x9003: "2020:01:02 03:04:05", 0x927C: MAKER}
    Image.new("RGB", (5, 3)).save(file, "TIFF", tiffinfo=tags | {0x8769: details}, dpi=(300, 300))
    for suffix in (".tif", ".jpg", ".png", ".webp"):
        image = opened(kept(suffix, file.getvalue()))
        block = image.getexif()
        assert (block[270], block[315], block[33432]) == ("title", "me", "(c)")
        assert block.get(274, 1) == 1 and image.size == (3, 5)
        assert block.get_ifd(0x8769)[0x927C] == MAKER
    deep = encode(
        np.zeros((3, 5, 3), np.uint16), None, ".tif", read(io.BytesIO(file.getvalue())).metadata
    )
    with tifffile.TiffFile(io.BytesIO(deep)) as other:
        assert other.pages[0].tags[315].value == "me"
        assert other.pages[0].tags[0x8769].value["DateTimeOriginal"] == "2020:01:02 03:04:05"


# The color space of PNG files


def png_with(*chunks: tuple[bytes, bytes], dtype: type = np.uint8, channels: int = 3) -> bytes:
    plain = encode(np.zeros((4, 4, channels), dtype), None, ".png")
    file = io.BytesIO()
    for name, data in chunks:
        PngImagePlugin.putchunk(file, name, data)
    return plain[:33] + file.getvalue() + plain[33:]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gamma_primaries_and_hdr_go_along(dtype: type, channels: int) -> None:
    chunks = [
        LINEAR,
        (b"cHRM", struct.pack(">8I", 31270, 32900, 70800, 29200, 17000, 79700, 13100, 4600)),
        (b"cICP", bytes((9, 16, 0, 1))),
        (b"mDCV", bytes(24)),
        (b"cLLI", bytes(8)),
        (b"pHYs", struct.pack(">IIB", 11811, 5906, 1)),
        (b"tEXt", b"parameters\0a cat, steps 20"),
    ]
    file = read(io.BytesIO(png_with(*chunks, dtype=dtype, channels=channels)))
    values = file.images.values[0]
    again = encode(values, None, ".png", file.metadata, {"Software": "x"})
    found = {name: data for name, data, is_whole in png.chunks(again) if is_whole}
    assert found.items() >= {n: d for n, d in chunks if n != b"tEXt"}.items()
    assert opened(again).text == {"parameters": "a cat, steps 20", "Software": "x"}


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif", ".avif", ".bmp"])
def test_a_color_space_that_is_lost_is_said(suffix: str) -> None:
    file = read(io.BytesIO(png_with(LINEAR)))
    with pytest.warns(UserWarning, match=rf"^\{suffix} cannot hold the color space \(gAMA"):
        encode(file.images.values[0], None, suffix, file.metadata)


@pytest.mark.parametrize("chunk", [(b"sRGB", b"\0"), (b"gAMA", struct.pack(">I", 45455))])
def test_that_numbers_are_srgb_need_not_be_said(chunk: tuple[bytes, bytes]) -> None:
    assert fitting(Metadata(color=(chunk,)), "JPEG", 3) == (Metadata(), [])


def test_profiles_of_other_colors_are_dropped() -> None:
    for space, channels in ((b"CMYK", 3), (b"GRAY", 3), (b"Lab ", 1)):
        icc = SRGB[:16] + space + SRGB[20:]
        assert fitting(Metadata(icc=icc), "PNG", channels)[0].icc is None


def test_exif_in_an_old_text_becomes_a_chunk() -> None:
    block = Image.Exif()
    block[272] = "Camera X"
    block[274] = 3
    raw = b"\nexif\n%8d\n" % len(block.tobytes()) + block.tobytes().hex().encode() + b"\n"
    text = b"Raw profile type exif\0\0" + zlib.compress(raw)
    file = read(io.BytesIO(png_with((b"zTXt", text))))
    image = opened(encode(file.images.values[0], None, ".png", file.metadata))
    assert image.getexif()[272] == "Camera X" and image.getexif()[274] == 1
    assert "Raw profile type exif" not in image.text


# Damage


@pytest.mark.filterwarnings("ignore:.*is damaged and is dropped")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize(
    "damage", [b"", b"MM\0*\0", b"MM\0*\xff\xff\xff\xff", b"garbage!", b"II+\0" * 9]
)
def test_damaged_exif_leaves_the_pixels_alone(suffix: str, damage: bytes) -> None:
    values = np.full((8, 8, 3), 77, np.uint8)
    data = encode(values, None, suffix, Metadata(exif=with_thumbnail(b"x" * 40)))
    block = with_thumbnail(b"x" * 40)
    at = data.find(exif.upright(block, (8, 8))[:8])
    assert at > 0 or suffix == ".tif"
    broken = data if suffix == ".tif" else data[:at] + damage + data[at + len(damage) :]
    if suffix == ".png":
        broken = png_with((b"eXIf", damage))
        values = np.zeros((4, 4, 3), np.uint8)
    file = read(io.BytesIO(broken))
    assert np.abs(file.images.values[0].astype(int) - values).max() <= 2


@pytest.mark.parametrize("suffix", [".tif"])
def test_a_damaged_directory_of_a_tiff_leaves_the_pixels_alone(suffix: str) -> None:
    block = Image.Exif()
    block[0x8769] = {0x9003: "2020:01:02 03:04:05"}
    values = np.full((4, 4, 3), 77, np.uint8)
    data = bytearray(encode(values, None, suffix, Metadata(exif=block.tobytes()[6:])))
    entry = exif.Directories(bytes(data)).first[0x8769]
    struct.pack_into("<I", data, entry.at + 8, 2**31)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (read(io.BytesIO(bytes(data))).images.values == 77).all()


def test_a_damaged_chunk_is_named_and_dropped() -> None:
    data = bytearray(png_with(LINEAR))
    data[data.find(b"gAMA") + 4] ^= 1
    with pytest.warns(UserWarning, match="the stream: its chunk gAMA is damaged and is dropped"):
        assert read(io.BytesIO(bytes(data))).metadata == Metadata()


def test_a_block_too_long_for_jpeg_is_said() -> None:
    block = Image.Exif()
    block[0x8769] = {0x927C: bytes(70_000)}
    about = Metadata(exif=block.tobytes()[6:])
    with pytest.warns(UserWarning, match=r"^\.jpg cannot hold the EXIF \(date, place, camera\)"):
        data = encode(np.zeros((8, 8, 3), np.uint8), None, ".jpg", about)
    assert 0x8769 not in opened(data).getexif()


def test_objects_of_pillow_with_damaged_exif_are_images() -> None:
    image = Image.new("RGB", (5, 3))
    file = io.BytesIO()
    image.save(file, "JPEG", exif=b"Exif\0\0MX\0*" + bytes(20))
    assert as_images(opened(file.getvalue())).size == (3, 5)
    cut = Image.open(io.BytesIO(photo()[:-20]))
    with pytest.raises(ImageError, match="the image cannot be read"):
        as_images(cut)


def test_strip_leaves_what_makes_colors_right() -> None:
    about = read(io.BytesIO(photo())).metadata
    assert about.colors() == Metadata(icc=SRGB)


def test_written_files_are_read_by_path(tmp_path: Path) -> None:
    (tmp_path / "a.jfif").write_bytes(photo())
    assert read(tmp_path / "a.jfif").metadata.exif is not None
