"""What a notebook shows of a result: before, after, samples, deviation, one line of the report."""

import base64
import re
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.io.previews import preview

PHOTO = Path(__file__).parents[2] / "data" / "samples" / "dog.png"


def images(page: str) -> list[Image.Image]:
    """Return the images of a page, which it holds itself."""
    found = re.findall(r'<img src="data:image/\w+;base64,([^"]+)"', page)
    assert len(found) == page.count("<img")
    return [Image.open(BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def names(page: str) -> list[str]:
    return re.findall(r"<figcaption[^>]*>(.*?)</figcaption>", page)


def away(one: Image.Image, two: Image.Image) -> float:
    """Return the mean difference of two images of one size, in levels of 8 bits."""
    a, b = (np.asarray(image.convert("RGB"), np.float64) for image in (one, two))
    return float(np.abs(a - b).mean())


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(PHOTO).convert("RGB").resize((96, 64))


def test_the_page_shows_before_and_after(photo: Image.Image) -> None:
    noise = np.random.default_rng(0).normal(0, 25, (64, 96, 3))
    noisy = Image.fromarray((np.asarray(photo) + noise).clip(0, 255).astype(np.uint8))
    assert away(noisy, photo) > 15
    out = diffprior.denoise(noisy, sigma=0.1)
    page = out._repr_html_()
    before, after = images(page)
    assert names(page) == ["before", "after"]
    assert away(before, noisy) < 8 and away(after, out.image) < 3  # what JPEG takes, most of noise
    assert away(after, photo) < away(before, photo) / 2
    line = re.search(r"<summary[^>]*>(.*?)</summary>", page)[1]
    for word in ("denoise", out.report["method"], "prior photo", "seed 0", " s"):
        assert word in line


def test_the_page_of_several_samples_shows_where_they_differ(photo: Image.Image) -> None:
    mask = np.zeros((64, 96), bool)
    mask[20:40, 30:60] = True
    out = diffprior.inpaint(photo, mask, fill="smooth", samples=2, steps=2)
    page = out._repr_html_()
    assert names(page)[:3] == ["before", "sample 1 of 2", "sample 2 of 2"]
    assert names(page)[3] == f"standard deviation, up to {out.std.max():.2g}"
    inside = np.asarray(images(page)[3].convert("L"), float)
    dark = inside[:10].mean()
    assert inside[20:40, 30:60].mean() > dark + 20


def test_an_enlarged_image_stands_beside_a_small_one_of_the_same_width(photo: Image.Image) -> None:
    out = diffprior.super_resolve(photo.resize((24, 16)), 2, steps=2)
    page = out._repr_html_()
    assert [image.size for image in images(page)] == [(24, 16), (48, 32)]
    assert re.findall(r' width="(\d+)"', page) == ["48", "48"]
    assert page.count("image-rendering:pixelated") == 1


def test_a_task_without_an_image_has_no_before() -> None:
    out = diffprior.generate(width=32, height=32, steps=2)
    assert out.before is None and names(out._repr_html_()) == ["after"]


@pytest.mark.parametrize("kind", ["batch", "gray", "16 bit", "floats", "alpha"])
def test_every_kind_of_image_has_a_page(photo: Image.Image, kind: str) -> None:
    photo = photo.resize((48, 32))
    values = np.asarray(photo)
    given = {
        "batch": torch.tensor(values).movedim(-1, 0).expand(2, -1, -1, -1),
        "gray": values[..., 0],
        "16 bit": values.astype(np.uint16) * 257,
        "floats": values / 255,
        "alpha": np.concatenate([values, values[..., :1] | 128], -1),
    }[kind]
    out = diffprior.denoise(given, sigma=0.1, samples=2, steps=2)
    page = out._repr_html_()
    gray = Image.fromarray(values[..., 0])
    assert away(images(page)[0], gray if kind == "gray" else photo) < 5
    assert len(images(page)) == 4
    assert ("the first of 2 images" in page) == (kind == "batch")


def test_what_a_report_holds_is_text_on_the_page(photo: Image.Image) -> None:
    out = diffprior.denoise(photo, sigma=0.1)
    evil = '<script>alert("x")</script>'
    page = replace(out, report={**out.report, "prior": evil, "note": evil})._repr_html_()
    assert "<script" not in page and page.count("&lt;script&gt;") == 4


def test_the_page_needs_nothing_else_and_is_small() -> None:
    large = Image.open(PHOTO).convert("RGB").resize((2400, 1600))
    out = diffprior.denoise(large.crop((0, 0, 640, 480)), sigma=0.0)
    out = replace(out, image=large, samples=[large] * 4, std=np.ones((1600, 2400), np.float32) / 9)
    page = out._repr_html_()
    assert len(page) < 300_000
    assert not re.search(r"<script|<style|<link|https?:|\bon\w+=", page)
    assert max(size for image in images(page) for size in image.size) == 320
    assert out.before.size == (512, 384)


def test_a_small_copy_of_a_large_image_costs_little() -> None:
    large = np.zeros((4000, 6000, 3), np.uint8)
    large[:, 3000:] = 255
    preview(large[:64], 512)
    start = time.perf_counter()
    small = preview(large, 512)
    assert time.perf_counter() - start < 0.5
    assert small.size == (512, 341)
    values = np.asarray(small)
    assert (values[:, :250] == 0).all() and (values[:, 262:] == 255).all()
