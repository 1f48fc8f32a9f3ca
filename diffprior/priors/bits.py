"""Mixtures of independent bits, with the binary diffusion of Sohl-Dickstein et al. (2015)."""

from typing import Any

import torch
from torch import Tensor

from ..diffusions import BernoulliDiffusion
from .base import Prior, flow_settings

__all__ = ["BitsPrior"]


class BitsPrior(Prior):
    """Sum_k w_k Prod_d Bernoulli(p_kd), with E[x_0 | x_t] in closed form.

    Arguments:
        weights: w, of shape ``(K,)``; they are normalized.
        probs: p, of shape ``(K, *shape)``, inside (0, 1).
        diffusion: How bits are flipped; by default ``BernoulliDiffusion()``.
    """

    log_weights: Tensor
    probs: Tensor

    def __init__(
        self, weights: Tensor, probs: Tensor, diffusion: BernoulliDiffusion | None = None
    ) -> None:
        super().__init__()
        self.diffusion = diffusion or BernoulliDiffusion()
        self.shape = tuple(probs.shape[1:])
        self.register_buffer("log_weights", (weights / weights.sum()).log())
        self.register_buffer("probs", probs.flatten(1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        one = self.diffusion.noise(torch.ones((), dtype=t.dtype), t).mean  # q(x_t = 1 | x_0 = 1)
        bits = x_t.flatten(1)[:, None]  # (B, 1, D)
        seen_1 = bits * one + (1 - bits) * (1 - one)  # q(x_t | x_0 = 1)
        joint = self.probs * seen_1
        total = joint + (1 - self.probs) * (1 - seen_1)
        log_p = self.log_weights + total.log().sum(-1)
        x_0 = (log_p.softmax(-1)[..., None] * joint / total).sum(1)
        return x_0.reshape_as(x_t)

    def log_prob(self, x: Tensor, t: Tensor | None = None, **settings: Any) -> Tensor:
        """Return the log-probability of bits in closed form, of shape ``(B,)``.

        Arguments:
            x: Bits, of shape ``(B, *shape)``.
            t: Their time in [0, 1]; by default they are clean.
            settings: Those of ``density``, which a closed form does not need.

        Raises:
            SettingError: If there is no such setting.
        """
        flow_settings(settings)
        alpha_t = 1.0 if t is None else self.diffusion.schedule(t)[0]
        probs = alpha_t * self.probs + (1 - alpha_t) / 2
        bits = x.flatten(1)[:, None]
        log_p = torch.xlogy(bits, probs) + torch.xlogy(1 - bits, 1 - probs)
        return (self.log_weights + log_p.sum(-1)).logsumexp(-1)
