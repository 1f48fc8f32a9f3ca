"""DDIM inversion (Song et al., 2021): the flow walked upwards, each step refined if asked."""

from dataclasses import dataclass

from torch import Tensor

from ..batching import StepCallback
from ..priors.base import Prior
from ..random import Noise
from ..validation import Whole
from .base import Code, Inversion, Keep, flow_coefficients, inverse_step, predict_eps

__all__ = ["DDIMInversion"]


@dataclass(frozen=True, kw_only=True)
class DDIMInversion(Inversion):
    """x_t = (x_s - b eps(x_t, t)) / a, the step x_s = a x_t + b eps(x_t, t) solved for x_t.

    The equation is implicit. Without rounds eps is looked up at (x_s, s), Euler's step upwards of
    "Denoising Diffusion Implicit Models", https://arxiv.org/abs/2010.02502; each round puts the x_t
    found so far into eps: "Effective Real Image Editing with Accelerated Iterative Diffusion
    Inversion" (Pan et al., 2023), https://arxiv.org/abs/2309.04907. The rounds converge where a
    step is shorter than the way to the noise level 0, as on every grid but a coarse end.

    Arguments:
        rounds: Fixed-point rounds of each step; a call of the prior each.
    """

    rounds: Whole = 0

    @property
    def calls(self) -> int:
        return self.steps * (self.rounds + 1)

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        x = x_0
        for s, t in times.unfold(0, 2, 1):
            a, b = flow_coefficients(prior, t, s)
            x_t = inverse_step(prior, x, s, t)
            for _ in range(self.rounds):
                x_t = (x - b * predict_eps(prior, x_t, t)) / a
            x = x_t
        return {"x_T": x}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        x = code["x_T"]
        for i, (t, s) in enumerate(times.unfold(0, 2, 1)):
            a, b = flow_coefficients(prior, t, s)
            x = each(a * x + b * predict_eps(prior, x, t), i)
        return x
