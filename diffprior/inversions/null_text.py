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
from ..solvers import dot
from ..validation import Whole
from .base import Code, Inversion, Keep, flow_coefficients, predict_eps

__all__ = ["NullText"]


@dataclass(frozen=True, kw_only=True)
class NullText(Inversion):
    """min over e_t of ||x_s - (a x_t + b eps)||^2, eps that of x_0(e_t) + w (x_0(text) - x_0(e_t)).

    x_s are the states of DDIM inversion at w = 1; the e_t, words of the empty prompt, one set a
    step, are fitted on the way down by Adam, each from the last. Heuristic: it comes as near as the
    network listens. Classes have no words to fit; were x_0 itself free it would be ``direct``.
    "Null-text Inversion for Editing Real Images using Guided Diffusion Models",
    https://arxiv.org/abs/2211.09794.

    Arguments:
        iterations: The most rounds of Adam a step.
        rate: Its rate at first; it falls to the half, as the authors' does.
        tolerance: The mean squared error at which an image's words are left as they are.
    """

    iterations: Whole = 10
    rate: float = 1e-2
    tolerance: float = 1e-5

    guided: ClassVar[bool] = True

    @property
    def calls(self) -> int:
        return self.steps * (self.iterations + 4)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        e = _words(prior).to(x_0).repeat(len(x_0), 1, 1)
        alone, states, null = prior.without_guidance(), [x_0], []
        for s, t in times.unfold(0, 2, 1):
            a, b = flow_coefficients(prior, t, s)
            states.append((states[-1] - b * predict_eps(alone, states[-1], t)) / a)
        x = x_T = states.pop()
        for i, (t, s) in enumerate(times.flip(0).unfold(0, 2, 1)):
            e = keep(
                self._fit(prior, e, x, states.pop(), t, s, self.rate * (1 - i / self.steps / 2))
            )
            x = _step(_fitted(prior, e), x, t, s)
            null.append(e)
        return {"x_T": x_T, "null": torch.stack(null, 1)}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        x = code["x_T"]
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            x = each(_step(_fitted(prior, code["null"][:, i]), x, t, s), i)
        return x

    def _fit(
        self, prior: Prior, e: Tensor, x: Tensor, x_s: Tensor, t: Tensor, s: Tensor, rate: float
    ) -> Tensor:
        """Return the words that bring x, at t, nearest to x_s."""
        (alpha_t, sigma_t), (a, b) = prior.diffusion.schedule(t), flow_coefficients(prior, t, s)
        w, text = prior.guidance_scale, prior.without_guidance()(x, t)
        free = _Listening(prior, x)
        slope, m, v = -b * alpha_t / sigma_t, torch.zeros_like(e), torch.zeros_like(e)
        for k in range(1, self.iterations + 1):
            x_0, vjp = denoise_vjp(free, e, t)
            off = (a + b / sigma_t) * x + slope * (x_0 + w * (text - x_0)) - x_s
            error = (dot(off, off) / off[0].numel()).reshape(-1, 1, 1)
            if not (going := error > self.tolerance).any():
                break
            g = vjp(2 / off[0].numel() * (1 - w) * slope * off)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            change = m / (1 - 0.9**k) / ((v / (1 - 0.999**k)).sqrt() + 1e-8)
            e = torch.where(going, e - rate * change, e)
        return e


class _Rows(Prior):
    """A prior a row, of the same states."""

    def __init__(self, priors: Sequence[Prior]) -> None:
        super().__init__()
        self.priors = nn.ModuleList(priors)
        self.diffusion, self.shape = priors[0].diffusion, priors[0].shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        rows = torch.split(x_t, 1)
        return torch.cat([prior(x, t) for prior, x in zip(self.priors, rows, strict=True)])


class _Listening(Prior):
    """What free guidance makes of fixed states, as a function of the words that it is told."""

    def __init__(self, prior: Prior, x_t: Tensor) -> None:
        super().__init__()
        self.prior, self.x_t = prior, x_t
        self.diffusion, self.shape = prior.diffusion, prior.shape

    def forward(self, e: Tensor, t: Tensor) -> Tensor:
        rows = [
            self.prior.map_inner(lambda prior: _guided(prior).free.with_embedding(row))  # noqa: B023
            for row in torch.split(e, 1)
        ]
        return _Rows(rows)(self.x_t, t)


def _fitted(prior: Prior, e: Tensor) -> Prior:
    """Return a prior whose guidance is free by these words, a set a row."""
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
    """Return what is fitted at first, of shape ``(1, words, D)``."""
    free = _guided(prior.innermost).free
    if free.embedding is None:
        raise TypeError(
            f"null_text fits the empty prompt of a text-to-image prior, and {type(free).__name__} "
            "has none; direct and negative_prompt serve classes, too"
        )
    return free.embedding


def _guided(prior: Prior) -> GuidedPrior:
    if not isinstance(prior, GuidedPrior):
        raise TypeError(
            f"null_text fits a guidance, and {type(prior).__name__} has none; give a prompt, "
            "and no guidance of 1"
        )
    return prior


def _step(prior: Prior, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    a, b = flow_coefficients(prior, t, s)
    return a * x + b * predict_eps(prior, x, t)
