"""The smooth fill, against scikit-image's exact one."""

import numpy as np
import pytest
import torch
from skimage.restoration import inpaint_biharmonic

from diffprior.classical.fill import biharmonic, laplacian, pyramid
from diffprior.operators.generators.masks import pixels, scratches


def smooth(side=48):
    i, j = torch.meshgrid(torch.linspace(0, 3, side), torch.linspace(0, 2, side), indexing="ij")
    return torch.stack([(i + j).sin(), (i * j).cos(), (2 * i - j).sin()])[None].double() / 2


@pytest.mark.parametrize("kind", [pixels, scratches])
def test_it_is_as_good_as_the_exact_one(kind):
    x, hole = smooth(), kind(48, 48, 0)[None]
    ours = biharmonic(x * ~hole, hole)
    exact = inpaint_biharmonic(
        ((x * ~hole)[0].movedim(0, -1).numpy() + 1) / 2, hole[0, 0].numpy(), channel_axis=-1
    )
    exact = 2 * torch.from_numpy(exact).movedim(-1, 0)[None] - 1
    error, best = (((v - x) * hole).square().sum() for v in (ours, exact))
    assert error < 2 * best
    assert torch.equal(ours * ~hole, x * ~hole)


def test_planes_are_filled_exactly():
    """A plane has no Laplacian inside: it comes back, however much of it is lost."""
    i, j = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    x = (0.01 * i + 0.02 * j)[None, None].double()
    hole = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    hole[..., 8:20, 10:24] = True
    assert (biharmonic(x, hole, 300) - x).abs().max() < 1e-3


def test_laplacian_is_symmetric():
    a, b = torch.randn(2, 1, 2, 9, 7, dtype=torch.float64)
    assert torch.isclose((laplacian(a) * b).sum(), (a * laplacian(b)).sum())
    assert laplacian(torch.ones(1, 1, 5, 6)).abs().max() == 0


def test_rows_are_independent_and_odd_sizes_work():
    x = torch.rand(2, 3, 17, 23, dtype=torch.float64)
    holes = torch.stack([pixels(17, 23, k) for k in range(2)])
    both = biharmonic(x, holes)
    assert torch.allclose(both[1:], biharmonic(x[1:], holes[1:]), atol=1e-12)
    assert np.isfinite(both).all()
    constant = pyramid(torch.full((1, 1, 17, 23), 0.3), holes[:1])
    assert torch.allclose(constant, torch.tensor(0.3))
