"""Redraw a region of an image, and leave all else as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback
from diffprior.catalog import SettingError
from diffprior.classical import mask_edges
from diffprior.editing.chains import latent_mask, noise_level_of, run_chain
from diffprior.io.arrays import Images, as_images, mask_tensor
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise, stream_ids
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import FromFile, PriorSettings, open_prior
from diffprior.runtime.results import Result, make_result

__all__ = ["blend"]

WORD = "blended"
JUMP = 5  # steps of a travel upwards


def blend(
    image: Any,
    mask: Annotated[Any, FromFile("White = redraw.")],
    *,
    strength: Annotated[float, "How far to go, in (0, 1]: 1 forgets what was there."] = 1.0,
    repeats: Annotated[int, "Walks down each stretch: more, and the parts agree better."] = 4,
    feather: Annotated[int, "Blend over so many pixels round the region."] = 0,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps of the chain."] = 30,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Redraw a region of an image, or of each image of a batch, from noise.

    x_s = m x_s' + (1 - m) q(x_s | x), x_s' ~ p(x_s | x_t), in the states of the prior: pixels, or
    latents, whose cells are redrawn where the mask touches them. At the end the pixels outside are
    the image's, bit for bit. "Blended Diffusion for Text-driven Editing of Natural Images"
    (Avrahami et al., 2022), https://arxiv.org/abs/2111.14818; "Blended Latent Diffusion" (2023),
    https://arxiv.org/abs/2206.02779; the travels in time are RePaint's,
    https://arxiv.org/abs/2201.09865.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to redraw; gray blends; one for all or one for each.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``; 1 is pure noise.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    given, method = as_images(image), _method(strength, steps, repeats)
    soft = _soft(mask, given, feather)
    model, report = open_prior("blend", prior, (3, *given.size), tile, device, precision, **asked)
    report |= {"strength": strength, "seed": seed}

    def chain(index: Tensor, x: Tensor, noise: Noise, callback: Callback | None) -> Tensor:
        cover, z = soft[index // samples], model.encode(x)
        seen, aware = Mask(1 - latent_mask(cover, model), batched=True), beside(model, x, cover)
        known = GaussianLikelihood(operator=seen, y=seen(z))
        x_T = method.noised(model, z * (strength < 1), noise)
        return model.decode(method.run(aware, known, x_T, noise, callback))

    x = given.tensor().to(model.like).repeat_interleave(samples, 0)
    x, made = run_chain(
        model, x, chain, Noise(seed, stream_ids(ids, len(given)), samples), callback
    )
    made = {"method": repr(method), "samples": samples, **made}
    return make_result(given, x, soft, samples, report | made)


def _method(strength: float, steps: int, repeats: int) -> RePaint:
    if repeats < 1:
        raise SettingError(f"repeats are 1 or more, got {repeats}")
    start, jump = noise_level_of(strength), min(JUMP, steps)
    return RePaint(start=start, steps=steps, jump=jump, repeats=repeats, grid="logsnr")


def _soft(mask: Any, given: Images, feather: int) -> Tensor:
    """Return how much of each pixel is redrawn, ``(B, 1, H, W)`` in [0, 1]."""
    if feather < 0:
        raise SettingError(f"a feather is pixels from 0 on, got {feather}")
    soft = mask_tensor(mask, given)
    return mask_edges.feather(soft, feather) if feather else soft
