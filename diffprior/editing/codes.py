"""Edits of codes: up the flow to pure noise, a change of the code there, and down again."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ..batching import Callback, part_callback, step_callback
from ..inversions.flow import FlowInversion
from ..priors.base import Prior
from ..random import Noise
from ..samplers.dpm import DPM
from .chains import Chain, Rows, run_chain
from .invert import report_calls

__all__ = ["edit_codes"]

Change = Callable[[Tensor, Tensor], Tensor]


def edit_codes(
    prior: Prior,
    images: Tensor,
    change: Change,
    count: int,
    steps: int,
    callback: Callback | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return images ``(count, 3, H, W)`` of changed codes of images, and the keys of their report.

    Arguments:
        prior: The prior that goes up and down.
        images: Images ``(B, 3, H, W)`` in [-1, 1].
        change: Makes new codes of the codes ``(B, *prior.shape)`` of the images, and of the numbers
            of the new ones.
        count: How many new ones there are.
        steps: Steps of DPM-Solver++, upwards and as many down.
        callback: Called after each step up, and after each step down.
    """
    method = FlowInversion(steps=steps, sampler=DPM(steps=steps))
    below, above = part_callback(callback, 0, 2), part_callback(callback, 1, 2)

    def up(index: Tensor, x: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return method.encode(prior, prior.encode(x.to(prior.like)))["x_T"]

    def down(index: Tensor, x_T: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return prior.decode(method.decode(prior, {"x_T": x_T}, step_callback(callback, steps)))

    def run(
        z: Tensor | Rows, count: int, chain: Chain, callback: Callback | None
    ) -> tuple[Tensor, dict[str, Any]]:
        nothing = Noise(0, samples=count)  # neither direction draws any
        return run_chain(prior, z, chain, nothing, callback)

    with report_calls(prior, method.calls * len(images), below):
        codes, counts_up = run(images, len(images), up, None)
    edited, counts_down = run(partial(change, codes), count, down, above)
    counts = {key: counts_up[key] + counts_down[key] for key in counts_down}
    return edited, {"method": repr(method), **counts}
