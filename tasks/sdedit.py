"""Turn a rough image into one that the prior finds likely."""

from typing import Annotated, Any

from torch import Tensor

from diffprior.bands import in_bands, rows_of
from diffprior.batching import Callback, part_callback
from diffprior.editing.chains import chain_steps, latent_mask, noise_level_of
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.errors import ImageError, SettingError
from diffprior.io.arrays import Images, as_images
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Posterior
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import show_image
from diffprior.random import Noise
from diffprior.runtime.masks import full_mask, soft_mask
from diffprior.runtime.parameters import FromFile
from diffprior.schedules import Grid
from diffprior.validation import shown

__all__ = ["sdedit"]

STEPS = 50
ROUNDS = 1000  # the most repeats


@editing(past="edited")
def sdedit(
    image: Images,
    mask: Annotated[
        Any,
        FromFile(
            "Mask of the region to edit, white where to edit; default: the whole image.",
            is_mask=True,
        ),
    ] = None,
    *,
    strength: Annotated[
        float,
        "Share of the noise that the edit starts from, in (0, 1]; default 0.3. 1 keeps nothing of "
        "the image.",
    ] = 0.3,
    strokes: Annotated[
        Any,
        FromFile(
            "Paint to lay over the image: an image of its size with transparency; default: none."
        ),
    ] = None,
    repeats: Annotated[
        int, "Number of rounds, each from the result of the last, from 1 on; default 1."
    ] = 1,
    steps: Annotated[
        int | None,
        "Steps of the chain of each round; default: 50, or 4 for a consistency model.",
    ] = None,
) -> Edit:
    """Add noise to an image and remove it again, so that rough strokes become things.

    On a command line::

        diffprior sdedit --strokes paint.png --strength 0.15 photo.jpg -o painted.png

    x_t0 = alpha_t0 x + sigma_t0 eps, then the reverse diffusion from t0 down. Outside the mask the
    states are those of the noised image, and the result is the image, bit for bit. "SDEdit: Guided
    Image Synthesis and Editing with Stochastic Differential Equations" (Meng et al., 2022),
    https://arxiv.org/abs/2108.01073, in the form (VP or VE) of the prior's own schedule.

    Arguments:
        mask: True or 1 where to edit. One for all images or one for each.
        strength: t0 on the linear-beta schedule of DDPM, whatever the schedule of the prior: the
            noise begins at its sigma / alpha, 0.36 at 0.1, 1.2 at 0.3, 3.4 at 0.5. A network that
            edits images, or fills holes in them, sees image and mask, and works best from a
            strength of 1.
        repeats: K in the paper. More rounds are nearer to the prior and further from the image.
    """
    if not 0 < strength <= 1 or not 1 <= repeats <= ROUNDS:
        raise SettingError(
            f"strength lies in (0, 1] and repeats are 1 to {ROUNDS}, got {strength} and "
            f"{shown(repeats, 40)}"
        )
    start = noise_level_of(strength)
    soft, said = full_mask(image) if mask is None else soft_mask(mask, image)

    def draw(session: Session) -> Edited:
        prior = session.prior
        settings = session.settings
        # Latents do not show little noise: their chain needs no steps there.
        grid: Grid = "karras" if prior.latent else "logsnr"
        length = chain_steps(steps, STEPS, prior)
        method = RePaint(start=start, steps=length, jump=1, repeats=1, grid=grid)
        streams = [f"{name} {j}" for name in session.ids for j in range(settings.samples)]

        def chain(index: Tensor, x: Tensor, _: Noise, callback: Callback) -> Tensor:
            mask = rows_of(soft, index // settings.samples).to(x)
            z = prior.encode(x)
            keep = Mask(1 - latent_mask(mask, prior), batched=True)
            shown = show_image(prior, x, mask)
            known = GaussianLikelihood(operator=keep, y=keep(z))
            for k in range(repeats):
                noise = Noise(settings.seed, [f"{streams[i]} {k}" for i in index.tolist()])
                start = [method.noised(shown, z, noise)]  # held by nobody but the chain
                told = part_callback(callback, k, repeats)
                z = method.run(Posterior(shown, known), start.pop(), noise, told)
            return prior.decode(z)

        under = None if strokes is None else _painted(image, strokes).to(prior.like)

        def begin(index: Tensor) -> Tensor:
            if under is None:
                return session.pixels(index)
            return rows_of(under, index // settings.samples)

        return session.run(chain, begin, method, Noise(settings.seed, streams))

    report = {"strength": strength, "repeats": repeats, **said}
    return Edit(draw=draw, cover=soft, report=report)


def _painted(images: Images, strokes: Any) -> Tensor:
    """Return the images ``(B, 3, H, W)`` under a layer of paint."""
    layer = as_images(strokes)
    clear = layer.holes()
    if clear is None or layer.size != images.size:
        raise ImageError(
            "strokes are a layer with transparency of the image's own size, "
            f"{images.size[1]}x{images.size[0]}"
        )
    return in_bands(_over, images.tensor(), layer.tensor(), clear)


def _over(x: Tensor, paint: Tensor, clear: Tensor) -> Tensor:
    return clear * x + (1 - clear) * paint
