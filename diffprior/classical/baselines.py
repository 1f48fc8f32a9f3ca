"""Classical restoration as the benchmarks meet it: an image out of a likelihood, no prior."""

from collections.abc import Callable
from typing import Any, cast

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.average import Average
from ..operators.base import LinearOperator
from ..operators.bicubic import Bicubic
from ..operators.blur import Blur
from ..operators.circular_blur import CircularBlur
from ..operators.identity import Identity
from ..operators.mask import Mask

__all__ = ["METHODS", "restore"]

Array = np.ndarray[tuple[int, ...], np.dtype[Any]]
AnyLikelihood = Likelihood[Any]
BORDERS: dict[str, dict[str, Any]] = {  # of images in [0, 1], where a state's zero is 0.5
    "free": {"mode": "edge"},  # of the guesses the best for Richardson-Lucy
    "reflect": {"mode": "reflect"},
    "circular": {"mode": "wrap"},
    "zero": {"mode": "constant", "constant_values": 0.5},
}


def restore(name: str, likelihood: AnyLikelihood) -> Tensor:
    """Return images in [-1, 1], ``(B, 3, H, W)``, by one of ``METHODS``; each is restored alone.

    Raises:
        TypeError: If the method is not one for this operator or noise; one sentence says why.
    """
    image, kinds = METHODS[name]
    if not isinstance(likelihood.operator, kinds):
        known = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{name} works on {known}, got {type(likelihood.operator).__name__}")
    rows = (likelihood.select(torch.tensor([i])) for i in range(len(likelihood.y)))
    return torch.cat([image(row) for row in rows])


def _pinv(likelihood: AnyLikelihood) -> Tensor:
    return cast(LinearOperator, likelihood.operator).pinv(likelihood.y)


def _bicubic(likelihood: AnyLikelihood) -> Tensor:
    """Enlarge by Keys' kernel, a = -1/2, as Pillow does; y's sides are rounded up."""
    factor = likelihood.operator.factor
    x = F.interpolate(likelihood.y, scale_factor=factor, mode="bicubic", antialias=True)
    h, w = _pinv(likelihood).shape[-2:]
    return x[..., :h, :w]


def _inpainted(flag: int) -> Callable[[AnyLikelihood], Tensor]:
    """Return a fill by OpenCV, in 8 bits, of what is measured in no channel."""

    def fill(likelihood: AnyLikelihood) -> Tensor:
        lost = _lost(likelihood)
        light = (255 * _light(likelihood)).round().clip(0, 255)
        filled = cv2.inpaint(np.ascontiguousarray(light, np.uint8), lost.astype(np.uint8), 3, flag)
        return _state(filled / 255)

    return fill


def _biharmonic(likelihood: AnyLikelihood) -> Tensor:
    from skimage.restoration import inpaint_biharmonic

    return _state(inpaint_biharmonic(_light(likelihood), _lost(likelihood), channel_axis=2))


def _nlm(likelihood: AnyLikelihood) -> Tensor:
    """Non-local means, its settings those of scikit-image's example for a known sigma."""
    from skimage.restoration import denoise_nl_means

    sigma = _sigma(likelihood)
    sizes = {"patch_size": 5, "patch_distance": 6}
    return _state(
        denoise_nl_means(_light(likelihood), h=0.6 * sigma, sigma=sigma, **_last, **sizes)
    )


def _wavelet(likelihood: AnyLikelihood) -> Tensor:
    """BayesShrink in YCbCr."""
    from skimage.restoration import denoise_wavelet

    options = {"method": "BayesShrink", "mode": "soft", "rescale_sigma": True}
    y = _light(likelihood)
    return _state(
        denoise_wavelet(y, sigma=_sigma(likelihood), convert2ycbcr=True, **_last, **options)
    )


def _tv(likelihood: AnyLikelihood) -> Tensor:
    """Total variation, its weight that which leaves a residual of sigma."""
    from skimage.restoration import denoise_tv_chambolle

    y, sigma = _light(likelihood), _sigma(likelihood)
    weights = sigma * np.geomspace(0.25, 8, 16)
    candidates = [denoise_tv_chambolle(y, weight=w, **_last) for w in weights]
    return _state(min(candidates, key=lambda x: abs(float(np.std(y - x)) - sigma)))


def _richardson_lucy(likelihood: AnyLikelihood) -> Tensor:
    from skimage.restoration import richardson_lucy

    return _sharpened(likelihood, lambda c, k: richardson_lucy(c.clip(0, 1), k, num_iter=30))


def _wiener(likelihood: AnyLikelihood) -> Tensor:
    """Wiener's filter, its noise and smoothness estimated."""
    from skimage.restoration import unsupervised_wiener

    return _sharpened(likelihood, lambda c, k: unsupervised_wiener(c, k, rng=0)[0])


def _sharpened(likelihood: AnyLikelihood, undo: Callable[[Array, Array], Array]) -> Tensor:
    """Return what undoes a blur channel by channel, in a frame that continues the image."""
    A = likelihood.operator
    kernel = A.kernel.reshape(A.kernel.shape[-2:]).double().numpy()
    border = getattr(A, "boundary", "circular")
    frame = 2 * max(kernel.shape)
    wide = np.pad(_light(likelihood), ((frame, frame), (frame, frame), (0, 0)), **BORDERS[border])
    channels = [undo(wide[..., c], kernel) for c in range(wide.shape[-1])]
    left, right, above, below = (frame - n for n in (A.reach if border == "free" else (0,) * 4))
    return _state(np.stack(channels, -1)[above:-below, left:-right])


_last: dict[str, Any] = {"channel_axis": -1}


def _light(likelihood: AnyLikelihood) -> Array:
    """Return y as ``(H, W, C)`` in [0, 1] units, in float64."""
    light: Array = ((likelihood.y[0].double() + 1) / 2).movedim(0, -1).numpy()
    return light


def _state(light: Array) -> Tensor:
    x = torch.from_numpy(np.ascontiguousarray(light)).movedim(-1, 0)[None]
    return 2 * x.float().clamp(0, 1) - 1


def _lost(likelihood: AnyLikelihood) -> Array:
    """Return the pixels of which no channel is measured, ``(H, W)``."""
    measured = likelihood.operator.mask_unmeasured(torch.ones_like(likelihood.y[:1]))
    lost: Array = (measured[0].amax(0) == 0).numpy()
    return lost


def _sigma(likelihood: AnyLikelihood) -> float:
    """Return sigma in [0, 1] units."""
    if not isinstance(likelihood, GaussianLikelihood):
        raise TypeError(
            f"a classical denoiser needs Gaussian noise, got {type(likelihood).__name__}"
        )
    return max(likelihood.sigma / 2, 1e-3)


METHODS: dict[str, tuple[Callable[[AnyLikelihood], Tensor], tuple[type, ...]]] = {
    "classical:pinv": (_pinv, (LinearOperator,)),
    "classical:bicubic": (_bicubic, (Bicubic, Average)),
    "classical:telea": (_inpainted(cv2.INPAINT_TELEA), (Mask,)),
    "classical:navier-stokes": (_inpainted(cv2.INPAINT_NS), (Mask,)),
    "classical:biharmonic": (_biharmonic, (Mask,)),
    "classical:nlm": (_nlm, (Identity,)),
    "classical:wavelet": (_wavelet, (Identity,)),
    "classical:tv": (_tv, (Identity,)),
    "classical:richardson-lucy": (_richardson_lucy, (Blur, CircularBlur)),
    "classical:wiener": (_wiener, (Blur, CircularBlur)),
}
