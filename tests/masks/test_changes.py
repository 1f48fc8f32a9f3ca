"""What differs between two files of one photo is found, and JPEG errors are not."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from diffprior.errors import ImageError
from diffprior.masks import difference
from diffprior.operators.generators.masks import strokes

SAMPLES = Path(__file__).parents[2] / "data" / "samples"


def photo(name: str) -> np.ndarray:
    return np.array(Image.open(SAMPLES / f"{name}.png").convert("RGB").resize((288, 288)))


def repainted(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy with strokes of one color, and where they are."""
    where = strokes(288, 288, seed, 0.1)[0].numpy()
    return np.where(where[..., None], np.uint8([200, 40, 160]), values), where


def as_jpeg(values: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(values).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def test_files_without_loss_are_compared_exactly() -> None:
    a = photo("city")
    b, where = repainted(a)
    assert np.array_equal(difference(a, b), where & (a != b).any(-1))
    assert np.array_equal(difference(Image.fromarray(a), b), difference(b, a))
    x, y = (torch.from_numpy(v).movedim(-1, 0) for v in (a, b))
    found = difference(torch.stack([x, y]), torch.stack([y, y]))
    assert found.shape == (2, 1, 288, 288) and found.dtype == torch.bool
    assert np.array_equal(found[0, 0], difference(a, b)) and not found[1].any()
    deep = b.astype(np.uint16) * 257
    assert np.array_equal(difference(a, deep), difference(a, b))


def test_one_level_is_a_difference() -> None:
    a = photo("dog")
    b = a.copy()
    b[100, 50, 2] ^= 1
    assert np.argwhere(difference(a, b)).tolist() == [[100, 50]]
    clear = np.dstack([a, np.full(a.shape[:2], 255, np.uint8)])
    clear[7, 9, 3] = 0
    assert np.argwhere(difference(a, clear)).tolist() == [[7, 9]]


@pytest.mark.parametrize("quality", [90, 75])
def test_changes_are_told_from_jpeg_errors(quality: int) -> None:
    for seed, name in enumerate(("baby", "city", "flowers", "haze")):
        a = photo(name)
        b, where = repainted(a, seed)
        found = difference(a, as_jpeg(b, quality))
        near = ndimage.binary_dilation(where, iterations=5)
        assert (found & where).sum() >= 0.97 * where.sum(), name
        assert (found & near).sum() >= 0.95 * found.sum(), name
        assert difference(a, as_jpeg(a, quality)).mean() < 0.005, name


def test_what_cannot_be_compared_is_refused() -> None:
    a = photo("dog")
    with pytest.raises(ImageError, match="differ in size, 288x288 and 288x100; give one size"):
        difference(a, a[:100])
    x = torch.zeros(2, 3, 8, 8)
    with pytest.raises(ImageError, match="there are 2 images and 1 others"):
        difference(x, x[:1])
