"""Faults that a new user met in the first hour: memory, words, names, signatures."""

import pytest
import torch

from diffprior.exemplar import completion
from diffprior.exemplar.completion import complete
from diffprior.exemplar.levels import Level, levels
from diffprior.exemplar.offsets import TABLE, dominant_offsets

# Masks that hide almost all


def photo(height, width):
    """Noise with some structure, ``(3, H, W)`` in [0, 1]."""
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise[None], 5, 1, 2)[0]


def all_but(*kept, size):
    """A hole that leaves a few spans of rows and columns."""
    hole = torch.ones(size, dtype=torch.bool)
    for rows, columns in kept:
        hole[rows, columns] = False
    return hole


@pytest.mark.saw("a mask the wrong way round, of a photo of 160 x 128: 20 GB of memory, killed")
@pytest.mark.parametrize("kept", [(slice(60, 70), slice(60, 70)), (slice(60, 61), slice(0, 160))])
def test_offsets_of_a_hole_that_hides_almost_all_fit_into_memory(kept):
    level = levels(Level.of(photo(128, 160), all_but(kept, size=(128, 160))), 14.0)[-1]
    offsets = dominant_offsets(level, 60, torch.Generator().manual_seed(0))
    assert int(level.hole.sum()) * len(offsets) ** 2 <= TABLE


@pytest.mark.saw("a thin line left of a large photo: the hole was filled at full size, for hours")
def test_a_hole_round_a_thin_line_is_filled_at_reduced_size(monkeypatch):
    monkeypatch.setattr(completion, "LARGE", 400)
    widest = 0

    def best(reduced, *others, real=completion._best):
        nonlocal widest
        widest = max(widest, int(reduced.hole.sum()))
        return real(reduced, *others)

    monkeypatch.setattr(completion, "_best", best)
    image, hole = photo(48, 64), all_but((slice(20, 21), slice(0, 64)), size=(48, 64))
    filled = complete(image, hole, tries=2)
    assert widest <= 400
    assert torch.equal(filled[:, ~hole], image[:, ~hole])
    colors = image[:, ~hole]
    low, high = colors.amin(1)[:, None], colors.amax(1)[:, None]
    assert ((filled[:, hole] > low - 0.2) & (filled[:, hole] < high + 0.2)).float().mean() > 0.99
