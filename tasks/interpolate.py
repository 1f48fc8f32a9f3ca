"""Draw the images between two: the arc from the code of one to the code of the other."""

from typing import Annotated, Any

import torch
from torch import Tensor

from diffprior.bands import put_down, rows_of
from diffprior.editing.chains import match_image, slerp
from diffprior.editing.codes import edit_codes
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.io.arrays import Images
from diffprior.priors.base import show_image
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.report import guidance_entry

__all__ = ["interpolate"]


@editing(
    past="between",
    animated=True,
    without=("negative_prompt", "guidance_scale"),
    full_precision=True,
)
def interpolate(
    image: Images,
    to: Annotated[Any, FromFile("The other image, of the same size.")],
    *,
    steps: Annotated[int, "Steps up to the codes, and as many down; default 30."] = 30,
    samples: Annotated[int, "Number of frames, the two ends included; default 8."] = 8,
) -> Edit:
    """Draw frames that lead from an image to another one.

    On a command line::

        diffprior interpolate first.png --to last.png --samples 5 -o frame.png

    z = U(x) is the code of DPM-Solver++, upwards to pure noise, of each of the two. Frame k comes
    down from ``slerp`` of the codes, so that the first and the last are the round trips of the two
    images. "Denoising Diffusion Implicit Models" (Song et al., 2021), sec. 5.3 and app. D.5,
    https://arxiv.org/abs/2010.02502.

    Arguments:
        to: One for all images or one for each.
        prompt: It holds on the path up and on the path down, without guidance, so that they meet.
        label: It holds on both paths, too.
        seed: Nothing is drawn; it stands in the report.
        ids: Nothing is drawn.
    """
    ends = put_down(torch.cat([image.tensor(), match_image(image, to, "the other image")]))

    def arc(codes: Tensor, index: Tensor) -> Tensor:
        a, b = (rows_of(z, index // samples) for z in codes.chunk(2))
        share = torch.linspace(0, 1, samples).to(a)[index % samples].reshape(-1, 1, 1, 1)
        return slerp(a, b, share)

    def draw(session: Session) -> Edited:
        prior = show_image(session.prior.without_guidance())
        count = len(image) * samples
        x, report = edit_codes(prior, ends, arc, count, steps, session.settings.callback)
        return Edited(x=x, report=guidance_entry(prior, session.settings.condition) | report)

    return Edit(draw=draw)
