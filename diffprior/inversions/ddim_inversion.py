"""DDIM inversion (Song et al., 2021): the flow upwards, with refined steps if wanted."""

from dataclasses import dataclass

from torch import Tensor

from ..batching import StepCallback
from ..priors.base import Prior
from ..random import Noise
from ..validation import Whole
from .base import (
    Code,
    Inversion,
    Keep,
    flow_coefficients,
    flow_step,
    inverse_step,
    predict_eps,
    walk,
)

__all__ = ["DDIMInversion"]


@dataclass(frozen=True, kw_only=True)
class DDIMInversion(Inversion):
    """x_t = (x_s - b eps(x_t, t)) / a, the step x_s = a x_t + b eps(x_t, t) solved for x_t.

    The equation is implicit. Without rounds eps is taken at (x_s, s), the Euler step upwards of
    "Denoising Diffusion Implicit Models", https://arxiv.org/abs/2010.02502; each round takes
    eps at the last x_t: "Effective Real Image Editing with Accelerated Iterative Diffusion
    Inversion" (Pan et al., 2023), https://arxiv.org/abs/2309.04907. The rounds converge where a
    step is shorter than the way to the noise level 0, as on every grid but a coarse end.

    Arguments:
        rounds: Fixed-point rounds of each step, one call of the prior each.
    """

    rounds: Whole = 0

    @property
    def calls(self) -> int:
        return self.steps * (self.rounds + 1)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        def step(x_s: Tensor, s: Tensor, t: Tensor, i: int) -> Tensor:
            a, b = flow_coefficients(prior, t, s)
            x_t = inverse_step(prior, x_s, s, t)
            for _ in range(self.rounds):
                x_t = (x_s - b * predict_eps(prior, x_t, t)) / a
            return x_t

        return {"x_T": walk(x_0, times, step)}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        return walk(code["x_T"], times, lambda x, t, s, i: flow_step(prior, x, t, s), each)
