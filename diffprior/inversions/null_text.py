"""Null-text inversion (Mokady et al., 2023): the empty prompt, fitted to an image step by step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..batching import StepCallback
from ..priors.base import Prior, denoise_vjp
from ..priors.guided import GuidedPrior
from ..priors.paired import PairedPrior
from ..random import Noise
from ..schedules import pairs
from ..solvers import dot, per_row
from ..validation import Whole
from ._steps import step_of
from .base import Code, Inversion, Keep, flow_coefficients, flow_step, predict_eps, walk

__all__ = ["NullText"]


@dataclass(frozen=True, kw_only=True)
class NullText(Inversion):
    """min over e_t of ||x_s - (a x_t + b eps)||^2, eps that of x_0(e_t) + w (x_0(text) - x_0(e_t)).

    x_s are the states of DDIM inversion at w = 1. The e_t are embeddings of the empty prompt, one
    for each step, which Adam fits on the way down, each from the last. Heuristic: it comes as near
    as the network follows its prompt. Classes have no embedding of words to fit.
    "Null-text Inversion for Editing Real Images using Guided Diffusion Models",
    https://arxiv.org/abs/2211.09794.

    Arguments:
        iterations: The most iterations of Adam a step.
        rate: Learning rate of the first step; it falls to half of that, as the authors' does.
        tolerance: The mean squared error below which the embedding of an image stays as it is.
    """

    iterations: Whole = 10
    rate: float = 1e-2
    tolerance: float = 1e-5

    guided: ClassVar[bool] = True

    @property
    def calls(self) -> int:
        return self.steps * (self.iterations + 4)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        alone = prior.without_guidance()
        states = [x_0]
        for s, t in pairs(times):
            a, b = flow_coefficients(prior, t, s)
            states.append((states[-1] - b * predict_eps(alone, states[-1], t)) / a)
        x = x_T = states.pop()
        e = _words(prior).to(x_0).repeat(len(x_0), 1, 1)
        null = []
        for i, step in enumerate(pairs(times.flip(0))):
            rate = self.rate * (1 - i / self.steps / 2)
            e = keep(self._fit(prior, e, x, states.pop(), step, rate))
            x = flow_step(_fitted(prior, e), x, *step)
            null.append(e)
        return {"x_T": x_T, "null": torch.stack(null, 1)}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        def step(x_t: Tensor, t: Tensor, s: Tensor, i: int) -> Tensor:
            return flow_step(_fitted(prior, step_of(code["null"], i, x_t)), x_t, t, s)

        return walk(code["x_T"], times, step, each)

    def _fit(
        self,
        prior: Prior,
        e: Tensor,
        x: Tensor,
        x_s: Tensor,
        step: tuple[Tensor, Tensor],
        rate: float,
    ) -> Tensor:
        """Return the embeddings, from ``e`` on, with which the step from x, at t, ends nearest x_s.

        Arguments:
            step: t and s.
            rate: Learning rate of Adam.
        """
        t, s = step
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        a, b = flow_coefficients(prior, t, s)
        slope = -b * alpha_t / sigma_t
        w = prior.guidance_scale
        text = prior.without_guidance()(x, t)
        free = _Unconditional(prior, x)
        e = e.clone()
        adam = torch.optim.Adam([e], lr=rate)
        for _ in range(self.iterations):
            x_0, vjp = denoise_vjp(free, e, t)
            off = (a + b / sigma_t) * x + slope * (x_0 + w * (text - x_0)) - x_s
            going = per_row(dot(off, off), e) / off[0].numel() > self.tolerance
            if not going.any():
                break
            before = e.clone()
            e.grad = vjp(2 / off[0].numel() * (1 - w) * slope * off)
            adam.step()
            e.copy_(torch.where(going, e, before))
        return e.detach()


class _Rows(Prior):
    """One prior for each row of a batch."""

    def __init__(self, priors: Sequence[Prior]) -> None:
        super().__init__()
        self.priors = nn.ModuleList(priors)
        self.diffusion = priors[0].diffusion
        self.shape = priors[0].shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        rows = torch.split(x_t, 1)
        return torch.cat([prior(x, t) for prior, x in zip(self.priors, rows, strict=True)])


class _Unconditional(Prior):
    """The unconditional estimate of x_0 for fixed states, as a function of the embedding."""

    def __init__(self, prior: Prior, x_t: Tensor) -> None:
        super().__init__()
        self.prior = prior
        self.x_t = x_t
        self.diffusion = prior.diffusion
        self.shape = prior.shape

    def forward(self, e: Tensor, t: Tensor) -> Tensor:
        rows = [
            self.prior.map_inner(lambda prior: _guided(prior).free.with_embedding(row))  # noqa: B023
            for row in torch.split(e, 1)
        ]
        return _Rows(rows)(self.x_t, t)


def _fitted(prior: Prior, e: Tensor) -> Prior:
    """Return a prior whose guidance is away from embeddings ``e``, one for each row."""
    halves = (prior.before, prior.after) if isinstance(prior, PairedPrior) else (prior,)
    words = zip(halves, e.chunk(len(halves)), strict=True)
    return _Rows([_with_words(p, row) for p, part in words for row in torch.split(part, 1)])


def _with_words(prior: Prior, e: Tensor) -> Prior:
    """Return a prior guided away from an embedding; without guidance, as it is."""
    guided = prior.innermost
    if not isinstance(guided, GuidedPrior):
        return prior
    return prior.with_negative(guided.free.with_embedding(e))


def _words(prior: Prior) -> Tensor:
    """Return the embedding of the empty prompt, of shape ``(1, words, D)``."""
    free = _guided(prior.innermost).free
    if free.embedding is None:
        raise TypeError(
            f"null_text fits the empty prompt of a text-to-image prior, and {type(free).__name__} "
            "has none; direct and negative_prompt work with classes, too"
        )
    return free.embedding


def _guided(prior: Prior) -> GuidedPrior:
    if not isinstance(prior, GuidedPrior):
        raise TypeError(
            f"null_text fits a guidance, and {type(prior).__name__} has none; give a prompt, "
            "and no guidance of 1"
        )
    return prior
