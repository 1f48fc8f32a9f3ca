"""Blur kernels: Gaussian, uniform, motion, camera shake, or read from a file."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...io.numbers import read_plane
from ...validation import literal, shown

__all__ = ["anisotropic", "gaussian", "kernel", "linear_motion", "motion", "uniform"]

LARGEST = 2047  # taps per side
LIMIT = 2**20  # pixels of an image of a kernel
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


def gaussian(sigma: float, size: int | None = None) -> Tensor:
    """Return exp(-(i^2 + j^2) / (2 sigma^2)), normalized, with ``size`` taps per side.

    All kernels of this module are non-negative, sum to 1 and have their center at ``size // 2``.
    The default size ends after 4 sigma, as in scipy: ``gaussian(3)`` is the "61 x 61" kernel of
    "Diffusion Posterior Sampling for General Noisy Inverse Problems" (Chung et al., 2023) without
    its zeros.
    """
    return anisotropic(sigma, sigma, 0, size)


def uniform(size: int) -> Tensor:
    """Return 1 / size^2."""
    return _normalized(np.ones((_whole(size), size)))


def anisotropic(
    sigma_1: float, sigma_2: float, angle: float = 0, size: int | None = None
) -> Tensor:
    """Return a normalized Gaussian, with ``sigma_1`` along ``angle`` and ``sigma_2`` across it.

    Arguments:
        angle: In degrees, counterclockwise from the horizontal.
    """
    if not 0 < min(sigma_1, sigma_2):
        raise ValueError(f"a Gaussian is wider than 0 pixels, got {min(sigma_1, sigma_2)}")
    if size is None and not max(sigma_1, sigma_2) <= (LARGEST - 2) / 8:
        got = shown(max(sigma_1, sigma_2), 40)
        raise ValueError(
            f"a Gaussian has a sigma of {LARGEST // 8} pixels at most without a size, got {got}"
        )
    size = 2 * int(4 * max(sigma_1, sigma_2) + 0.5) + 1 if size is None else size
    i, j = np.mgrid[: _whole(size), :size] - size // 2
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    u = c * j - s * i
    v = s * j + c * i  # along and across; rows count downward
    return _normalized(np.exp(-((u / sigma_1) ** 2 + (v / sigma_2) ** 2) / 2))


def linear_motion(length: float, angle: float = 0) -> Tensor:
    """Return the kernel of a straight motion over ``length`` pixels.

    Arguments:
        angle: In degrees, counterclockwise from the horizontal.
    """
    if not 1 <= length <= LARGEST:
        got = shown(length, 40)
        raise ValueError(f"a motion is of 1 to {LARGEST} pixels, got {got}")
    size = 2 * int(np.ceil((length - 1) / 2)) + 1
    along = length * ((np.arange(20_000) + 0.5) / 20_000 - 0.5)
    return _traced(along * np.exp(1j * np.radians(angle)), size)


def motion(size: int = 61, intensity: float = 0.5, seed: int = 0) -> Tensor:
    """Return the kernel of a camera shake: the share of time that a point spends in each pixel.

    The path of the point is as long as the kernel is wide. Its velocity v gets Gaussian impulses,
    a pull back to the start and rare reversals, all scaled by ``intensity``. It follows the model
    of "Modeling the Performance of Image Restoration From Motion Blur" (Boracchi and Foi, 2012),
    https://doi.org/10.1109/TIP.2012.2192126.

    Arguments:
        size: Taps per side.
        intensity: From 0, a straight line, to 1, a tangled path.
        seed: Any integer that is not negative.
    """
    if not 0 <= intensity <= 1:
        raise ValueError(f"the intensity of a motion is from 0 to 1, got {intensity}")
    rng = np.random.default_rng(seed)
    steps = 2000
    kicks = rng.standard_normal((steps, 2)) @ (1, 1j) * 4 * intensity / steps**0.5
    thrown = rng.random(steps) < 4 * intensity / steps
    x = 0j
    v = np.exp(2j * np.pi * rng.random())
    path = []
    for kick, throw in zip(kicks, thrown, strict=True):
        v = v + kick - 8 * intensity * x / steps
        v = -v + kick if throw else v
        v = v / abs(v)
        x = x + v / steps
        path.append(x)
    half = (_whole(size) - 1) // 2
    points = 2 * half * (np.array(path) - np.mean(path))
    reach = max(abs(points.real).max(), abs(points.imag).max())
    return _traced(points * min(1, half / reach) if half else points, size)


MAKERS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "gaussian": (gaussian, "SIGMA,SIZE"),
    "anisotropic": (anisotropic, "SIGMA_1,SIGMA_2,ANGLE,SIZE"),
    "uniform": (uniform, "SIZE"),
    "motion": (linear_motion, "LENGTH,ANGLE"),
    "shake": (motion, "SIZE,INTENSITY,SEED"),
}


def kernel(source: Tensor | str) -> Tensor:
    """Return the kernel of a text such as "gaussian:3", "motion:15,45" or "k.png", or of a tensor.

    Arguments:
        source: A tensor of shape ``(h, w)`` or ``(B, h, w)``, used as it is; the name of a kernel
            with its numbers; or a file, whose values are normalized to sum to 1: an image, of which
            the luma counts and clear pixels are 0, or an array ``(h, w)`` in an .npy file.
    """
    if isinstance(source, Tensor):
        if source.ndim not in (2, 3):
            shape = tuple(source.shape)
            raise ValueError(f"a kernel has the shape (h, w) or (B, h, w), got {shape}")
        return source if source.is_floating_point() else source.to(torch.get_default_dtype())
    if not isinstance(source, str):
        raise ValueError(f"a kernel is a tensor or text, got a {type(source).__name__}")
    name, colon, numbers = source.partition(":")
    if name not in MAKERS:
        return _of_file(source)
    make, settings = MAKERS[name]
    try:
        values = [float(n) if "." in n else int(n) for n in numbers.split(",") if colon]
        inspect.signature(make).bind(*values)
    except (ValueError, TypeError):
        values = [np.nan]
    if not all(abs(value) < 2**63 for value in values):  # neither infinite nor NaN
        words = literal(source, 80)
        raise ValueError(f"cannot read the kernel {words}; write {name}:{settings}")
    return make(*values)


def _of_file(name: str) -> Tensor:
    if not os.path.exists(name):
        words = ", ".join(f"{name}:{settings}" for name, (_, settings) in MAKERS.items())
        raise ValueError(f"no kernel {shown(name)!r}; give an image, a .npy file, or {words}")
    k = read_plane(Path(name), LIMIT)
    if not np.isfinite(k).all() or k.min() < 0 or not k.sum() > 0:
        raise ValueError(
            f"a kernel has no negative weight and one above 0, a pixel that is not black; "
            f"{shown(name)} is none"
        )
    if max(k.shape) > LARGEST:
        raise ValueError(f"the image of a kernel is {LARGEST} pixels wide at most, got {k.shape}")
    return _normalized(_unframed(k))


def _unframed(k: Array) -> Array:
    """Return a kernel without its frame of zeros; its center stays in the middle."""
    for axis in (0, 1):
        center = k.shape[axis] // 2
        reach = abs(np.flatnonzero(k.any(1 - axis)) - center).max()
        if 2 * reach + 1 < k.shape[axis]:
            k = np.take(k, range(center - reach, center + reach + 1), axis)
    return k


def _whole(size: int) -> int:
    if not (isinstance(size, int) and 1 <= size <= LARGEST):
        got = shown(size, 40)
        raise ValueError(f"the size of a kernel is an integer from 1 to {LARGEST}, got {got}")
    return size


def _traced(points: np.ndarray[tuple[int, ...], np.dtype[np.complex128]], size: int) -> Tensor:
    """Return the share of the points x + i y (y points up) in each pixel."""
    edges = np.arange(size + 1) - size // 2 - 0.5
    return _normalized(np.histogram2d(-points.imag, points.real, (edges, edges))[0])


def _normalized(k: Array) -> Tensor:
    return torch.from_numpy(k / k.sum()).to(torch.get_default_dtype())
