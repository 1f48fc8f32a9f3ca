"""Draw images from the prior alone."""

from typing import Annotated

from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import build
from diffprior.editing.chains import run_chain
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.errors import SettingError
from diffprior.priors.base import Prior, show_image
from diffprior.random import Noise
from diffprior.samplers.base import CONSISTENCY_STEPS, Sampler
from diffprior.schedules import Rectified

__all__ = ["generate"]

SAMPLER = "dpm(steps=30, grid='karras')"
ENDS = f"ancestral(steps={CONSISTENCY_STEPS})"  # multistep consistency sampling
STRAIGHT = "dpm(steps=30, grid='time')"  # flows are trained evenly in time, shifted as it may be


@editing(past="generated", input=None, without=("ids",))
def generate(
    *,
    width: Annotated[
        int | None, "Width in pixels, from 16 on; default: that of the prior's own images."
    ] = None,
    height: Annotated[
        int | None, "Height in pixels, from 16 on; default: that of the prior's own images."
    ] = None,
    sampler: Annotated[
        Sampler | str | None,
        'Sampler, as in "heun(steps=50)"; default: DPM-Solver++ in 30 steps, or 4 steps of '
        "multistep sampling for a consistency model, or that of a distilled prior.",
    ] = None,
    steps: Annotated[
        int | None, "Steps of the sampler; default: as many as the sampler has."
    ] = None,
    samples: Annotated[int, "Number of images to draw; default 1."] = 1,
) -> Edit:
    """Draw images from the prior, or from a prompt or a class, as PIL images.

    On a command line::

        diffprior generate --width 192 --height 192 --samples 3 -o drawn.png

    Arguments:
        sampler: The default takes the grid that suits the prior's schedule.
    """
    if any(n is not None and n < 16 for n in (width, height)):
        raise SettingError(f"an image is at least 16 pixels a side, got {width}x{height}")

    def draw(session: Session) -> Edited:
        prior = show_image(session.prior)
        settings = session.settings
        chosen = _sampler(sampler, steps, prior)

        def chain(index: Tensor, _: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
            terminal = prior.diffusion.terminal((len(index), *prior.shape))
            x_T = terminal.sample(noise).to(prior.like)
            shown = _after_first(prior, chosen, x_T, noise)
            return prior.decode(chosen(shown, x_T, noise, callback=callback))

        noise = Noise(settings.seed, samples=samples)
        nothing = prior.like.new_empty(samples, 0)  # each chain draws the noise that it begins with
        x, counts = run_chain(prior, nothing, chain, noise, settings.callback)
        return Edited(x=x, report={"sampler": repr(chosen), **counts})

    return Edit(draw=draw, size=(height, width))


def _after_first(prior: Prior, chosen: Sampler, x_T: Tensor, noise: Noise) -> Prior:
    """Return the prior under the small images that a cascade draws first; others as they are."""
    first = prior.first
    if first is None:
        return prior
    terminal = first.diffusion.terminal((len(x_T), *first.shape)).sample(noise).to(first.like)
    small = chosen(first, terminal, noise)
    fresh = noise.normal(x_T)
    return prior.map_inner(lambda inner: inner._show(small=small, noise=fresh))


def _sampler(sampler: Sampler | str | None, steps: int | None, prior: Prior) -> Sampler:
    """Return the sampler of the call, or the one that suits the prior."""
    usual = STRAIGHT if isinstance(prior.diffusion.schedule, Rectified) else SAMPLER
    usual = ENDS if prior.consistency else prior.usual_sampler or usual
    chosen: Sampler
    chosen = sampler if isinstance(sampler, Sampler) else build(sampler or usual, ("samplers",))
    return chosen if steps is None else chosen.with_steps(steps)
