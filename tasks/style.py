"""Draw an image anew under the colors and the layout of a reference."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.editing.chains import match_image, noise_level_of, run_chain
from diffprior.io.arrays import ImageError, as_images
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.ilvr import ILVR
from diffprior.operators.bicubic import Bicubic
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise, stream_ids
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import FromFile, PriorSettings, open_prior
from diffprior.runtime.results import Result, make_result
from diffprior.samplers.ancestral import Ancestral

__all__ = ["style"]

WORD = "styled"


def style(
    image: Any,
    reference: Annotated[
        Any, FromFile("Whose low frequencies to take; its own if not given.")
    ] = None,
    *,
    factor: Annotated[int, "Details finer than so many pixels are free."] = 32,
    strength: Annotated[float, "How far to go, in (0, 1]: 1 forgets the details."] = 0.2,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps of the chain."] = 50,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Draw an image, or each image of a batch, anew under the low frequencies of a reference.

    What comes out, made small by ``factor``, is the reference made small, up to the rounding to
    pixels; the details are the prior's, and at a strength below 1 begin with the image's own.
    "ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models" (Choi et al., 2021),
    https://arxiv.org/abs/2108.02938.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        reference: One for all or one for each; one of another size is brought to the image's.
        factor: N of the low-pass filter; the paper has 8 to 64.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``; the paper has 1.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If an image or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given = as_images(image)
    model, report = open_prior("style", prior, (3, *given.size), tile, device, precision, **asked)
    report |= {"factor": factor, "strength": strength, "seed": seed}
    method = ILVR(start=noise_level_of(strength), sampler=Ancestral(steps=steps, grid="logsnr"))
    low = match_image(given, given if reference is None else reference, "a reference", fit=True)
    known = _known(model, low.to(model.like), factor)

    def chain(index: Tensor, x: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        seen, aware = known.select(index // samples), beside(model, x)
        x_T = method.noised(model, model.encode(x) * (strength < 1), noise)
        return model.decode(seen.condition(method.run(aware, seen, x_T, noise, callback), 1.0))

    x = given.tensor().to(model.like).repeat_interleave(samples, 0)
    x, made = run_chain(
        model, x, chain, Noise(seed, stream_ids(ids, len(given)), samples), callback
    )
    made = {"method": repr(method), "samples": samples, **made}
    return make_result(given, x, None, samples, report | made)


def _known(model: Prior, reference: Tensor, factor: int) -> GaussianLikelihood[Bicubic]:
    """Return that the low frequencies of a state are those of the reference's."""
    stride, side = getattr(model, "factor", 1), min(reference.shape[-2:])
    if not 2 * stride <= factor <= side:
        kind = ImageError if factor > side else SettingError
        raise kind(
            f"a factor is a whole number from {2 * stride} to the image's short side, {side}; "
            f"got {factor}"
        )
    A = Bicubic(factor // stride).for_shape(model.shape).to(model.like.device)
    return GaussianLikelihood(operator=A, y=A(model.encode(reference)))
