"""Windows that no one can see: exact where the prior is local, smooth where it is not."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from diffprior.diffusions import GaussianDiffusion
from diffprior.errors import UnsuitedError
from diffprior.networks.parameterizations import Karras
from diffprior.phases import each_part
from diffprior.priors.base import Prior, denoise_vjp
from diffprior.priors.network import NetworkPrior
from diffprior.priors.tiled import SMALLEST, TiledPrior
from diffprior.random import Noise
from diffprior.samplers.ddim import DDIM

from support.exact import random

T = torch.tensor(0.5, dtype=torch.float64)


class Fixed(Prior):
    """A pointwise prior that knows one shape alone, and counts its calls."""

    def __init__(self, height: int = 32, width: int = 32) -> None:
        super().__init__()
        self.diffusion, self.shape, self.calls = GaussianDiffusion(), (1, height, width), 0

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        assert x_t.shape[1:] == self.shape
        self.calls += 1
        return x_t.tanh()


class AnySize(Prior):
    """A pointwise prior of any size; runs out of memory above ``limit`` numbers."""

    def __init__(self, limit: int = 10**9) -> None:
        super().__init__()
        self.diffusion, self.shape, self.limit = GaussianDiffusion(), (1, 256, 256), limit

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        if x_t.numel() > self.limit:
            raise torch.OutOfMemoryError("no memory")
        return x_t.tanh()

    def for_shape(self, shape) -> Prior:
        return self


class Convolutions(nn.Module):
    """Two 3 x 3 convolutions: a pixel sees 2 pixels around it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 1, 3, padding=1)
        )

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return self.net(x)


SIZES = [(32, 32), (70, 50), (33, 32), (20, 20), (20, 70), (70, 9), (5, 5), (64, 127)]
sizes = pytest.mark.parametrize("size", SIZES, ids=str)


@sizes
@pytest.mark.parametrize("overlap", [0, 8, 16])
@pytest.mark.parametrize("own", [(32, 32), (48, 32), (24, 32)], ids=str)
def test_a_prior_of_one_size_takes_any(
    size: tuple[int, int], overlap: int, own: tuple[int, int]
) -> None:
    """Larger, smaller and not square; every window has the size that the prior knows."""
    x = random(2, 1, *size)
    tiled = TiledPrior(Fixed(*own), 512, overlap, (1, *size))
    torch.testing.assert_close(tiled(x, T), x.tanh(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(20, 32), (32, 20)], ids=str)
def test_a_image_whose_longer_side_is_that_of_the_prior(size: tuple[int, int]) -> None:
    """The window asked for is then the prior's own shape, which it takes; but no other."""
    x = random(1, 1, *size)
    tiled = TiledPrior(Fixed(), 32, 8, (1, *size))
    torch.testing.assert_close(tiled(x, T), x.tanh(), rtol=1e-12, atol=1e-12)


def test_an_overlap_wider_than_a_window_does_not_crawl() -> None:
    """The default overlap of 64 on a prior of 32 pixels: 3 x 3 windows would do for 64 pixels."""
    inner = Fixed()
    TiledPrior(inner)(random(1, 1, 64, 64), T)
    assert inner.calls <= 25


@sizes
@pytest.mark.parametrize("tile", [16, 24, 64])
def test_a_local_prior_does_not_notice(size: tuple[int, int], tile: int) -> None:
    x = random(2, 1, *size)
    tiled = TiledPrior(AnySize(), tile, 7)
    torch.testing.assert_close(tiled(x, T), x.tanh(), rtol=1e-12, atol=1e-12)


@sizes
def test_windows_cover_every_pixel_and_share_the_overlap(size: tuple[int, int]) -> None:
    tiled, (h, w) = TiledPrior(AnySize(), 24, 6), size
    count = torch.zeros(size)
    for rows, columns in tiled.windows(h, w):
        assert 0 <= rows.start < rows.stop <= h and 0 <= columns.start < columns.stop <= w
        assert rows.stop - rows.start == min(24, h) and columns.stop - columns.start == min(24, w)
        count[rows, columns] += 1
    assert count.min() >= 1
    for axis in (0, 1):
        spans = sorted({(s[axis].start, s[axis].stop) for s in tiled.windows(h, w)})
        assert all(a[1] - b[0] >= 6 for a, b in zip(spans[:-1], spans[1:], strict=True))


def test_a_network_that_looks_around_is_met_inside() -> None:
    """Windows of 32 with 16 shared: only ramp-weighted borders see the padding of a window."""
    inner = NetworkPrior(Convolutions().double(), Karras(), (1, 96, 96))
    x = random(1, 1, 96, 96)
    error = (TiledPrior(inner, 32, 16)(x, T) - inner(x, T)).abs()[0, 0]
    scale = inner(x, T).abs().max()
    assert error.max() < 0.1 * scale  # 2 pixels of a window's border weigh at most 2 of 17
    assert (error > 1e-9).double().mean() < 0.5  # most pixels lie in the interior of all windows
    assert TiledPrior(inner, 96, 16)(x, T).sub(inner(x, T)).abs().max() < 1e-12


def test_no_seam_between_windows_that_disagree() -> None:
    """Each window answers with its own number; a ramp spreads the step over the whole overlap."""

    class Numbered(AnySize):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return x_t.mean((2, 3), keepdim=True).expand_as(x_t)

    x = torch.linspace(0, 1, 112, dtype=torch.float64).expand(1, 1, 32, 112)
    tiled = TiledPrior(Numbered(), 32, 16)
    step = 16 / 111  # between the means of neighboring windows
    jumps = tiled(x, T).diff(dim=3).abs()
    assert step / 17 < jumps.max() < 2.1 * step / 17  # two overlaps meet in mid-window


def test_rows_of_a_batch_do_not_meet() -> None:
    x = random(3, 1, 40, 50)
    tiled = TiledPrior(NetworkPrior(Convolutions().double(), Karras(), (1, 40, 50)), 24, 8)
    torch.testing.assert_close(tiled(x, T)[:1], tiled(x[:1], T), rtol=1e-10, atol=1e-10)


def test_gradients_pass_the_windows() -> None:
    x, v = random(1, 1, 40, 50), random(1, 1, 40, 50, seed=1)
    _, vjp = denoise_vjp(TiledPrior(AnySize(), 24, 8), x, T)
    torch.testing.assert_close(vjp(v), v * (1 - x.tanh() ** 2))


def test_graphs_are_of_small_windows_and_are_dropped(monkeypatch) -> None:
    """With gradients, windows of 24 instead of one of 64, each run twice: there and back."""
    monkeypatch.setattr("diffprior.priors.tiled.GRADED", 24)
    sides: list[int] = []

    class Counted(AnySize):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            sides.append(max(x_t.shape[-2:]))
            return super().forward(x_t, t)

    tiled, x, v = TiledPrior(Counted(), 64, 8), random(1, 1, 40, 50), random(1, 1, 40, 50, seed=1)
    with torch.no_grad():
        tiled(x, T)
    assert sides == [50]
    _, vjp = denoise_vjp(tiled, x, T)
    there = len(sides) - 1
    torch.testing.assert_close(vjp(v), v * (1 - x.tanh() ** 2))
    assert there > 1 and len(sides) == 1 + 2 * there and max(sides[1:]) <= 24
    small = random(1, 1, 20, 24)
    denoise_vjp(tiled, small, T)[1](small)
    assert len(sides) == 2 + 2 * there  # one window keeps its graph


def test_what_else_has_a_gradient_keeps_it() -> None:
    """Gradients by a parameter of the prior are those without windows, too."""

    class Scaled(AnySize):
        scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            return self.scale * super().forward(x_t, t)

    prior = Scaled()
    leaf = random(1, 1, 40, 50).requires_grad_()
    loss = TiledPrior(prior, 24, 8)(leaf, T).square().sum()
    found = torch.autograd.grad(loss, [leaf, prior.scale])
    expected = torch.autograd.grad(prior(leaf, T).square().sum(), [leaf, prior.scale])
    torch.testing.assert_close(found, expected)


def test_gradients_of_gradients_are_refused() -> None:
    leaf = random(1, 1, 40, 50).requires_grad_()
    loss = TiledPrior(AnySize(), 24, 8)(leaf, T).square().sum()
    with pytest.raises(UnsuitedError, match="gradients of gradients"):
        torch.autograd.grad(loss, leaf, create_graph=True)


@pytest.mark.parametrize("limit, warned", [(2 * 128**2, 1), (128**2, 2), (64**2, 3)])
def test_out_of_memory_shrinks_and_goes_on(limit: int, warned: int) -> None:
    """Rows are halved first (4, 2, 1), then windows; one warning each, and the same answer."""
    tiled = TiledPrior(AnySize(limit), 128, 16)
    x = random(4, 1, 150, 200)
    with pytest.warns(RuntimeWarning, match="^out of memory: going on with") as log:
        y = tiled(x, T)
    assert len(log) == warned
    torch.testing.assert_close(y, x.tanh(), rtol=1e-12, atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiled(x, T)  # it warns once


def test_a_call_does_not_depend_on_those_before_it() -> None:
    """A call that ran out of memory leaves the windows of the next as they were."""

    class Mean(AnySize):
        def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
            super().forward(x_t, t)
            return x_t.mean((2, 3), keepdim=True).expand_as(x_t)

    inner = Mean()
    tiled, x = TiledPrior(inner, 128, 16), random(3, 1, 150, 200)
    before = tiled(x, T)
    inner.limit = 64**2
    with pytest.warns(RuntimeWarning, match="^out of memory: going on with") as log:
        small = tiled(x, T)
    assert "windows of 64 pixels" in str(log[-1].message)
    inner.limit = 10**9
    assert torch.equal(tiled(x, T), before) and not torch.equal(small, before)
    assert (tiled.tile, tiled.overlap) == (128, 16)


def test_rows_that_are_halved_are_those_alone() -> None:
    tiled, x = TiledPrior(AnySize(128**2), 128, 16), random(5, 1, 150, 200)
    with pytest.warns(RuntimeWarning, match="images at a time$"):
        batch = tiled(x, T)
    for i in range(5):
        assert torch.equal(batch[i : i + 1], tiled(x[i : i + 1], T))


def test_out_of_memory_is_an_error_when_nothing_is_left_to_shrink() -> None:
    tiled = TiledPrior(AnySize(SMALLEST**2 - 1), 128, 16)
    with pytest.warns(RuntimeWarning), pytest.raises(torch.OutOfMemoryError, match="^no memory$"):
        tiled(random(1, 1, 128, 128), T)


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(ValueError, match="is a prior of states of shape"):
        Fixed().for_shape((1, 8, 8))
    with pytest.raises(ValueError, match=r"^an overlap lies in \[0, tile\), got 32 of 32$"):
        TiledPrior(AnySize(), 32, 32)


def test_a_sampler_runs_on_tiles_as_on_the_whole() -> None:
    inner = AnySize()
    x = Noise(0).normal(torch.empty(1, 1, 40, 70, dtype=torch.float64))
    whole, tiled = (DDIM(steps=5)(p, x) for p in (inner, TiledPrior(inner, 32, 8, (1, 40, 70))))
    torch.testing.assert_close(tiled, whole, rtol=1e-9, atol=1e-9)


def test_on_gives_another_size_and_leaves_the_first() -> None:
    tiled = TiledPrior(Fixed(), 32, 8)
    other = tiled.for_shape((1, 99, 50))
    assert other.shape == (1, 99, 50) and tiled.shape == (1, 32, 32)
    assert other.for_shape((1, 8, 8)).shape == (1, 8, 8)


def test_each_window_is_told_as_it_is_done() -> None:
    """A step of a chain on 24 megapixels takes minutes, and the bar stood still meanwhile."""
    told: list[tuple[str, int, int]] = []
    prior = TiledPrior(AnySize(), 64, 16, (1, 100, 150))
    with each_part(lambda *part: told.append(part)):
        prior(random(1, 1, 100, 150), T)
        prior.for_shape((1, 60, 60))(random(1, 1, 60, 60), T)  # one window says nothing
    count = len(list(prior.windows(100, 150)))
    assert told == [("window", k, count) for k in range(1, count + 1)] and count > 4
    prior(random(1, 1, 100, 150), T)
    assert len(told) == count
