"""Remove what JPEG left: blocks, rings and blots."""

from typing import Annotated, Any, cast

from diffprior.errors import SettingError, TaskError
from diffprior.io.arrays import Images, as_images
from diffprior.io.jpeg import Coding, read, standard, why_not
from diffprior.likelihoods.jpeg import CellLikelihood, Coefficients, agrees, detect
from diffprior.priors.base import Prior
from diffprior.runtime.memory import image_shape
from diffprior.runtime.problem import BEHIND, Problem, ProblemFor
from diffprior.runtime.restoration import restoration

__all__ = ["dejpeg"]


@restoration(past="dejpegged", jpeg_coding=True)
def dejpeg(
    image: Any,
    quality: Annotated[
        int | None, "JPEG quality, 1 to 100; default: as the file or its pixels say."
    ] = None,
    *,
    subsampling: Annotated[
        str | None,
        "Chroma subsampling, with a quality: 4:2:0, 4:2:2, 4:4:4, 4:4:0 or 4:1:1; default: 4:2:0.",
    ] = None,
    coding: Coding | None = None,
) -> ProblemFor:
    """Remove the artifacts of JPEG.

    On a command line::

        diffprior dejpeg photo.jpg -o smooth.png

    A file says in which interval each coefficient of its image lies. The result lies in all of
    them, up to the rounding to pixels: saved again, it is nearly the same file. How the image was
    compressed is taken from ``quality``, from the file, or from the pixels, which show it as long
    as they were only decoded.

    Arguments:
        image: Its blocks begin at its upper left corner.
        quality: That of libjpeg's tables; other programs have other scales.
        method: One of those that hold images to data by a conditional mean: dpir and diffpir;
            for a latent prior resample.
        coding: Tables and subsampling of the file, where ``image`` is no longer the PIL image that
            was opened.
    """
    images = as_images(image)
    used = _coding(image, images, quality, subsampling, coding)

    def problem(prior: Prior) -> Problem:
        A = Coefficients(image_shape(prior), used).to(prior.like)
        return Problem(
            operator=A,
            likelihood=CellLikelihood,
            measure=A.coded,
            one="dpir(start=0.4, stop=0.02, steps=10)",
            several="diffpir(start=0.4, sampler=ddim(steps=20, eta=1.0, grid='logsnr'))",
            latent=(BEHIND[0], BEHIND[0]),
            report={
                "quality": quality,
                "luma_step": used.luma[0],
                "subsampling": used.subsampling,
            },
        )

    return ProblemFor(size=images.size, problem=problem)


def _coding(
    image: Any, images: Images, quality: int | None, subsampling: str | None, coding: Coding | None
) -> Coding:
    """Return how the images were compressed, from the first source that says so."""
    if quality is None and subsampling is not None:
        raise SettingError("a subsampling is given beside a quality, got it alone")
    if quality is not None:
        try:
            return standard(quality, cast(Any, subsampling or "4:2:0"))
        except ValueError as error:
            raise SettingError(str(error)) from error
    x = images.tensor()[0]
    own = read(image)
    if own and not agrees(x, own):  # Pillow keeps the tables of an image that is changed in place
        own = None
    found = coding or own or detect(x)
    if found is None:
        reason = why_not(image) or (
            "this is no JPEG file, and its pixels do not show how it was compressed"
        )
        raise TaskError(f"{reason}; give a quality")
    return found
