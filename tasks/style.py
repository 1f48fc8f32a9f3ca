"""Draw an image anew under the colors and the layout of a reference."""

from typing import Annotated, Any

from torch import Tensor

from diffprior.batching import Callback
from diffprior.editing.chains import chain_steps, match_image, noise_level_of
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.errors import ImageError, SettingError
from diffprior.io.arrays import Images
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Posterior
from diffprior.methods.ilvr import ILVR
from diffprior.operators.bicubic import Bicubic
from diffprior.priors.base import Prior, show_image
from diffprior.random import Noise
from diffprior.runtime.parameters import FromFile
from diffprior.samplers.ancestral import Ancestral

__all__ = ["style"]

STEPS = 50


@editing(past="styled")
def style(
    image: Images,
    reference: Annotated[
        Any,
        FromFile("Image whose colors and layout the result takes; default: the image itself."),
    ] = None,
    *,
    factor: Annotated[int, "Size below which details are free, in pixels; default 32."] = 32,
    strength: Annotated[
        float,
        "Share of the noise that the details start from, in (0, 1]; default 0.2. 1 keeps no "
        "detail of the image.",
    ] = 0.2,
    steps: Annotated[
        int | None, "Steps of the chain; default: 50, or 4 for a consistency model."
    ] = None,
) -> Edit:
    """Draw an image anew under the low frequencies of a reference.

    On a command line::

        diffprior style --reference look.jpg photo.jpg -o styled.png

    The result, made small by ``factor``, is the reference made small, up to the rounding to pixels.
    Its details are the prior's; at a strength below 1 they begin with the image's own. "ILVR:
    Conditioning Method for Denoising Diffusion Probabilistic Models" (Choi et al., 2021),
    https://arxiv.org/abs/2108.02938.

    Arguments:
        reference: One for all images or one for each; one of another size is resized.
        factor: N of the low-pass filter; the paper has 8 to 64.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``; the paper has 1.
    """
    sampler = Ancestral(steps=STEPS if steps is None else steps, grid="logsnr")
    method = ILVR(start=noise_level_of(strength), sampler=sampler)
    source = image if reference is None else reference
    low = [match_image(image, source, "a reference", fit=True)]  # held until it is measured

    def draw(session: Session) -> Edited:
        prior = session.prior
        samples = session.settings.samples
        chosen = method.with_steps(chain_steps(steps, STEPS, prior))
        known = _low_frequencies(prior, low.pop().to(prior.like), factor)

        def chain(index: Tensor, x: Tensor, noise: Noise, callback: Callback) -> Tensor:
            likelihood = known.select(index // samples)
            z = prior.encode(x)
            start = [method.noised(prior, z if strength < 1 else 0 * z, noise)]
            p = Posterior(show_image(prior, x), likelihood)
            del x, z  # large ones are held where they are looked at again
            x_0 = chosen.run(p, start.pop(), noise, callback)
            return prior.decode(likelihood.condition(x_0, 1.0))

        return session.run(chain, session.pixels, chosen)

    return Edit(draw=draw, report={"factor": factor, "strength": strength})


def _low_frequencies(prior: Prior, reference: Tensor, factor: int) -> GaussianLikelihood[Bicubic]:
    """Return the likelihood of states whose low frequencies are those of the reference."""
    stride = prior.stride
    side = min(reference.shape[-2:])
    if not 2 * stride <= factor <= side:
        kind = ImageError if factor > side else SettingError
        raise kind(
            f"a factor is a whole number from {2 * stride} to the image's short side, {side}; "
            f"got {factor}"
        )
    A = Bicubic(factor // stride).for_shape(prior.shape).beside(prior.like)
    return GaussianLikelihood(operator=A, y=A(prior.encode(reference)))
