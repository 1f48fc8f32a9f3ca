"""Turn a rough picture into one that the prior believes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Watch, share
from diffprior.catalog import SettingError
from diffprior.editing.chains import begin, cells, walk
from diffprior.io.arrays import ImageError, Pictures, mask_tensor, pictures
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise
from diffprior.runtime.checks import demand
from diffprior.runtime.solve import Asked, FromFile, Result, named, opened, results
from diffprior.schedules import Grid

__all__ = ["sdedit"]

WORD = "edited"


def sdedit(
    image: Any,
    mask: Annotated[Any, FromFile("White = edit; all is where not given.")] = None,
    *,
    strength: Annotated[float, "How far to go, in (0, 1]: 1 forgets the picture."] = 0.3,
    strokes: Annotated[Any, FromFile("Paint: a layer with alpha, laid over the picture.")] = None,
    repeats: Annotated[int, "How many times, each from the last."] = 1,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps of each chain."] = 50,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large picture, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    names: Sequence[int | str] | None = None,
    watch: Watch | None = None,
    **asked: Unpack[Asked],
) -> Result:
    """Noise a picture, or each picture of a batch, and draw it clean again: strokes become things.

    x_t0 = alpha_t0 x + sigma_t0 eps, then the reverse diffusion from t0 down; outside the mask the
    states are those of the noised picture, and the answer is the picture, bit for bit. "SDEdit:
    Guided Image Synthesis and Editing with Stochastic Differential Equations" (Meng et al., 2022),
    https://arxiv.org/abs/2108.01073, in the form (VP or VE) of the prior's own schedule.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to edit; one for all or one for each.
        strength: t0 on the linear-beta schedule of DDPM, whatever the schedule of the prior: the
            noise begins at its sigma / alpha, 0.36 at 0.1, 1.2 at 0.3, 3.4 at 0.5. A network that
            edits pictures, or fills holes in them, is shown picture and mask, and is best walked
            from a strength of 1.
        strokes: A picture of the same size with transparency, as ``image``.
        repeats: K in the paper: more are nearer to the prior and further from the picture.
        names: What the pictures' noise streams depend on beside ``seed``; by default they share.
        watch: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights: ``diffprior.runtime.conditions.Asked``.

    Raises:
        ValueError: If picture, mask or a setting is not usable; one sentence says why.
    """
    demand(samples=samples, steps=steps)
    if not 0 < strength <= 1 or repeats < 1:
        raise SettingError(
            f"strength lies in (0, 1] and repeats are 1 or more, got {strength} and {repeats}"
        )
    start, given = begin(strength), pictures(image)
    soft = torch.ones(len(given), 1, *given.size) if mask is None else mask_tensor(mask, given)
    model, report = opened("sdedit", prior, (3, *given.size), tile, device, precision, **asked)
    report |= {"strength": strength, "repeats": repeats, "seed": seed}
    grid: Grid = "karras" if model.latent else "logsnr"  # little noise is none that latents show
    method = RePaint(start=start, steps=steps, jump=1, repeats=1, grid=grid)
    x = _painted(given, strokes).to(model.like).repeat_interleave(samples, 0)
    streams = [f"{n} {j}" for n in named(names, len(given)) for j in range(samples)]
    cover = soft.repeat_interleave(samples, 0)
    x, made = _redraw(model, x, cover, method, repeats, seed, streams, watch)
    return results(given, x, soft, samples, report | made | {"samples": samples})


def _redraw(
    model: Prior,
    x: Tensor,
    cover: Tensor,
    method: RePaint,
    repeats: int,
    seed: int,
    names: Sequence[str],
    watch: Watch | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return pictures whose states were noised and drawn clean, each round with its own noise."""

    def chain(index: Tensor, x: Tensor, _: Noise, watch: Watch | None) -> Tensor:
        soft, z = cover[index].to(x), model.encode(x)
        keep, prior = Mask(1 - cells(soft, model), batched=True), beside(model, x, soft)
        known = GaussianLikelihood(operator=keep, y=keep(z))
        for k in range(repeats):
            noise = Noise(seed, [f"{names[i]} {k}" for i in index.tolist()])
            x_T = method.depart(prior, z, noise)
            z = method.run(prior, known, x_T, noise, share(watch, k, repeats))
        return model.decode(z)

    x, made = walk(model, x, chain, Noise(seed, names), watch)
    return x, {"method": repr(method), **made}


def _painted(given: Pictures, strokes: Any) -> Tensor:
    """Return the pictures ``(B, 3, H, W)`` under a layer of paint."""
    x = given.tensor()
    if strokes is None:
        return x
    layer = pictures(strokes)
    clear = layer.holes()
    if clear is None or layer.size != given.size:
        raise ImageError(
            "strokes are a layer with transparency of the picture's own size, "
            f"{given.size[1]}x{given.size[0]}"
        )
    return clear * x + (1 - clear) * layer.tensor()
