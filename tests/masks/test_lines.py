"""Scratches, dust and text are found, with few false alarms."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from diffprior.errors import ImageError, SettingError
from diffprior.masks import scratches, shapes, text
from diffprior.operators.generators import masks as drawn

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def photo(name: str, side: int = 320) -> np.ndarray:
    return np.asarray(Image.open(SAMPLES / f"{name}.png").convert("RGB"))[:side, :side]


def score(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return recall and precision, with a slack of 2 px."""
    wide, near = (ndimage.binary_dilation(m, iterations=2) for m in (found, truth))
    return (wide & truth).sum() / truth.sum(), (found & near).sum() / max(found.sum(), 1)


# Photos that a color is seen on: no white on white, and no black on a night.
BRIGHT_ON, DARK_ON = ("city", "dog", "haze", "mc1"), ("baby", "dog", "girl", "haze")


@pytest.mark.parametrize(("color", "names"), [(255, BRIGHT_ON), (0, DARK_ON)])
def test_scratches_are_found(color: int, names: tuple[str, ...]) -> None:
    scores = []
    for seed, name in enumerate(names):
        image = photo(name).copy()
        truth = drawn.scratches(320, 320, seed, 0.03)[0].numpy()
        image[truth] = color
        scores.append(score(np.asarray(scratches(image)), truth))
    recall, precision = np.mean(scores, 0)
    assert recall > 0.65 and precision > 0.65, scores


def test_dust_on_a_plain_part_is_found() -> None:
    y, x = np.mgrid[:160, :200]
    rng = np.random.default_rng(0)
    image = (100 + y / 4 + x / 5 + rng.normal(0, 3, (160, 200))).clip(0, 255).astype(np.uint8)
    truth = np.zeros(image.shape, np.uint8)
    for at in rng.integers(10, 150, (12, 2)).tolist():
        cv2.circle(truth, at, 2, (1,), -1)
    image[truth > 0] = 250
    recall, precision = score(np.asarray(scratches(image)), truth > 0)
    assert recall > 0.95 and precision > 0.95


def test_a_higher_sensitivity_marks_more() -> None:
    image = photo("city")
    shares = [float(np.mean(scratches(image, s, dilate=0))) for s in (0, 0.5, 1)]
    assert shares[0] < shares[1] < shares[2] and shares[0] < 0.01


@pytest.mark.parametrize("find", [scratches, text])
def test_nothing_is_found_where_nothing_is(find) -> None:
    rng = np.random.default_rng(0)
    for image in (
        np.full((60, 80), 128, np.uint8),
        np.clip(rng.normal(128, 10, (100, 100, 3)), 0, 255).astype(np.uint8),
        np.linspace(0, 1, 4000).reshape(50, 80),
        np.zeros((1, 1), np.uint8),
    ):
        assert np.mean(find(image)) < 0.002


@pytest.mark.parametrize("find", [scratches, text])
def test_kinds_and_settings(find) -> None:
    x = torch.rand(2, 3, 30, 40)
    found = find(x)
    assert found.shape == (2, 1, 30, 40) and found.dtype == torch.bool
    assert find(x[0]).shape == (1, 30, 40)
    with pytest.raises(SettingError, match=r"sensitivity is a number in \[0, 1\]"):
        find(x, 1.5)
    with pytest.raises(ImageError, match="a str is no image"):
        find("photo.jpg")


def test_a_large_image_has_a_mask_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "SIDE", 240)  # for 1200, so that the test is fast
    image = np.full((400, 300), 90, np.uint8)
    cv2.line(image, (20, 20), (280, 330), (255,), 5)
    recall, precision = score(np.asarray(scratches(image)), image == 255)
    assert recall > 0.98 and precision > 0.95


@pytest.mark.parametrize(
    ("color", "names"),
    [((255, 255, 255), BRIGHT_ON), ((0, 0, 0), DARK_ON), ((255, 210, 0), BRIGHT_ON)],
)
def test_text_is_found(color: tuple[int, int, int], names: tuple[str, ...]) -> None:
    scores = []
    for seed, name in enumerate(names):
        image = photo(name).copy()
        truth = drawn.text(320, 320, seed)[0].numpy()
        image[truth] = color
        scores.append(score(np.asarray(text(image)), truth))
    recall, precision = np.mean(scores, 0)
    assert recall > 0.85 and precision > 0.9, scores


@pytest.mark.parametrize("quality", [95, 85, 75])
def test_nothing_of_a_date_is_left_to_bleed_into_the_fill(quality: int) -> None:
    """A camera's date in a JPEG file: the color of its soft rims is in the mask, too."""
    plain = Image.open(SAMPLES / "haze.png").convert("RGB")
    dated = plain.copy()
    font = ImageFont.load_default(32)
    ImageDraw.Draw(dated).text((20, 516), "27 NOV 2026", fill=(255, 140, 0), font=font)
    data = io.BytesIO()
    dated.save(data, "JPEG", quality=quality)
    found = np.asarray(text(Image.open(data)))
    seen = np.asarray(Image.open(data).convert("RGB")).astype(int)
    changed = np.abs(seen - np.asarray(plain)).max(2) > 40
    assert changed.sum() > 1900
    assert found[changed].mean() > 0.98
    assert found.sum() < 3 * changed.sum()


def test_a_photo_without_text_is_left_alone() -> None:
    shares = [np.mean(text(photo(f.stem))) for f in sorted(SAMPLES.glob("*.png"))]
    assert np.mean(shares) < 0.01 and np.median(shares) == 0  # flowers have thin petals
