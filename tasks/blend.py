"""Redraw a region of an image, and leave all else as it is."""

from typing import Annotated, Any

from torch import Tensor

from diffprior.bands import rows_of
from diffprior.batching import Callback
from diffprior.classical import mask_edges
from diffprior.editing.chains import chain_steps, latent_mask, noise_level_of
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.errors import SettingError
from diffprior.io.arrays import Images
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Posterior
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import show_image
from diffprior.random import Noise
from diffprior.runtime.masks import soft_mask
from diffprior.runtime.parameters import FromFile

__all__ = ["blend"]

STEPS = 30
JUMP = 5  # steps that the chain goes back up at a time


@editing(past="blended")
def blend(
    image: Images,
    mask: Annotated[
        Any, FromFile("Mask of the region to redraw, white where to redraw.", is_mask=True)
    ] = None,
    *,
    strength: Annotated[
        float,
        "Share of the noise that the region starts from, in (0, 1]; default: 1, pure noise, which "
        "keeps nothing of what was there.",
    ] = 1.0,
    repeats: Annotated[
        int,
        "How often each stretch of the chain is run, from 1 on; default 4. More make the region "
        "agree better with its surroundings.",
    ] = 4,
    feather: Annotated[
        int, "Width of the blend around the region, in pixels; default: 0, a hard edge."
    ] = 0,
    steps: Annotated[
        int | None, "Steps of the chain; default: 30, or 4 for a consistency model."
    ] = None,
) -> Edit:
    """Redraw a region of an image from noise.

    On a command line::

        diffprior blend --mask region.png photo.jpg -o blended.png

    x_s = m x_s' + (1 - m) q(x_s | x), x_s' ~ p(x_s | x_t), in the states of the prior: pixels, or
    latents, of which those that the mask touches are redrawn. At the end the pixels outside are the
    image's, bit for bit. "Blended Diffusion for Text-driven Editing of Natural Images" (Avrahami et
    al., 2022), https://arxiv.org/abs/2111.14818; "Blended Latent Diffusion" (2023),
    https://arxiv.org/abs/2206.02779; the travels in time are RePaint's,
    https://arxiv.org/abs/2201.09865.

    Arguments:
        mask: True or 1 where to redraw; gray blends. One for all images or one for each.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``.
    """
    _method(strength, STEPS if steps is None else steps, repeats)  # refused before a prior opens
    if feather < 0:
        raise SettingError(f"a feather is pixels from 0 on, got {feather}")
    if mask is None:
        raise SettingError("there is no mask; give one, or the mask_color of paint on the image")
    soft, said = soft_mask(mask, image)
    soft = mask_edges.feather(soft, feather) if feather else soft

    def draw(session: Session) -> Edited:
        prior = session.prior
        samples = session.settings.samples
        method = _method(strength, chain_steps(steps, STEPS, prior), repeats)

        def chain(index: Tensor, x: Tensor, noise: Noise, callback: Callback) -> Tensor:
            cover = rows_of(soft, index // samples)
            z = prior.encode(x)
            keep = Mask(1 - latent_mask(cover, prior), batched=True)
            known = GaussianLikelihood(operator=keep, y=keep(z))
            start = [method.noised(prior, z if strength < 1 else 0 * z, noise)]
            p = Posterior(show_image(prior, x, cover), known)
            del x, z  # large ones are held where they are looked at again
            return prior.decode(method.run(p, start.pop(), noise, callback))

        return session.run(chain, session.pixels, method)

    return Edit(draw=draw, cover=soft, report={"strength": strength, **said})


def _method(strength: float, steps: int, repeats: int) -> RePaint:
    if repeats < 1:
        raise SettingError(f"repeats are 1 or more, got {repeats}")
    return RePaint(
        start=noise_level_of(strength),
        steps=steps,
        jump=min(JUMP, steps),
        repeats=repeats,
        grid="logsnr",
    )
