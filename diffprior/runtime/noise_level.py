"""Estimates of what a measurement does not say of itself, with the prior as the judge."""

from torch import Tensor

from ..priors.base import Prior, denoise_vjp
from ..random import Noise

__all__ = ["noise_level"]

ROUNDING = 1 / 255 / 12**0.5  # [0, 1]; the deviation of what is lost by 8 bits
WINDOW = 192  # px


def noise_level(prior: Prior, y: Tensor, start: float, rounds: int = 5) -> float:
    """Return the most likely white noise of an image under the prior, in [0, 1] units.

    EM for the sigma of y = x + sigma eps: each round sets sigma^2 to E[||y - x||^2 | y] / m, which
    is ||y - x_0||^2 / m + sigma^2 div x_0 / m with x_0 = E[x | y] at this sigma, the divergence by
    one random probe: "A stochastic estimator of the trace of the influence matrix" (Hutchinson,
    1990). The likelihood of sigma never falls from round to round. Texture that the prior knows
    does not count as noise, as it does for a wavelet's median.

    Arguments:
        prior: Of images ``(3, h, w)`` of any size.
        y: An image in [-1, 1], ``(1, 3, H, W)``; of a large one the window that is clipped least.
        start: A first estimate in [0, 1] units, too large rather than too small.
    """
    y = _window(y).to(prior.like)
    prior, sigma = prior.for_shape(y.shape[1:]), max(2 * start, 4 * ROUNDING)
    probe = Noise(0).normal(y).sign()
    for _ in range(rounds):
        t = prior.diffusion.schedule.time(sigma)
        alpha_t, _ = prior.diffusion.schedule(t)
        x_0, vjp = denoise_vjp(prior, alpha_t * y, t)
        left = (y - x_0).square().mean()
        spread = sigma**2 * alpha_t * (probe * vjp(probe)).mean()
        sigma = max(float((left + spread).clamp_min(0).sqrt()), 2 * ROUNDING)
    return sigma / 2


def _window(y: Tensor) -> Tensor:
    """Return the window of an image that holds the fewest values at the ends of their range."""
    h, w = (min(n, WINDOW) for n in y.shape[-2:])
    windows = y.unfold(2, h, (h + 1) // 2).unfold(3, w, (w + 1) // 2)  # (1, 3, rows, columns, h, w)
    clipped = (windows.abs() > 1 - 1 / 255).float().mean((0, 1, 4, 5))
    i, j = divmod(int(clipped.argmin()), clipped.shape[1])
    return windows[:, :, i, j].contiguous()
