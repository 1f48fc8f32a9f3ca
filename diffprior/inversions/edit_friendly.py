"""Edit-friendly inversion (Huberman-Spiegelglas et al., 2024): a code of one noise a step."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from torch import Tensor

from ..batching import StepCallback
from ..kernels import GaussianKernel
from ..priors.base import Prior
from ..random import Noise
from ..schedules import pairs
from ..validation import Within
from .base import Code, Inversion, Keep, walk

__all__ = ["EditFriendly"]


@dataclass(frozen=True, kw_only=True)
class EditFriendly(Inversion):
    """z_s = (x_s - mu(x_t)) / dev, of states x_t ~ q(x_t | x_0) drawn independently.

    mu and dev are those of p_eta(x_s | x_t); on the way down x_s = mu(x_t) + dev z_s. The z are
    computed on the way down, so that each corrects the rounding of the last. They hold the image:
    they are larger than normal noise, and similar from step to step, so that another condition
    changes what it has to and keeps the layout. "An Edit Friendly DDPM Noise Space: Inversion and
    Manipulations", https://arxiv.org/abs/2304.06140.

    Arguments:
        eta: Share of the ancestral standard deviation, from above 0 to 1.
    """

    eta: Annotated[float, Within(0, 1, above=True)] = 1.0

    walks_flow: ClassVar[bool] = False

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        if noise is None:
            raise TypeError("an edit-friendly inversion draws noise: give it a stream")
        states = [x_0, *(prior.diffusion.noise(x_0, t).sample(noise) for t in times[1:])]
        z = []
        x = x_T = states.pop()
        for t, s in pairs(times.flip(0)):
            kernel = self._kernel(prior, x, t, s)
            mu = kernel.mean
            dev = kernel.var.sqrt()
            z.append(keep((states.pop() - mu) / dev))
            x = mu + dev * z[-1]
        return {"x_T": x_T, "z": torch.stack(z, 1)}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        def step(x_t: Tensor, t: Tensor, s: Tensor, i: int) -> Tensor:
            kernel = self._kernel(prior, x_t, t, s)
            return kernel.mean + kernel.var.sqrt() * code["z"][:, i]

        return walk(code["x_T"], times, step, each)

    def _kernel(self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor) -> GaussianKernel:
        return cast(GaussianKernel, prior.kernel(x_t, t, s, self.eta))
