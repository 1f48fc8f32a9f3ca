"""NCSN (Song and Ermon, 2019): denoising score matching, one network over a few noise levels."""

from dataclasses import dataclass

from torch import Tensor

from .base import Batch, Denoiser, Levels, column, row_means

__all__ = ["NCSN"]


@dataclass(frozen=True, kw_only=True)
class NCSN(Levels):
    """E[sigma^2 |s_theta(x, sigma) + eps / sigma|^2] / 2 with x = x_0 + sigma eps.

    "Generative Modeling by Estimating Gradients of the Data Distribution" (Song and Ermon, 2019),
    eq. 5 and 6, https://arxiv.org/abs/1907.05600.
    """

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        x_t = denoiser.noised(batch)
        score = denoiser.predict("score", x_t, batch.t)
        sigma = column(denoiser.schedule(batch.t)[1], x_t)
        return row_means((sigma * score + batch.noise) ** 2) / 2
