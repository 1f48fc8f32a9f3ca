"""Reconstruct an image from what any operator measured of it."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from diffprior.catalog import build
from diffprior.errors import ImageError, SettingError
from diffprior.io.arrays import Images, as_images
from diffprior.operators.base import LinearOperator, Operator, output_shape
from diffprior.priors.base import Prior
from diffprior.runtime.memory import image_shape
from diffprior.runtime.problem import Problem, ProblemFor
from diffprior.runtime.restoration import restoration

__all__ = ["reconstruct"]

LINEAR = (  # for one result, and for several
    "dpir(steps=30)",
    "mmps(iterations=3, sampler=dpm(steps=15, grid='logsnr'))",
)
CURVED = ("daps(steps=50, iterations=50)",) * 2  # where the operator is not linear
LEAST = 0.01  # units of y; noise without which a density of exact data would have no width
UNIT = "that of y, which the operator makes of an image in [-1, 1]"


@restoration(past="reconstructed", input="numbers")
def reconstruct(
    y: np.ndarray[Any, Any] | Tensor,
    operator: Annotated[
        Operator | str,
        'Operator that measured y, as in "hadamard(ratio=0.25)"; A @ B is first B, then A.',
    ],
    *,
    width: Annotated[int, "Width of the image, in pixels."],
    height: Annotated[int, "Height of the image, in pixels."],
    sigma: Annotated[
        float, "Noise level: its standard deviation in the units of y, from 0 on; default 0."
    ] = 0.0,
) -> ProblemFor:
    """Reconstruct a color image from y = A x + noise, for any operator A.

    On a command line::

        diffprior reconstruct y.npy --operator "hadamard(ratio=0.25)" --width 64 --height 64

    Arguments:
        y: What A measures of an image ``(3, H, W)`` in [-1, 1], in A's own shape: a numpy array, to
            get uint8 ``(H, W, 3)``; or a tensor, also of a batch, to get floats ``([B,] 3, H, W)``
            in [0, 1]. With a gray prior all images are gray: ``(1, H, W)``, and ``(H, W)``.
        operator: Or an operator object.
        sigma: Behind an operator that is not linear it is 0.01 at the least.
        method: The default is dpir for one result and mmps for several; daps behind an operator
            that is not linear; resample and daps for a latent prior.
    """
    if not 0 <= sigma < float("inf"):
        raise SettingError(f"sigma is a standard deviation from 0 on, got {sigma}")

    def problem(prior: Prior) -> Problem:
        shape = image_shape(prior)
        A = _operator(operator, shape)
        measured, images = _measurement(y, A, shape)
        linear = isinstance(A, LinearOperator)
        one, several = LINEAR if linear else CURVED
        level = sigma if linear else max(sigma, LEAST)
        return Problem(
            operator=A,
            sigma=[level / 2] * len(measured),
            measure=measured.to,
            guess=None,
            one=one,
            several=several,
            images=images,
            makes_colors=True,
            report={"operator": str(operator), "sigma": level, "sigma_unit": UNIT},
        )

    return ProblemFor(size=(height, width), problem=problem)


def _operator(operator: Operator | str, shape: Sequence[int]) -> Operator:
    """Return the operator of states of this shape."""
    if min(shape) < 1:
        raise SettingError(f"an image is at least 1 pixel a side, got {shape[2]}x{shape[1]}")
    try:
        if isinstance(operator, Operator):
            return operator.for_shape(shape)
        built: Operator = build(operator, ("operators",))
        return built.for_shape(shape)
    except (ValueError, TypeError, AttributeError) as error:
        raise SettingError(str(error)) from error


def _measurement(y: Any, A: Operator, shape: Sequence[int]) -> tuple[Tensor, Images]:
    """Return y as a batch, and blank images of the kind of the result."""
    if not isinstance(y, np.ndarray | Tensor):
        raise ImageError(f"y is a numpy array or a torch tensor, got a {type(y).__name__}")
    if isinstance(y, np.ndarray) and y.dtype.kind not in "buif":
        raise ImageError(f"y holds {y.dtype}; give real numbers")
    measured = torch.as_tensor(y)
    expected = output_shape(A, shape)
    batch = isinstance(y, Tensor) and measured.ndim == len(expected) + 1
    if tuple(measured.shape[batch:]) != expected or measured.is_complex():
        size = f"images of {shape[2]}x{shape[1]}"
        raise ImageError(
            f"of {size} this operator measures {expected}, real; y is {tuple(measured.shape)}"
        )
    if not measured.isfinite().all():
        raise ImageError("y holds NaN or infinity; give numbers")
    if isinstance(y, np.ndarray):
        axes = (shape[0],) if shape[0] > 1 else ()
        return measured[None], as_images(np.zeros((*shape[1:], *axes), np.uint8))
    blank = torch.zeros(len(measured) if batch else 1, *shape, device=measured.device)
    return (measured, as_images(blank)) if batch else (measured[None], as_images(blank[0]))
