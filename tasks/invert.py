"""Turn an image into a code, from which edits start."""

from typing import Annotated

from diffprior.batching import part_callback
from diffprior.editing.invert import (
    Descent,
    decode_trajectory,
    inversion_condition,
    inversion_report,
    invert_images,
    resolve_inversion,
)
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import Images
from diffprior.metrics import psnr
from diffprior.priors.base import show_image
from diffprior.runtime.report import Meter, guidance_entry
from diffprior.runtime.settings import with_condition

__all__ = ["invert"]


@editing(past="inverted", suffix=".safetensors", without=("samples",), full_precision=True)
def invert(
    image: Images,
    *,
    inversion: Annotated[
        Inversion | str,
        'Inversion, as in "ddim_inversion(rounds=4)"; default: edit_friendly, in 50 steps.',
    ] = "edit_friendly",
    strength: Annotated[
        float | None,
        "Share of the noise that the inversion goes up to, in (0, 1]; default: that of the "
        "inversion. 1 is pure noise.",
    ] = None,
    steps: Annotated[
        int | None, "Steps of the chain; default: as many as the inversion has."
    ] = None,
) -> Edit:
    """Invert an image: find the code that the prior turns back into it.

    On a command line::

        diffprior invert photo.png -o code.safetensors

    ``edit`` reads the file that the command writes. The result's image is the round trip, and its
    report has the PSNR of that.

    Arguments:
        inversion: One of ``diffprior.inversions``.
        strength: As of ``sdedit``, in the place of the inversion's ``stop``. Below 1 edits keep
            more of the image, as in "An Edit Friendly DDPM Noise Space" (Huberman-Spiegelglas et
            al., 2024), https://arxiv.org/abs/2304.06140, T_skip.
        prompt: Here it says what the image shows.
        label: Here it says which class the image has.
        guidance_scale: Here the default is 1, whatever an edit's is to be; 7.5 for ``null_text``,
            which fits it.
        lora: The file remembers the weights that were added; an edit is to name the same.
    """

    def draw(session: Session) -> Edited:
        method = resolve_inversion(inversion, session.prior, steps, strength)
        condition = inversion_condition(method, session.settings.condition)
        source = with_condition(session.prior, condition)
        meter = Meter()
        up = part_callback(session.settings.callback, 0, 2)
        down = part_callback(session.settings.callback, 1, 2)
        with meter.on(source.without_guidance().innermost):
            code = invert_images(method, source, condition, session, up)
            z = decode_trajectory(
                code, source, lambda i: Descent(target=show_image(source, session.pixels(i))), down
            )
            x = source.decode(z)
        quality = psnr(x.expand(-1, 3, -1, -1), image.tensor().to(x))
        report = {
            **condition,
            **guidance_entry(source, condition),
            **inversion_report(method),
            **meter.report(),
            "round_trip_psnr": [round(value, 2) for value in quality.tolist()],
        }
        return Edited(x=x, report=report, trajectory=code)

    return Edit(draw=draw, conditioned=False)
