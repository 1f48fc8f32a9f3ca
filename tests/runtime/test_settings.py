"""What a task is asked: refused in one sentence where it makes no sense, and told in its report."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.catalog import SettingError
from diffprior.cli.batch import Options, run
from diffprior.io.arrays import ImageError

QUICK = {"method": "dpir(start=0.2)", "steps": 1}
GRAY = np.full((32, 40), 90, np.uint8)
MASK = np.zeros((32, 40), bool)
MASK[4:9, 5:10] = True


def inpaint(**settings):
    return diffprior.inpaint(GRAY, MASK, **{**QUICK, **settings})


def deblur(kernel, **settings):
    return diffprior.deblur(GRAY, kernel, **{**QUICK, **settings})


WRONG = {
    "samples": (
        lambda: inpaint(samples=2.5),
        "^samples are .* from 1 to 10000, got 2.5$",
    ),
    "steps": (lambda: inpaint(steps=2.5), "^steps are a whole number from 1 to 100000, got 2.5$"),
    "no seed": (lambda: inpaint(seed=None), "^a seed is an integer from 0 on, got None$"),
    "seed": (lambda: inpaint(seed=-1), "^a seed is an integer from 0 on, got -1$"),
    "sigma": (lambda: inpaint(sigma=None), r"^sigma lies in \[0, 1\].*got None$"),
    "dilate": (lambda: inpaint(dilate=-1), "^dilate and feather are pixels from 0 on"),
    "no names": (lambda: inpaint(ids=[]), "^there are 0 ids for 1 images$"),
    "names": (lambda: inpaint(ids=["a", "b"]), "^there are 2 ids for 1 images$"),
    "names of edits": (
        lambda: diffprior.sdedit(GRAY, ids=[], steps=1),
        "^there are 0 ids for 1 images$",
    ),
    "scale": (
        lambda: diffprior.super_resolve(GRAY, 2.0, **QUICK),
        "^a scale is a whole number from 2 on, got 2.0$",
    ),
    "strength": (
        lambda: diffprior.sdedit(GRAY, strength=1e-9, steps=1),
        "^a strength below 0.0001 is of no noise that shows, got 1e-09$",
    ),
    "guidance": (
        lambda: diffprior.sdedit(GRAY, guidance_scale=float("nan"), steps=1),
        "^guidance_scale is a finite number, got nan$",
    ),
    "infinite guidance": (
        lambda: diffprior.sdedit(GRAY, guidance_scale=float("inf"), steps=1),
        "^guidance_scale is a finite number, got inf$",
    ),
    "method": (lambda: deblur(torch.ones(3, 3), method="ddrm"), "DDRM needs a.* got Blur$"),
    "black kernel": (lambda: deblur(torch.zeros(3, 3)), "^a kernel is negative or NaN nowhere"),
    "negative kernel": (lambda: deblur(torch.eye(3) - 0.1), "^a kernel is negative or NaN nowhere"),
    "kernels": (lambda: deblur(torch.ones(2, 3, 3)), "^there are 2 kernels for 1 images$"),
    "array": (lambda: deblur(np.ones((3, 3))), "^a kernel is a tensor or text, got a ndarray$"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_nothing_can_work_with_is_a_setting(case):
    call, said = WRONG[case]
    with pytest.raises(SettingError, match=said):
        call()


def test_a_kernel_in_a_batch_of_one_serves_all():
    pair = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    settings = {**QUICK, "sigma": 0.05}
    a = diffprior.deblur(pair, torch.ones(1, 3, 3) / 9, **settings).image
    assert torch.equal(a, diffprior.deblur(pair, torch.ones(3, 3) / 9, **settings).image)


def test_a_damaged_image_of_a_kernel_is_called_damaged(tmp_path):
    (tmp_path / "k.png").write_bytes(b"\x89PNG")
    with pytest.raises(SettingError, match=r"k\.png: it is no PNG, JPEG"):
        deblur(str(tmp_path / "k.png"))


@pytest.mark.parametrize("task", ["restore", "blend", "sdedit"])
def test_only_inpaint_speaks_of_its_own_option(task):
    small = np.ones((4, 4), bool)
    key = "scratches" if task == "restore" else "mask"
    with pytest.raises(ImageError) as refusal:
        getattr(diffprior, task)(GRAY, **{key: small}, steps=1)
    assert "4x4" in str(refusal.value) and "fit-mask" not in str(refusal.value)
    with pytest.raises(ImageError, match="--fit-mask"):
        diffprior.inpaint(GRAY, small, steps=1)


SHAPES = [(32, 40), (32, 40, 1), (32, 40, 2), (32, 40, 3), (32, 40, 4)]


@pytest.mark.parametrize("shape", SHAPES)
def test_deviations_have_the_axes_of_the_image(shape):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, shape, np.uint8)
    settings = {**QUICK, "sigma": 0.1, "samples": 2, "method": "ddnm(start=0.5)"}
    out = diffprior.denoise(image, **settings)
    assert out.std.shape == out.image.shape == shape
    if len(shape) == 3 and shape[2] % 2 == 0:
        assert (out.std[..., -1] == 0).all() and out.std[..., 0].max() > 0
        x = torch.from_numpy(image).movedim(-1, 0)
        if shape[2] == 4:
            assert diffprior.denoise(x, **settings).std.shape == x.shape


# Reports


def test_the_guidance_that_was_used_is_told():
    from support.conditions import classes

    prior = classes(dtype=torch.float32)
    asked = {"prior": prior, "steps": 2}
    x = torch.full(prior.shape, 0.5)
    assert diffprior.sdedit(x, label=1, **asked).report["guidance"] == 3.0
    assert diffprior.variations(x, label=1, samples=1, **asked).report["guidance"] == 1.0
    assert "guidance" not in diffprior.sdedit(x, **asked).report
    out = diffprior.edit(x, source_label=0, label=1, **asked).report
    assert out["source"] == {"guidance": 1.0, "label": 0}
    assert out["target"] == {"guidance": 3.0, "label": 1}
    assert out["method"] == out["inversion"] and out["method"].startswith("edit_friendly(steps=2")
    back = diffprior.edit(x, source_label=0, **asked).report
    assert back["target"] == back["source"] == {"guidance": 1.0, "label": 0}


def test_what_was_undone_is_told():
    assert deblur("uniform:3").report["kernel"] == "uniform:3"
    assert deblur(torch.ones(3, 3)).report["kernel"] == "(3, 3)"
    out = diffprior.super_resolve(GRAY, 2, kernel="average", **QUICK)
    assert out.report["kernel"] == "average"


def test_the_steps_of_a_turn_are_told_once():
    method = diffprior.variations(GRAY, samples=1, steps=2).report["method"]
    assert "steps=2" in method and "steps=30" not in method


def test_a_mask_without_a_hole_has_no_method():
    assert diffprior.inpaint(GRAY, np.zeros_like(MASK)).report["method"] is None


# Batches of which one image is no good


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """An image that is too small for what is asked, and one that is not."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (3, 3)).save("small.png")
    Image.new("RGB", (32, 32)).save("whole.png")
    return tmp_path


def test_one_image_below_a_factor_leaves_the_others(pair, capsys):
    settings = {"factor": 8, "steps": 1}
    names = ["small.png", "whole.png"]
    assert run(diffprior.style, names, settings, Options(quiet=True)) == 1
    assert capsys.readouterr().err.startswith("diffprior: small.png: a factor is a whole number")
    assert (pair / "whole.styled.png").exists()


def test_one_missing_code_leaves_the_others(pair, capsys):
    Image.new("RGB", (32, 32)).save("other.png")
    made = Options(quiet=True, output="codes/")
    assert run(diffprior.invert, ["whole.png"], {"steps": 2}, made) == 0
    settings = {"inversion": "codes/"}
    names = ["other.png", "whole.png"]
    assert run(diffprior.edit, names, settings, Options(quiet=True, json=True)) == 1
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1 and "other.inverted.safetensors cannot be read" in err
    assert json.loads(out)["input"] == "whole.png"
