"""Edit-friendly inversion (Huberman-Spiegelglas et al., 2024): a code of one noise a step."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

from torch import Tensor

from ..bands import in_bands, is_large, put_down
from ..batching import StepCallback
from ..kernels import GaussianKernel
from ..priors.base import Prior
from ..random import Noise
from ..schedules import pairs
from ..validation import Within
from ._steps import Steps, step_of
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
        draws = [lambda: x_0, *(_draw(prior, x_0, t, noise) for t in times[1:])]
        z = Steps(len(times) - 1, keep)
        states = [draws.pop()()]  # a large one is held by nobody else
        x_T = put_down(states[0])
        for t, s in pairs(times.flip(0)):
            kernel = self._kernel(prior, states.pop(), t, s)
            mu, dev = kernel.mean, kernel.var.sqrt()
            x_s = draws.pop()()
            into = None if x_s is x_0 else x_s
            z_s = z.add(in_bands(lambda x_s, mu, dev: (x_s - mu) / dev, x_s, mu, dev, into=into))
            del x_s, into
            x_s = in_bands(lambda z_s, mu, dev: mu + dev * z_s, z_s, mu, dev, into=z_s)
            states.append(x_s)
            del x_s, z_s
        return {"x_T": x_T, "z": z.joined()}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        def step(x_t: Tensor, t: Tensor, s: Tensor, i: int) -> Tensor:
            kernel = self._kernel(prior, x_t, t, s)
            del x_t
            mu, dev = kernel.mean, kernel.var.sqrt()
            z = step_of(code["z"], i, mu)
            return in_bands(lambda z, mu, dev: mu + dev * z, z, mu, dev, into=z)

        return walk(code["x_T"], times, step, each)

    def _kernel(self, prior: Prior, x_t: Tensor, t: Tensor, s: Tensor) -> GaussianKernel:
        return cast(GaussianKernel, prior.kernel(x_t, t, s, self.eta))


def _draw(prior: Prior, x_0: Tensor, t: Tensor, noise: Noise) -> Callable[[], Tensor]:
    """Draw x_t ~ q(x_t | x_0), and return what returns it.

    A large one is not held: it is drawn again when it is asked for.
    """
    if not is_large(x_0):
        x_t = prior.diffusion.noise(x_0, t).sample(noise)
        return lambda: x_t
    again = copy.deepcopy(noise)
    noise.normal(x_0)  # the numbers of x_t, which the next draw comes after
    return lambda: prior.diffusion.noise(x_0, t).sample(again)
