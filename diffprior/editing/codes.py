"""Edits of codes: up the flow to pure noise, a turn there, and down again."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..batching import Callback, step_callback
from ..inversions.flow import FlowInversion
from ..priors.base import Prior
from ..random import Noise
from ..samplers.dpm import DPM
from .chains import run_chain

__all__ = ["edit_codes"]


def edit_codes(
    model: Prior, x: Tensor, turn: Callable[[Tensor], Tensor], steps: int, callback: Callback | None
) -> tuple[Tensor, dict[str, Any]]:
    """Return the images ``(B', 3, H, W)`` of turned codes of images, and their report.

    Arguments:
        turn: Makes of codes ``(B, *model.shape)`` others, of which there may be more.
        steps: Of DPM-Solver++, upwards and as many down.
        callback: Called after each step down.
    """
    method = FlowInversion(steps=steps, sampler=DPM(steps=steps))

    def up(index: Tensor, z: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return method.encode(model, z)["x_T"]

    def down(index: Tensor, x_T: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        return model.decode(method.decode(model, {"x_T": x_T}, step_callback(callback, steps)))

    def way(z: Tensor, chain: Any, callback: Callback | None) -> tuple[Tensor, dict[str, Any]]:
        return run_chain(
            model, z, chain, Noise(0, samples=len(z)), callback
        )  # of which nothing is drawn

    codes, first = way(model.encode(x.to(model.like)), up, None)
    x, made = way(turn(codes), down, callback)
    return x, {"method": repr(method), **{k: first[k] + made[k] for k in made}}
