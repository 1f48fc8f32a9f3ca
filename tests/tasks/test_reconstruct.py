"""Reconstruction from any measurement, the files of numbers, and operators without a shape."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import diffprior
from diffprior import metrics
from diffprior.catalog import SettingError, build, find, names
from diffprior.cli import batch
from diffprior.io import files, numbers
from diffprior.io.arrays import ImageError
from diffprior.operators.average import Average
from diffprior.operators.base import LinearOperator, Operator

from support import shell
from support.exact import random

SAMPLES = Path(__file__).parents[2] / "data" / "samples"
SHAPE = (3, 64, 64)
SIZE = {"width": 64, "height": 64}


@pytest.fixture(scope="module")
def dog() -> Tensor:
    """A photograph ``(1, 3, 64, 64)`` in [-0.8, 0.8]."""
    return 0.8 * files.read(SAMPLES / "dog.png").images.tensor()[:, :, 110:174, 240:304]


def operator(text: str) -> Operator:
    made: Operator = build(text, ("operators",)).for_shape(SHAPE)
    return made


def measure(x: Tensor, text: str, sigma: float) -> Tensor:
    y = operator(text)(x)
    return y + sigma * random(*y.shape, dtype=y.dtype)


def psnr(image: Tensor, truth: Tensor) -> float:
    return metrics.psnr(2 * image - 1, truth).item()


@pytest.mark.parametrize(
    "text", ["hadamard(ratio=0.25)", "average(factor=2)", "fourier(keep='radial:20')"]
)
def test_linear_measurements_are_undone(dog: Tensor, text: str) -> None:
    """Better than A^+ y by 1 dB, but for a mean color that is not seen, and true to y."""
    y, A = measure(dog, text, 0.02), operator(text)
    out = diffprior.reconstruct(y, text, **SIZE, sigma=0.02, steps=12)
    assert isinstance(A, LinearOperator) and out.image.shape == dog.shape
    plain, found = (
        v - (v - dog).mean((2, 3), keepdim=True) for v in (A.pinv(y), 2 * out.image - 1)
    )
    assert metrics.psnr(found, dog) > metrics.psnr(plain, dog) + 1
    assert 0.5 < out.report["chi2"][0] < 2


def test_exact_measurements_are_kept(dog: Tensor) -> None:
    y = operator("average(factor=2)")(dog)
    out = diffprior.reconstruct(y, "average(factor=2)", **SIZE, steps=6).image
    back = operator("average(factor=2)")(2 * out - 1)
    assert (back - y).abs().median() < 1e-4  # up to what was clipped


def test_measurements_that_are_not_linear_are_undone(dog: Tensor) -> None:
    """What is too bright for a camera: better by 2 dB than what it shows."""
    y = measure(dog, "hdr(gain=2.0)", 0.05)
    out = diffprior.reconstruct(y, "hdr(gain=2.0)", **SIZE, sigma=0.05, steps=15)
    assert out.report["method"].startswith("DAPS")
    assert psnr(out.image, dog) > metrics.psnr(y / 2, dog).item() + 2


def test_operators_are_composed(dog: Tensor) -> None:
    """The right one comes first, as in Python."""
    text = "average(factor=2) @ blur(kernel='gaussian:1')"
    A = operator("average(factor=2)") @ operator("blur(kernel='gaussian:1')")
    made = [diffprior.reconstruct(A(dog), a, **SIZE, sigma=0.01, steps=2).image for a in (text, A)]
    assert torch.equal(*made)


def test_a_batch_is_its_images(dog: Tensor) -> None:
    """Tensors come back as tensors, arrays as 8-bit images; samples differ, seeds repeat."""
    y = Average(4)(torch.cat([dog, dog.flip(3)])[..., :32, :32])
    size = {"width": 32, "height": 32}
    settings = {**size, "operator": "average(factor=4)", "sigma": 0.05, "steps": 2}
    out = diffprior.reconstruct(y, **settings, samples=2, seed=5)
    alone = diffprior.reconstruct(y[1], **settings, samples=2, seed=5)
    assert alone.image.shape == (3, 32, 32)
    assert out.std.shape == (2, 3, 32, 32) and out.std.max() > 0
    torch.testing.assert_close(out.samples[1][1], alone.samples[1], rtol=0, atol=2e-3)
    assert not torch.equal(alone.samples[0], alone.samples[1])
    array = diffprior.reconstruct(y[1].numpy(), **settings).image
    assert array.dtype == np.uint8 and array.shape == (32, 32, 3)


@pytest.mark.parametrize(
    "y, settings, kind, words",
    [
        ((3, 1024), {"operator": "hadamrd"}, SettingError, "^no operator 'hadamrd'; the nearest"),
        ((3, 9), {"operator": "hadamard(ratio=0.25)"}, ImageError, r"64x64.*\(3, 1024\).*\(3, 9\)"),
        ((3, 9), {"operator": "hadamard", "width": 60}, SettingError, "powers of two"),
        (
            (3, 9),
            {"operator": "mask(keep=[1])"},
            SettingError,
            "^mask needs keep, which no text can say",
        ),
        (
            (3, 9),
            {"operator": "average(factor=5)"},
            ValueError,
            "^an average of 5 x 5 pixels needs",
        ),
        ((3, 9), {"operator": "average(factor=2.5)"}, SettingError, "^factor of average is a who"),
        ((3, 9), {"operator": "gray @ matrix"}, SettingError, "^matrix needs A, which no text can"),
        ((3, 9), {"operator": "physics"}, SettingError, "^physics needs physics, which no text "),
        ((3, 9), {"operator": "grey", "sigma": -1.0}, SettingError, "^sigma is a standard dev"),
        ((3, 9), {"operator": "grey", "width": 0}, SettingError, "^an image is at least 1 pixel"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    y: tuple[int, ...], settings: dict, kind: type, words: str
) -> None:
    with pytest.raises(kind, match=words) as error:
        diffprior.reconstruct(torch.zeros(y), **(SIZE | settings))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "y, words",
    [
        ([[1.0]], "^y is a numpy array or a torch tensor, got a list$"),
        (np.zeros((3, 64, 64), complex), "^y holds complex128; give real numbers$"),
        (torch.full(SHAPE, torch.nan), "^y holds NaN or infinity"),
    ],
)
def test_a_y_that_is_none_is_one_sentence(y: object, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        diffprior.reconstruct(y, "identity", **SIZE)


# Operators that wait for a shape


@pytest.mark.parametrize("name", ["bicubic", "circular_blur", "compressed", "fourier", "hadamard"])
def test_an_operator_without_a_shape_says_so(name: str) -> None:
    """Whatever it is asked for; and once it has one, it works."""
    text = {"bicubic": "bicubic(factor=2)", "circular_blur": "circular_blur(kernel='gaussian:1')"}
    A = build(text.get(name, name), ("operators",))
    x, shape = torch.zeros(1, 3, 16, 16), (3, 16, 16)
    for use in (A, A.adjoint, A.pinv):
        with pytest.raises(ValueError, match="does not know the shape of a state: bind it"):
            use(x)
    assert len(A.for_shape(shape)(x)) == 1
    with pytest.raises(AttributeError, match="^'[A-Za-z]+' object has no attribute 'nothing'$"):
        _ = A.for_shape(shape).nothing


def test_no_operator_breaks_on_questions_that_python_asks() -> None:
    import copy

    for name in set(names("operators")) - {"physics"}:
        assert not hasattr(find(name, ("operators",)), "nothing")
    A = build("hadamard", ("operators",))
    assert copy.deepcopy(A).for_shape(SHAPE)(torch.zeros(1, *SHAPE)).shape == (1, 3, 1024)


# Files


def test_numbers_are_read(tmp_path: Path) -> None:
    for dtype in (np.float64, np.float32, np.uint8, np.int16, bool):
        array = np.arange(6).reshape(2, 3).astype(dtype)
        np.save(tmp_path / "y.npy", array)
        read = numbers.read(tmp_path / "y.npy")
        assert np.array_equal(read.array, array) and read.name == str(tmp_path / "y.npy")


def test_what_holds_no_numbers_is_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, print], dtype=object), allow_pickle=True)
    np.save(tmp_path / "complex.npy", np.zeros(3, complex))
    np.savez(tmp_path / "several.npz", a=np.zeros(3))
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("objects.npy", "complex.npy", "several.npz", "text.npy", "empty.npy", "none.npy"):
        with pytest.raises(ImageError, match=f"{name}: it ") as error:
            numbers.read(tmp_path / name)
        assert "\n" not in str(error.value)


def test_the_command(dog: Tensor, tmp_path: Path) -> None:
    """A good file is done, a bad one is said; the image says how it was made."""
    text = "hadamard(ratio=0.25)"
    A = build(text, ("operators",)).for_shape((3, 32, 32))
    np.save(tmp_path / "y.npy", A(dog[..., :32, :32])[0].numpy())
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    run = ["reconstruct", "y.npy", "objects.npy", "--json"]
    run += ["--operator", text, "--sigma", "0.02", "--width", "32", "--height", "32"]
    run += ["--samples", "2", "--uncertainty", "--steps", "2"]
    done = shell.texts(*run, folder=tmp_path)
    assert done.returncode == 1
    assert "objects.npy: it is no .npy file of numbers" in done.stderr
    said = json.loads(done.stdout)
    assert set(said["outputs"]) == {"0", "1", "uncertainty"} and said["operator"] == text
    with Image.open(tmp_path / said["outputs"]["1"]) as image:
        assert image.size == (32, 32) and image.mode == "RGB"
        assert json.loads(image.text["diffprior"])["task"] == "reconstruct"


def test_the_command_refuses_a_setting_with_2_and_a_file_with_1(tmp_path: Path, capsys) -> None:
    np.save(tmp_path / "y.npy", np.zeros((3, 9)))
    for name, code in (("hadamrd", 2), ("hadamard", 1)):
        settings = {"operator": name, "samples": 1, **SIZE}
        file = str(tmp_path / "y.npy")
        assert batch.run(diffprior.reconstruct, [file], settings, batch.Options()) == code
        assert capsys.readouterr().err.count("\n") == 1
