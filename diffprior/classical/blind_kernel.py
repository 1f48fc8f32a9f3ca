"""Estimation of an unknown blur kernel from the edges of a blurred image."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fft import irfft2, rfft2

from ..io.arrays import LUMA

__all__ = ["estimate"]

EDGES = 4e-3  # lambda: cost of an edge pixel, in squared units of [0, 1]
RIDGE = 60.0  # gamma: cost of the energy of the kernel
ROUNDS = 3  # of image and kernel per scale
RATIO = 2**0.5  # from one scale to the next
FAINT = 0.1  # of the largest value of a kernel; smaller values are noise


@torch.no_grad()
def estimate(x: Tensor, size: int = 31) -> Tensor:
    """Return the kernel k, ``(size, size)``, non-negative and with sum 1, that blurred an image.

    Two steps alternate from coarse to fine. The first finds an image u with few edges that k blurs
    into the luma y; the second finds the k that blurs the gradients of u into those of y:

        u = argmin ||k * u - y||^2 + lambda #{grad u != 0},
        k = argmin ||k * grad u - grad y||^2 + gamma ||k||^2.

    Heuristic: it assumes that strong edges were sharp. "Deblurring Text Images via
    L0-Regularized Intensity and Gradient Prior" (Pan et al., 2014), without its intensity
    term, https://doi.org/10.1109/CVPR.2014.371.

    Arguments:
        x: One image ``(3, H, W)`` in [-1, 1].
        size: Taps per side; odd, and wider than the blur.
    """
    luma = (x.double() * x.new_tensor(LUMA, dtype=torch.float64)[:, None, None]).sum(0) / 2 + 0.5
    k = torch.zeros(0, 0)
    price = EDGES
    for n, y in _scales(luma, size):
        k = _resized(k, n) if len(k) else y.new_full((n, n), 1 / n**2)
        for _ in range(ROUNDS):
            u = _edges(_tapered(y, k), k, price)
            k = _kernel(u, y, n)
            price = max(0.9 * price, 1e-4)
    return k.to(x)


def _scales(y: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield the size of the kernel and the image at each scale, coarse to fine."""
    count = int(np.floor(np.log(size / 3) / np.log(RATIO))) + 1
    for i in reversed(range(count)):
        n = max(3, round(size / RATIO**i) // 2 * 2 + 1)
        shape = [round(side * n / size) for side in y.shape] if i else list(y.shape)
        small = F.interpolate(y[None, None], shape, mode="bicubic", antialias=True)[0, 0]
        yield (n if i else size), small


def _resized(k: Tensor, n: int) -> Tensor:
    wide = F.interpolate(k[None, None], (n, n), mode="bicubic")[0, 0]
    return _plain(wide)


def _otf(k: Tensor, shape: torch.Size) -> Tensor:
    """Return the Fourier transform of k with periodic borders, its center at the origin."""
    n = len(k)
    wide = F.pad(k, (0, shape[1] - n, 0, shape[0] - n))
    K: Tensor = rfft2(wide.roll((-(n // 2), -(n // 2)), (0, 1)))
    return K


def _gradients(shape: torch.Size, like: Tensor) -> Tensor:
    """Return the transforms of the forward differences down and across, ``(2, H, W // 2 + 1)``."""
    d = like.new_zeros(2, *shape)
    d[:, 0, 0] = -1
    d[0, -1, 0] = 1
    d[1, 0, -1] = 1
    D: Tensor = rfft2(d)
    return D


def _tapered(y: Tensor, k: Tensor) -> Tensor:
    """Return y with borders that are blended into the opposite ones, for periodic transforms."""
    weight = torch.ones_like(y)
    for axis, length in enumerate(y.shape):
        p = k.sum(1 - axis)
        c = torch.fft.irfft(torch.fft.rfft(p, length - 1).abs() ** 2, length - 1)
        c = torch.cat([c, c[:1]]) / c.max()
        weight = weight * (1 - c).unsqueeze(1 - axis)
    smooth: Tensor = irfft2(_otf(k, y.shape) * rfft2(y), y.shape)
    return weight * y + (1 - weight) * smooth


def _edges(y: Tensor, k: Tensor, price: float) -> Tensor:
    """Return the u with few edges, by half-quadratic splitting: g is grad u where that is large."""
    K = _otf(k, y.shape)
    D = _gradients(y.shape, y)
    blurred = K.conj() * rfft2(y)
    energy = K.abs() ** 2
    u = y
    beta = 2 * price
    while beta < 1e5:
        g = irfft2(D * rfft2(u), y.shape)
        g = g * (g.square().sum(0) >= price / beta)
        top = blurred + beta * (D.conj() * rfft2(g)).sum(0)
        u = irfft2(top / (energy + beta * (D.abs() ** 2).sum(0)), y.shape)
        beta *= 2
    return u


def _kernel(u: Tensor, y: Tensor, n: int) -> Tensor:
    """Return the k that blurs the gradients of u into those of y."""
    D = _gradients(y.shape, y)
    inner = y.new_zeros(y.shape)
    b = min(n // 2, min(y.shape) // 4)
    inner[b : y.shape[0] - b, b : y.shape[1] - b] = 1
    gu, gy = (rfft2(irfft2(D * rfft2(v), y.shape) * inner) for v in (u, y))
    top = (gu.conj() * gy).sum(0)
    energy = (gu.abs() ** 2).sum(0)
    full = irfft2(top / (energy + RIDGE), y.shape)
    k = full.roll((n // 2, n // 2), (0, 1))[:n, :n]
    return _centered(_connected(_plain(k)))


def _plain(k: Tensor) -> Tensor:
    """Return k without negative and faint values, with sum 1.

    If nothing is left, as for an image without edges, k is a single pixel: no blur.
    """
    k = torch.where(k < FAINT * k.max(), 0, k.clamp_min(0))
    if not k.sum() > 0:
        k[len(k) // 2, len(k) // 2] = 1
    return k / k.sum()


def _connected(k: Tensor) -> Tensor:
    """Return the heaviest connected part of k, with sum 1."""
    from skimage.measure import label

    parts = torch.from_numpy(label((k > 0).cpu().numpy()).astype(np.int64)).to(k.device)
    shares = k.new_zeros(int(parts.max()) + 1).index_add(0, parts.flatten(), k.flatten())
    k = torch.where(parts == shares.argmax(), k, 0)
    return k / k.sum()


def _centered(k: Tensor) -> Tensor:
    """Return k moved by whole pixels so that its center of mass is in the center."""
    i = torch.arange(len(k), dtype=k.dtype, device=k.device) - len(k) // 2
    shift = [-round(float((i * k.sum(1 - axis)).sum())) for axis in (0, 1)]
    return k.roll(shift, (0, 1))
