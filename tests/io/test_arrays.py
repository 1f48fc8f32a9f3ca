"""Every kind of image comes back in the numbers and the kind that it came in."""

import dataclasses
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffprior.io.arrays import (
    ImageError,
    as_images,
    as_stored,
    to_pil,
    upright,
)
from diffprior.io.previews import heat_map

DTYPES = [np.uint8, np.uint16, np.float32, np.float64]


def noise(shape: tuple[int, ...], dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def random_x(batch: int, h: int, w: int) -> torch.Tensor:
    return 2 * torch.rand(batch, 3, h, w, generator=torch.Generator().manual_seed(1)) - 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_survives_the_round_trip(dtype: type, channels: int) -> None:
    every = np.arange(np.iinfo(dtype).max + 1).astype(dtype).reshape(16, -1, 1)
    p = as_images(np.repeat(every, channels, axis=-1))
    x = p.tensor()
    assert x.dtype == torch.float32 and x.shape == (1, 3, *every.shape[:2])
    assert x.min() == -1 and x.max() == 1
    np.testing.assert_array_equal(p.blend(x), p.values)
    np.testing.assert_array_equal(p.blend(x, torch.ones(1, 1, *p.size)), p.values)


def test_the_tensor_is_two_v_over_top_minus_one() -> None:
    x = as_images(np.array([[[0, 51, 255]]], np.uint8)).tensor()
    torch.testing.assert_close(x.flatten(), torch.tensor([-1.0, -0.6, 1.0]))
    gray = as_images(np.array([[0.25]])).tensor()
    torch.testing.assert_close(gray, torch.full((1, 3, 1, 1), -0.5))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blend_keeps_bits_at_0_fills_at_1_and_mixes_between(dtype: type, channels: int) -> None:
    p = as_images(noise((5, 6, channels), dtype))
    x = random_x(1, 5, 6)
    mask = torch.full((1, 1, 5, 6), 0.25)
    mask[..., :2], mask[..., 2:4] = 0, 1
    x[..., :2] = torch.nan
    out = p.blend(x, mask)
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    fill = top * (x[0].movedim(0, -1).double().numpy() + 1) / 2
    if channels == 1:
        fill = fill @ np.array([[0.299], [0.587], [0.114]])
    assert out.dtype == dtype and out.shape == p.values.shape
    assert out[:, :, :2].tobytes() == p.values[:, :, :2].tobytes()
    close = {"rtol": 0, "atol": 0.51 if top > 1 else 1e-6}
    np.testing.assert_allclose(out[0, :, 2:4], fill[:, 2:4], **close)
    mixed = 0.75 * p.values[0].astype(float) + 0.25 * fill
    np.testing.assert_allclose(out[0, :, 4:], mixed[:, 4:], **close)


@pytest.mark.parametrize("dtype", DTYPES)
def test_blend_with_mask_zero_is_bit_identical(dtype: type) -> None:
    p = as_images(noise((33, 31, 3), dtype))
    out = p.blend(random_x(1, 33, 31), torch.zeros(1, 1, 33, 31))
    assert out.tobytes() == p.values.tobytes()


def test_blend_clips_and_leaves_its_input_alone() -> None:
    p = as_images(np.full((1, 2, 3), 7, np.uint8))
    x = torch.tensor([-3.0, 3.0]).expand(1, 3, 1, 2)
    assert p.blend(x)[0, 0, :, 0].tolist() == [0, 255]
    assert (p.values == 7).all()


def test_blend_lays_many_samples_over_each_image() -> None:
    p = as_images(torch.from_numpy(noise((2, 3, 4, 5))))
    x = random_x(6, 4, 5)
    mask = torch.zeros(2, 1, 4, 5)
    mask[1] = 1
    out = p.blend(x, mask)
    for i in range(3):
        np.testing.assert_array_equal(out[i], p.values[0])
        np.testing.assert_array_equal(out[3 + i], p.blend(x[3 + i : 4 + i].repeat(2, 1, 1, 1))[0])


def test_blend_refuses_what_cannot_be_laid_over() -> None:
    p = as_images(np.zeros((2, 2, 3), np.uint8))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(ImageError, match="NaN or infinity"):
            p.blend(torch.full((1, 3, 2, 2), bad))
    with pytest.raises(ValueError, match="3 fillings cannot be shared out to 2 images"):
        as_images(torch.zeros(2, 3, 2, 2)).blend(torch.zeros(3, 3, 2, 2))


def test_blend_without_mask_takes_another_size_and_color() -> None:
    p = as_images(noise((4, 4)))
    colored = dataclasses.replace(p, values=p.values.repeat(3, axis=-1))
    out = colored.blend(torch.tensor([-1.0, 0.2, 1.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8))
    assert colored.restore_kind(out).shape == (8, 8, 3)
    assert out[0, 5, 5].tolist() == [0, 153, 255]


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 2), (5, 4, 3), (5, 4, 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_numpy_comes_back_as_it_came(dtype: type, shape: tuple[int, ...]) -> None:
    array = noise(shape, dtype)
    p = as_images(array)
    assert len(p) == 1 and p.size == (5, 4)
    back = p.restore_kind(p.values)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("shape", [(1, 5, 4), (3, 5, 4), (4, 5, 4), (2, 1, 5, 4), (2, 4, 5, 4)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.bfloat16, torch.float64])
def test_torch_comes_back_as_it_came(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.from_numpy(noise(shape, np.float32))
    x = (255 * x).to(dtype) if dtype == torch.uint8 else x.to(dtype)
    p = as_images(x.requires_grad_(dtype.is_floating_point))
    back = p.restore_kind(p.values)
    assert back.dtype == dtype and not back.requires_grad
    assert torch.equal(back, x.detach())


def test_bool_is_black_and_white() -> None:
    bits = np.array([[True, False]])
    assert as_images(bits).values.ravel().tolist() == [255, 0]
    back = as_images(torch.from_numpy(bits[None]))
    assert back.restore_kind(back.values).tolist() == [[[255, 0]]]


def test_big_endian_is_read() -> None:
    p = as_images(np.array([[1, 256]], ">u2"))
    assert p.values.dtype == np.uint16 and p.values.ravel().tolist() == [1, 256]


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pil_comes_back_in_its_mode(mode: str) -> None:
    channels = len(mode)
    array = noise((5, 4, channels) if channels > 1 else (5, 4))
    image = Image.fromarray(array)
    image.info["icc_profile"] = b"profile"
    p = as_images(image)
    back = p.restore_kind(p.values)
    assert image.mode == back.mode == mode and back.info["icc_profile"] == b"profile"
    np.testing.assert_array_equal(np.asarray(back), array)


def test_deep_pil_stays_deep() -> None:
    array = noise((5, 4), np.uint16)
    p = as_images(Image.fromarray(array))
    assert p.values.dtype == np.uint16
    back = p.restore_kind(p.values)
    assert back.mode == "I;16"
    np.testing.assert_array_equal(np.asarray(back), array)
    wide = as_images(Image.fromarray(array.astype(np.int32)))
    np.testing.assert_array_equal(wide.values[0, ..., 0], array)
    colored = p.restore_kind(np.full((1, 5, 4, 3), 257, np.uint16))
    assert colored.mode == "RGB" and colored.getpixel((0, 0)) == (1, 1, 1)


def test_float_pil_stays_float() -> None:
    array = noise((5, 4), np.float32)
    p = as_images(Image.fromarray(array))
    np.testing.assert_array_equal(np.asarray(p.restore_kind(p.values)), array)


@pytest.mark.parametrize(
    ("mode", "color", "channels", "value"),
    [
        ("1", 1, 1, [255]),
        ("CMYK", (0, 255, 255, 0), 3, [255, 0, 0]),
        ("HSV", (0, 0, 255), 3, [255, 255, 255]),
        ("YCbCr", (255, 128, 128), 3, [255, 255, 255]),
        ("RGBX", (1, 2, 3, 4), 3, [1, 2, 3]),
        ("La", (9, 255), 1, [9]),
        ("RGBa", (9, 8, 7, 255), 3, [9, 8, 7]),
    ],
)
def test_other_pil_modes(
    mode: str, color: int | tuple[int, ...], channels: int, value: list[int]
) -> None:
    p = as_images(Image.new(mode, (3, 2), color))
    assert p.size == (2, 3) and p.values.shape[-1] == channels
    assert p.values[0, 0, 0].tolist() == value


def test_transparent_palettes_and_colors_become_alpha() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    assert as_images(image).alpha is None
    image.info["transparency"] = 1
    p = as_images(image)
    assert p.values[0, 0].tolist() == [[10, 20, 30], [40, 50, 60]]
    assert p.alpha is not None and p.alpha.ravel().tolist() == [255, 0]
    deep = Image.fromarray(np.array([[5, 6]], np.uint16))
    deep.info["transparency"] = 6
    alpha = as_images(deep).alpha
    assert alpha is not None and alpha.dtype == np.uint16 and alpha.ravel().tolist() == [65535, 0]


def test_pil_is_turned_upright() -> None:
    image = Image.fromarray(noise((2, 3, 3)))
    image.getexif()[0x0112] = 6
    expected = np.rot90(np.asarray(image), -1)
    np.testing.assert_array_equal(as_images(image).values[0], expected)


TRANSPOSES = {
    **{1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180},
    **{4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE},
    **{6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90},
}


@pytest.mark.parametrize("orientation", TRANSPOSES)
def test_an_orientation_is_applied_as_pillow_does_and_undone(orientation: int) -> None:
    stored = noise((3, 5, 3))
    transpose = TRANSPOSES[orientation]
    image = Image.fromarray(stored)
    expected = np.asarray(image if transpose is None else image.transpose(transpose))
    turned = upright(stored, orientation, axes=(0, 1))
    np.testing.assert_array_equal(turned, expected)
    np.testing.assert_array_equal(as_stored(turned, orientation, axes=(0, 1)), stored)
    x = torch.from_numpy(stored).movedim(-1, 0)
    assert torch.equal(upright(x, orientation), torch.from_numpy(expected.copy()).movedim(-1, 0))
    assert torch.equal(as_stored(upright(x, orientation), orientation), x)


def test_holes_are_where_alpha_is_not_opaque() -> None:
    array = np.full((2, 2, 4), 255, np.uint8)
    assert as_images(array).holes() is None
    assert as_images(array[..., :3]).holes() is None
    array[0, 1, 3], array[1, 1, 3] = 0, 51
    holes = as_images(array).holes()
    assert holes is not None and holes.dtype == torch.float32
    torch.testing.assert_close(holes, torch.tensor([[[[0.0, 1.0], [0.0, 0.8]]]]))


def test_alpha_is_given_back_replaced_or_opaque() -> None:
    p = as_images(noise((2, 2, 4)))
    assert p.alpha is not None
    np.testing.assert_array_equal(p.restore_kind(p.values)[..., 3], p.alpha[0])
    np.testing.assert_array_equal(p.restore_kind(p.values, 255 - p.alpha)[..., 3], 255 - p.alpha[0])
    assert (p.restore_kind(p.values, None)[..., 3] == 255).all()
    assert as_images(noise((2, 2))).restore_kind(p.values, p.alpha).shape == (2, 2, 3)


def float_array(value: float) -> np.ndarray:
    return np.array([[0.5, value]])


BAD = {
    "NaN": (float_array(np.nan), "the image holds NaN or infinity; give numbers in"),
    "inf": (float_array(np.inf), "holds NaN or infinity"),
    "range": (float_array(255.0), r"holds floats from 0\.5 to 255; give them in \[0, 1\]"),
    "negative": (float_array(-1e-3), "from -0.001 to 0.5"),
    "int64": (np.zeros((2, 2), np.int64), "holds int64; give uint8, uint16, float32 or float64"),
    "complex": (np.zeros((2, 2), complex), "holds complex128"),
    "pil": (Image.new("I", (2, 2), 70000), "holds int32"),
    "ndim": (np.zeros(4, np.uint8), r"the image has the shape \(4,\); give \(H, W\) or"),
    "batch": (np.zeros((2, 4, 4, 3), np.uint8), r"shape \(2, 4, 4, 3\)"),
    "channels": (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\); .* C = 1 to 4"),
    "torch": (torch.zeros(4, 4), r"shape \(4, 4\); give \(C, H, W\)"),
    "torch channels": (torch.zeros(1, 2, 4, 4), r"C = 1, 3 or 4"),
    "empty": (np.zeros((0, 4), np.uint8), "the image holds no pixels"),
    "no batch": (torch.zeros(0, 3, 4, 4), "the image holds no pixels"),
    "kind": ("cat.png", "a str is no image; give a PIL image, a numpy array or a torch tensor"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_refused_in_one_sentence(name: str) -> None:
    image, message = BAD[name]
    with pytest.raises(ImageError, match=message):
        as_images(image)


def test_to_pil_clips_and_rounds() -> None:
    x = torch.tensor([-2.0, -0.6, 1.5]).view(3, 1, 1)
    assert to_pil(x).getpixel((0, 0)) == (0, 51, 255)


def test_heat_is_viridis_from_zero_to_the_largest() -> None:
    image = heat_map(torch.tensor([[0.0, 0.002]]))
    low, high = np.asarray(image)[0].astype(int)
    assert np.abs(low - [68, 1, 84]).max() <= 2 and np.abs(high - [253, 231, 37]).max() <= 2
    assert heat_map(torch.zeros(2, 3)).size == (3, 2)


def test_a_pil_image_of_half_a_file_is_refused() -> None:
    file = BytesIO()
    Image.fromarray(noise((64, 64, 3), np.uint8)).save(file, "PNG")
    with pytest.raises(ImageError, match="the image cannot be read"):
        as_images(Image.open(BytesIO(file.getvalue()[:4000])))


@pytest.mark.parametrize("kind", [np.float32, np.float64, torch.float32])
def test_floats_that_rounding_took_past_the_ends_are_clipped(kind: Any) -> None:
    """An FFT leaves -1.2e-7 where 0 was; a value further out is still refused."""
    if kind is torch.float32:
        image = torch.full((3, 2, 2), 0.5)
        image[0, 0, 0], image[0, 1, 1] = -1.2e-7, 1 + 9e-7
    else:
        image = np.full((2, 2, 3), 0.5, kind)
        image[0, 0, 0], image[1, 1, 0] = -1.2e-7, 1 + 9e-7
    p = as_images(image)
    assert p.values.min() == 0 and p.values.max() == 1
    image[1, 1] = 1 + 2e-6
    with pytest.raises(ImageError, match=r"give them in \[0, 1\]"):
        as_images(image)


def test_a_large_image_is_turned_and_blended_in_little_memory() -> None:
    """A photograph of 102 megapixels took seven times its floats once."""
    import tracemalloc

    images = as_images(np.zeros((1500, 2000, 3), np.uint8))
    floats = 1500 * 2000 * 3 * 4
    x = images.tensor()
    mask = torch.ones(1, 1, 1500, 2000)
    for act, most in ((images.tensor, 2.1), (lambda: images.blend(x, mask), 2.6)):
        tracemalloc.start()
        act()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < most * floats
