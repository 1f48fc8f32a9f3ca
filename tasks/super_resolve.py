"""Enlarge small images."""

from functools import partial
from typing import Annotated

import torch.nn.functional as F

from diffprior.errors import SettingError
from diffprior.io.arrays import Images
from diffprior.operators.average import Average
from diffprior.operators.bicubic import Bicubic
from diffprior.runtime.problem import Problem
from diffprior.runtime.restoration import restoration

__all__ = ["super_resolve"]

KERNELS = {"bicubic": Bicubic, "average": Average}


@restoration(past="upscaled", command="upscale")
def super_resolve(
    image: Images,
    scale: Annotated[int, "Factor by which width and height grow, from 2 on; default 4."] = 4,
    *,
    kernel: Annotated[
        str, "How the image was made small: bicubic or average; default: bicubic."
    ] = "bicubic",
    sigma: Annotated[
        float | str,
        "Noise level of the small image: its standard deviation in [0, 1] units, or auto; "
        "default 0.",
    ] = 0.0,
) -> Problem:
    """Enlarge an image.

    On a command line::

        diffprior upscale --scale 2 photo.jpg -o large.png

    The result, made small again by ``diffprior.operators.bicubic`` or ``average``, is the image
    that came in, up to its noise and the rounding to pixels.

    Arguments:
        kernel: "bicubic" has antialiasing, as in MATLAB (Pillow treats the border otherwise);
            "average" is the mean over blocks.
        sigma: In [-1, 1] units it is twice as much. "auto" is the most likely level under the
            prior, see ``diffprior.runtime.noise_level``.
    """
    if not isinstance(scale, int) or scale < 2:
        raise SettingError(f"a scale is a whole number from 2 on, got {scale}")
    if kernel not in KERNELS:
        raise SettingError(f"no kernel {kernel!r}; there are {', '.join(KERNELS)}")
    height, width = image.size
    return Problem(
        operator=KERNELS[kernel](scale),
        sigma=sigma,
        white=True,
        scale=scale,
        guess=partial(F.interpolate, size=(scale * height, scale * width), mode="bicubic"),
        one="dpir(start=0.4, steps=12, ahead=True)",
        several="mmps(start=1.0, iterations=2, sampler=dpm(steps=12, grid='logsnr'))",
        report={"scale": scale, "kernel": kernel},
    )
