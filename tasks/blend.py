"""Redraw a region of a picture, and leave all else as it is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Watch
from diffprior.catalog import SettingError
from diffprior.classical import mask_edges
from diffprior.editing.chains import begin, cells, walk
from diffprior.io.arrays import Pictures, mask_tensor, pictures
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise
from diffprior.runtime.checks import demand
from diffprior.runtime.solve import Asked, FromFile, Result, named, opened, results

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
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **asked: Unpack[Asked],
) -> Result:
    """Redraw a region of a picture, or of each picture of a batch, from noise.

    x_s = m x_s' + (1 - m) q(x_s | x), x_s' ~ p(x_s | x_t), in the states of the prior: pixels, or
    latents, whose cells are redrawn where the mask touches them. At the end the pixels outside are
    the picture's, bit for bit. "Blended Diffusion for Text-driven Editing of Natural Images"
    (Avrahami et al., 2022), https://arxiv.org/abs/2111.14818; "Blended Latent Diffusion" (2023),
    https://arxiv.org/abs/2206.02779; the travels in time are RePaint's,
    https://arxiv.org/abs/2201.09865.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to redraw; grey blends; one for all or one for each.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``; 1 is pure noise.
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights: ``diffprior.runtime.conditions.Asked``.

    Raises:
        ValueError: If picture, mask or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    given, method = pictures(image), _method(strength, steps, repeats)
    soft = _soft(mask, given, feather)
    model, report = opened("blend", prior, (3, *given.size), tile, device, precision, **asked)
    report |= {"strength": strength, "seed": seed}

    def chain(index: Tensor, x: Tensor, noise: Noise, watch: Watch | None) -> Tensor:
        cover, z = soft[index // samples], model.encode(x)
        seen, aware = Mask(1 - cells(cover, model), batched=True), beside(model, x, cover)
        known = GaussianLikelihood(operator=seen, y=seen(z))
        x_T = method.depart(model, z * (strength < 1), noise)
        return model.decode(method.run(aware, known, x_T, noise, watch))

    x = given.tensor().to(model.like).repeat_interleave(samples, 0)
    x, made = walk(model, x, chain, Noise(seed, named(names, len(given)), samples), watch)
    made = {"method": repr(method), "samples": samples, **made}
    return results(given, x, soft, samples, report | made)


def _method(strength: float, steps: int, repeats: int) -> RePaint:
    if repeats < 1:
        raise SettingError(f"repeats are 1 or more, got {repeats}")
    start, jump = begin(strength), min(JUMP, steps)
    return RePaint(start=start, steps=steps, jump=jump, repeats=repeats, grid="logsnr")


def _soft(mask: Any, given: Pictures, feather: int) -> Tensor:
    """Return how much of each pixel is redrawn, ``(B, 1, H, W)`` in [0, 1]."""
    if feather < 0:
        raise SettingError(f"a feather is pixels from 0 on, got {feather}")
    soft = mask_tensor(mask, given)
    return mask_edges.feather(soft, feather) if feather else soft
