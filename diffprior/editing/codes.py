"""Edits of codes: up the flow to pure noise, a turn there, and down again."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..batching import Watch, told
from ..inversions.flow import FlowInversion
from ..priors.base import Prior
from ..random import Noise
from ..samplers.dpm import DPM
from .chains import walk

__all__ = ["turned"]


def turned(
    model: Prior, x: Tensor, turn: Callable[[Tensor], Tensor], steps: int, watch: Watch | None
) -> tuple[Tensor, dict[str, Any]]:
    """Return the pictures ``(B', 3, H, W)`` of turned codes of pictures, and their report.

    Arguments:
        turn: Makes of codes ``(B, *model.shape)`` others, of which there may be more.
        steps: Of DPM-Solver++, upwards and as many down.
        watch: Called after each step down.
    """
    method = FlowInversion(steps=steps, sampler=DPM(steps=steps))

    def up(index: Tensor, z: Tensor, noise: Noise, watch: Watch | None) -> Tensor:
        return method.encode(model, z)["x_T"]

    def down(index: Tensor, x_T: Tensor, noise: Noise, watch: Watch | None) -> Tensor:
        return model.decode(method.decode(model, {"x_T": x_T}, told(watch, steps)))

    def way(z: Tensor, chain: Any, watch: Watch | None) -> tuple[Tensor, dict[str, Any]]:
        return walk(model, z, chain, Noise(0, samples=len(z)), watch)  # of which nothing is drawn

    codes, first = way(model.encode(x.to(model.like)), up, None)
    x, made = way(turn(codes), down, watch)
    return x, {"method": repr(method), **{k: first[k] + made[k] for k in made}}
