"""Implicit score matching (Hyvärinen, 2005): the trace of the score's Jacobian, for few numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import UnsuitedError
from .base import Batch, Denoiser, Levels, second_derivatives

__all__ = ["Implicit"]

MOST = 256  # numbers of a state: each is a derivative


@dataclass(frozen=True, kw_only=True)
class Implicit(Levels):
    """E[sigma^2 (tr ds/dx + |s|^2 / 2)] for each dimension, with x = x_0 + sigma eps.

    It is denoising score matching without the target: the two differ by a number that no network
    changes. "Estimation of Non-Normalized Statistical Models by Score Matching" (Hyvärinen, 2005),
    https://jmlr.org/papers/v6/hyvarinen05a.html.
    """

    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        size = batch.x_0[0].numel()
        if size > MOST:
            raise UnsuitedError(
                f"implicit takes as many derivatives as a state has numbers, {MOST} at most, and "
                f"got {size}: use sliced or ncsn"
            )
        x_t = denoiser.noised(batch).requires_grad_()
        with second_derivatives():
            score = denoiser.predict("score", x_t, batch.t).flatten(1)
            trace = torch.zeros_like(score[:, 0])
            for i in range(size):
                (row,) = torch.autograd.grad(score[:, i].sum(), x_t, create_graph=True)
                trace = trace + row.flatten(1)[:, i]
        sigma = denoiser.schedule(batch.t.to(score.dtype))[1]
        return sigma**2 * (trace + (score**2).sum(1) / 2) / size
