"""Draw images like a given one: its code, turned a little towards fresh noise."""

import math
from typing import Annotated

from torch import Tensor

from diffprior.bands import in_bands, rows_of
from diffprior.editing.codes import edit_codes
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.errors import SettingError
from diffprior.io.arrays import Images
from diffprior.priors.base import show_image
from diffprior.runtime.report import guidance_entry

__all__ = ["variations"]


@editing(past="varied", without=("negative_prompt", "guidance_scale"), full_precision=True)
def variations(
    image: Images,
    *,
    strength: Annotated[
        float,
        "Angle of the turn as a share of a right angle, in (0, 1]; default 0.15. 1 keeps nothing "
        "of the image.",
    ] = 0.15,
    steps: Annotated[int, "Steps up to the code, and as many down; default 30."] = 30,
    samples: Annotated[int, "Number of variations; default 4."] = 4,
) -> Edit:
    """Draw variations of an image.

    On a command line::

        diffprior variations --samples 3 photo.jpg -o varied.png

    z = U(x) is the code of DPM-Solver++, upwards to pure noise; the result is what comes down from
    cos(a) z + sin(a) sigma_T eps, a = strength pi / 2. Where the prior is Gaussian the variation of
    a draw is a draw again, of correlation cos(a) with it: the proposal of "MCMC Methods for
    Functions" (Cotter et al., 2013), https://arxiv.org/abs/1202.0709, made to the code.

    Arguments:
        strength: Layout and colors stay at 0.1, and shift at 0.3.
        prompt: It holds on the path up and on the path down, without guidance, so that they meet.
        label: It holds on both paths, too.
    """
    if not 0 < strength <= 1:
        raise SettingError(f"strength lies in (0, 1], got {strength}")
    angle = strength * math.pi / 2

    def draw(session: Session) -> Edited:
        prior = show_image(session.prior.without_guidance())

        def turn(codes: Tensor, index: Tensor) -> Tensor:
            terminal = prior.diffusion.terminal((len(index), *prior.shape))
            eps = terminal.sample(session.noise.rows(index.tolist())).to(codes)
            return in_bands(turned, rows_of(codes, index // samples), eps, into=eps)

        def turned(z: Tensor, eps: Tensor) -> Tensor:
            return math.cos(angle) * z + math.sin(angle) * eps

        count = len(image) * samples
        x, report = edit_codes(prior, image.tensor(), turn, count, steps, session.settings.callback)
        return Edited(x=x, report=guidance_entry(prior, session.settings.condition) | report)

    return Edit(draw=draw, report={"strength": strength})
