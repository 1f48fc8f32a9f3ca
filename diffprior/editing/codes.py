"""Edits of codes: up the flow to pure noise, a change of the code there, and down again."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..batching import Callback, step_callback
from ..inversions.flow import FlowInversion
from ..priors.base import Prior
from ..random import Noise
from ..samplers.dpm import DPM
from .chains import Chain, run_chain

__all__ = ["edit_codes"]


def edit_codes(
    prior: Prior,
    x: Tensor,
    change: Callable[[Tensor], Tensor],
    steps: int,
    callback: Callback | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return images ``(B', 3, H, W)`` of changed codes of images, and the keys of their report.

    Arguments:
        prior: The prior that goes up and down.
        x: Images ``(B, 3, H, W)`` in [-1, 1].
        change: Makes new codes of the codes ``(B, *prior.shape)``; there may be more of them.
        steps: Steps of DPM-Solver++, upwards and as many down.
        callback: Called after each step down.
    """
    method = FlowInversion(steps=steps, sampler=DPM(steps=steps))

    def up(index: Tensor, z: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return method.encode(prior, z)["x_T"]

    def down(index: Tensor, x_T: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return prior.decode(method.decode(prior, {"x_T": x_T}, step_callback(callback, steps)))

    def run(z: Tensor, chain: Chain, callback: Callback | None) -> tuple[Tensor, dict[str, Any]]:
        nothing = Noise(0, samples=len(z))  # neither direction draws any
        return run_chain(prior, z, chain, nothing, callback)

    codes, counts_up = run(prior.encode(x.to(prior.like)), up, None)
    edited, counts_down = run(change(codes), down, callback)
    counts = {key: counts_up[key] + counts_down[key] for key in counts_down}
    return edited, {"method": repr(method), **counts}
