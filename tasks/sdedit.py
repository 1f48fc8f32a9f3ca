"""Turn a rough image into one that the prior believes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from torch import Tensor

from diffprior.batching import Callback, part_callback
from diffprior.catalog import SettingError
from diffprior.editing.chains import latent_mask, noise_level_of, run_chain
from diffprior.io.arrays import ImageError, Images, as_images, mask_tensor
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.repaint import RePaint
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside
from diffprior.random import Noise, stream_ids
from diffprior.runtime.checks import check_counts
from diffprior.runtime.conditions import FromFile, PriorSettings, open_prior
from diffprior.runtime.results import Result, make_result
from diffprior.schedules import Grid

__all__ = ["sdedit"]

WORD = "edited"


def sdedit(
    image: Any,
    mask: Annotated[Any, FromFile("White = edit; all is where not given.")] = None,
    *,
    strength: Annotated[float, "How far to go, in (0, 1]: 1 forgets the image."] = 0.3,
    strokes: Annotated[Any, FromFile("Paint: a layer with alpha, laid over the image.")] = None,
    repeats: Annotated[int, "How many times, each from the last."] = 1,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int, "Steps of each chain."] = 50,
    samples: Annotated[int, "How many different answers."] = 1,
    seed: Annotated[int, "Another seed, other answers."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **asked: Unpack[PriorSettings],
) -> Result:
    """Noise an image, or each image of a batch, and draw it clean again: strokes become things.

    x_t0 = alpha_t0 x + sigma_t0 eps, then the reverse diffusion from t0 down; outside the mask the
    states are those of the noised image, and the answer is the image, bit for bit. "SDEdit:
    Guided Image Synthesis and Editing with Stochastic Differential Equations" (Meng et al., 2022),
    https://arxiv.org/abs/2108.01073, in the form (VP or VE) of the prior's own schedule.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to edit; one for all or one for each.
        strength: t0 on the linear-beta schedule of DDPM, whatever the schedule of the prior: the
            noise begins at its sigma / alpha, 0.36 at 0.1, 1.2 at 0.3, 3.4 at 0.5. A network that
            edits images, or fills holes in them, is shown image and mask, and is best walked
            from a strength of 1.
        strokes: An image of the same size with transparency, as ``image``.
        repeats: K in the paper: more are nearer to the prior and further from the image.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """
    check_counts(samples=samples, steps=steps)
    if not 0 < strength <= 1 or repeats < 1:
        raise SettingError(
            f"strength lies in (0, 1] and repeats are 1 or more, got {strength} and {repeats}"
        )
    start, given = noise_level_of(strength), as_images(image)
    soft = torch.ones(len(given), 1, *given.size) if mask is None else mask_tensor(mask, given)
    model, report = open_prior("sdedit", prior, (3, *given.size), tile, device, precision, **asked)
    report |= {"strength": strength, "repeats": repeats, "seed": seed}
    grid: Grid = "karras" if model.latent else "logsnr"  # little noise is none that latents show
    method = RePaint(start=start, steps=steps, jump=1, repeats=1, grid=grid)
    x = _painted(given, strokes).to(model.like).repeat_interleave(samples, 0)
    streams = [f"{n} {j}" for n in stream_ids(ids, len(given)) for j in range(samples)]
    cover = soft.repeat_interleave(samples, 0)
    x, made = _redraw(model, x, cover, method, repeats, seed, streams, callback)
    return make_result(given, x, soft, samples, report | made | {"samples": samples})


def _redraw(
    model: Prior,
    x: Tensor,
    cover: Tensor,
    method: RePaint,
    repeats: int,
    seed: int,
    ids: Sequence[str],
    callback: Callback | None,
) -> tuple[Tensor, dict[str, Any]]:
    """Return images whose states were noised and drawn clean, each round with its own noise."""

    def chain(index: Tensor, x: Tensor, _: Noise, callback: Callback | None) -> Tensor:
        soft, z = cover[index].to(x), model.encode(x)
        keep, prior = Mask(1 - latent_mask(soft, model), batched=True), beside(model, x, soft)
        known = GaussianLikelihood(operator=keep, y=keep(z))
        for k in range(repeats):
            noise = Noise(seed, [f"{ids[i]} {k}" for i in index.tolist()])
            x_T = method.noised(prior, z, noise)
            z = method.run(prior, known, x_T, noise, part_callback(callback, k, repeats))
        return model.decode(z)

    x, made = run_chain(model, x, chain, Noise(seed, ids), callback)
    return x, {"method": repr(method), **made}


def _painted(given: Images, strokes: Any) -> Tensor:
    """Return the images ``(B, 3, H, W)`` under a layer of paint."""
    x = given.tensor()
    if strokes is None:
        return x
    layer = as_images(strokes)
    clear = layer.holes()
    if clear is None or layer.size != given.size:
        raise ImageError(
            "strokes are a layer with transparency of the image's own size, "
            f"{given.size[1]}x{given.size[0]}"
        )
    return clear * x + (1 - clear) * layer.tensor()
