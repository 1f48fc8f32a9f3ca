"""Masks of every kind say the same: white, True, 1 or paint is to be filled."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from diffprior.io.arrays import ImageError, as_images
from diffprior.io.masks import fit_mask, mask_tensor

PAIR = [[0.0, 1.0]]
MASKS: dict[str, Any] = {
    "bool": np.array(PAIR) > 0,
    "uint8": np.array([[0, 255]], np.uint8),
    "uint16": np.array([[0, 65535]], np.uint16),
    "float": np.array(PAIR),
    "column": np.array(PAIR)[..., None],
    "colour": np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8),
    "int64 bits": np.array([[0, 1]]),
    "uint8 bits": np.array([[0, 1]], np.uint8),
    "torch (H, W)": torch.tensor(PAIR),
    "torch (1, H, W)": torch.tensor([PAIR]) > 0,
    "torch (1, 1, H, W)": torch.tensor([[PAIR]], dtype=torch.float16),
    "PIL L": Image.fromarray(np.array([[0, 255]], np.uint8)),
    "PIL 1": Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1"),
    "PIL I;16": Image.fromarray(np.array([[0, 65535]], np.uint16)),
    "PIL RGBA": Image.fromarray(np.array([[[255] * 3 + [0], [255] * 4]], np.uint8)),
}


@pytest.mark.parametrize("name", MASKS)
def test_white_true_and_one_are_to_be_filled(name: str) -> None:
    m = mask_tensor(MASKS[name], as_images(torch.zeros(2, 3, 1, 2)))
    assert m.dtype == torch.float32 and m.shape == (2, 1, 1, 2)
    assert m[0].flatten().tolist() == m[1].flatten().tolist() == [0, 1]


def test_paint_counts_by_its_largest_channel_and_its_opacity() -> None:
    paint = np.array([[[0, 0, 0, 0], [255, 0, 0, 51], [255, 0, 0, 255]]], np.uint8)
    m = mask_tensor(Image.fromarray(paint), as_images(np.zeros((1, 3))))
    torch.testing.assert_close(m.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    blue = mask_tensor(np.array([[[0.0, 0.0, 0.7]]]), as_images(np.zeros((1, 1))))
    assert blue.item() == pytest.approx(0.7)


def test_each_image_may_have_its_own_mask() -> None:
    mask = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 3, 3)
    assert torch.equal(mask_tensor(mask, as_images(torch.zeros(2, 3, 3, 3))), mask)
    with pytest.raises(ImageError, match="there are 2 masks for 3 images"):
        mask_tensor(mask, as_images(torch.zeros(3, 3, 3, 3)))


def test_bad_masks_are_refused_in_one_sentence() -> None:
    like = as_images(np.zeros((4, 6)))
    size = "the mask is 3x2 but the image is 6x4; give one of the same size"
    for mask, message in [
        (np.zeros((2, 3)), size),
        (np.full((4, 6), np.nan), "the mask holds NaN"),
        (np.full((4, 6), 2.0), "the mask holds floats from 2 to 2"),
        (np.full((4, 6), -1), "the mask holds integers from -1 to -1"),
        (np.full((4, 6), 70000), "the mask holds integers from 70000 to 70000"),
        (np.full((4, 6), 128), "the mask holds one value alone, 128 of 255"),
        (torch.zeros(3, 4, 6), r"the mask has the shape \(3, 4, 6\)"),
    ]:
        with pytest.raises(ImageError, match=message):
            mask_tensor(mask, like)


def test_fit_mask_keeps_masks_hard_and_scratches_in() -> None:
    mask = np.zeros((8, 8), bool)
    mask[:, 5] = True
    assert fit_mask(mask, (2, 4)).tolist() == [[[[0, 0, 1, 0]] * 2]]
    grown = fit_mask(mask, (16, 16))
    assert grown[0, 0].sum(1).tolist() == [2] * 16 and grown[0, 0, 0, 10:12].tolist() == [1, 1]
    assert mask_tensor(grown, as_images(np.zeros((16, 16)))).equal(grown)
