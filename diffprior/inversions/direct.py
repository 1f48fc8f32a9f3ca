"""Direct inversion (Ju et al., 2024): DDIM inversion, with a correction for each step down."""

from dataclasses import dataclass

from torch import Tensor

from ..batching import StepCallback
from ..priors.base import Prior
from ..random import Noise
from ..schedules import pairs
from ._steps import Steps, step_of
from .base import Code, Inversion, Keep, flow_step, inverse_step, walk

__all__ = ["DirectInversion"]


@dataclass(frozen=True, kw_only=True)
class DirectInversion(Inversion):
    """d_s = x_s - (a x_t + b eps(x_t, t)), added back on the way down: exact, up to rounding.

    x_s are the states of plain DDIM inversion. The authors add d to the source's chain alone, which
    runs along with that of the edit; here every chain that decodes the code does. "PnP Inversion:
    Boosting Diffusion-based Editing with 3 Lines of Code", https://arxiv.org/abs/2310.01506.
    """

    @property
    def calls(self) -> int:
        return 2 * self.steps

    def up(self, prior: Prior, x_0: Tensor, times: Tensor, noise: Noise | None, keep: Keep) -> Code:
        states = [x_0]
        d = Steps(len(times) - 1, keep)
        for s, t in pairs(times):
            states.append(inverse_step(prior, states[-1], s, t))
        x = x_T = states.pop()
        for t, s in pairs(times.flip(0)):
            x = flow_step(prior, x, t, s)
            x = x + d.add(states.pop() - x)
        return {"x_T": x_T, "d": d.joined()}

    def down(self, prior: Prior, code: Code, times: Tensor, each: StepCallback) -> Tensor:
        def step(x_t: Tensor, t: Tensor, s: Tensor, i: int) -> Tensor:
            return flow_step(prior, x_t, t, s) + step_of(code["d"], i, x_t)

        return walk(code["x_T"], times, step, each)
