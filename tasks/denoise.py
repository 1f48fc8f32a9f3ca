"""Remove white noise."""

from typing import Annotated

from diffprior.io.arrays import Images
from diffprior.operators.identity import Identity
from diffprior.runtime.problem import Problem
from diffprior.runtime.restoration import restoration

__all__ = ["denoise"]


@restoration(past="denoised")
def denoise(
    image: Images,
    *,
    sigma: Annotated[
        float | str, "Noise level: its standard deviation in [0, 1] units, or auto; default: auto."
    ] = "auto",
) -> Problem:
    """Remove white noise from an image.

    On a command line::

        diffprior denoise photo.jpg -o clean.png

    One result is the posterior mean, in one call of the prior: it has the least mean squared error,
    and is smooth. Several results are samples of the posterior, each with its own texture.

    Arguments:
        sigma: In [-1, 1] units it is twice as much. "auto" is the most likely level under the
            prior, see ``diffprior.runtime.noise_level``.
    """
    return Problem(
        operator=Identity(),
        sigma=sigma,
        white=True,
        one="dpir(start={level}, steps=1)",  # one call of the prior: the posterior mean
        several="mmps(start=1.0, iterations=3, sampler=dpm(steps=12, grid='logsnr'))",
    )
