"""Change what an image shows, from its inversion: another prompt or class, within a mask."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from diffprior.attention._control import attended
from diffprior.attention.base import AttentionEdit
from diffprior.batching import Callback, part_callback
from diffprior.catalog import SettingError, build
from diffprior.classical import mask_edges
from diffprior.classical.fill import pyramid
from diffprior.editing import trajectory
from diffprior.editing.chains import latent_mask
from diffprior.editing.difference_mask import disagreement
from diffprior.editing.invert import (
    Chain,
    Condition,
    condition_prior,
    decode_trajectory,
    inversion_report,
    invert_images,
    resolve_inversion,
    source_condition,
)
from diffprior.editing.trajectory import Trajectory
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import ImageError, Images, as_images, mask_tensor
from diffprior.pretrained.load import shipped
from diffprior.priors._conditions import innermost, unguided
from diffprior.priors.base import Prior
from diffprior.priors.prompted import beside, seeing
from diffprior.random import Noise, stream_ids
from diffprior.runtime.conditions import (
    FromFile,
    LoadSettings,
    guidance_entry,
    not_none,
    open_prior,
)
from diffprior.runtime.memory import batch_size
from diffprior.runtime.report import Meter
from diffprior.runtime.results import Result, make_result

from .invert import METHOD
from .invert import WORD as INVERTED

__all__ = ["edit"]

WORD, KEYWORDS = "edited", ("auto",)
FILED = f"{INVERTED}{trajectory.SUFFIX}"
Inside = Callable[[], Tensor]  # where the edit shows by now


def edit(
    image: Any = None,
    mask: Annotated[Any, FromFile("White = edit, all if not given; auto finds where.")] = None,
    *,
    inversion: Annotated[
        Trajectory | Inversion | str | Path | None,
        "What invert wrote: a file, or a folder/; or as there.",
    ] = None,
    prompt: Annotated[str | None, "What the image is to show."] = None,
    negative: Annotated[str | None, "What it is not to show."] = None,
    label: Annotated[int | None, "The class that it is to have."] = None,
    guidance: Annotated[float | None, "How much of it; 1 is none."] = None,
    source_prompt: Annotated[str | None, "What it shows, where inverted here."] = None,
    source_label: Annotated[int | None, "The class it has, where inverted here."] = None,
    source_guidance: Annotated[float | None, "Of the way up; 1 is none."] = None,
    strength: Annotated[float | None, "How far up to go, in (0, 1], where inverted here."] = None,
    attention: Annotated[
        AttentionEdit | str | None, 'Of prompt to prompt, as in "replace(cross=0.8)".'
    ] = None,
    feather: Annotated[int, "Blend over so many pixels inside the mask."] = 2,
    prior: Annotated[Prior | str | Path | None, "A shipped name, a folder or a hub id."] = None,
    steps: Annotated[int | None, "Steps of the chain, where inverted here."] = None,
    seed: Annotated[int, "Another seed, another answer, where a code is drawn."] = 0,
    tile: Annotated[int | None, "Side of the windows of a large image, in pixels."] = None,
    device: Annotated[str | torch.device | None, "auto, cpu, cuda, cuda:n or mps."] = None,
    precision: Annotated[str, "Of the network: auto, full, bf16 or fp16."] = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callback | None = None,
    **added: Unpack[LoadSettings],
) -> Result:
    """Show an image, or each image of a batch, under another prompt or class.

    Its code is read back under that condition; under its own it is the round trip. With a mask,
    image and edit go down the chain side by side, and after every step the states outside are the
    image's own (blended diffusion); the answer is the image there, bit for bit, and inside its
    colors are brought to meet those at the edge. Without ``inversion``, or with the name of one,
    the image is inverted first.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1]. None
            is what the file of an inversion is of, to get PIL.
        mask: White, True or 1 where to edit; one for all or one for each; or "auto", for where the
            two conditions disagree: "DiffEdit" (Couairon et al., 2023),
            https://arxiv.org/abs/2210.11427.
        inversion: What ``invert`` gave as ``trajectory``, its file, a folder/ with one by the name
            of each image, or an inversion to make.
        guidance: By default 7.5 of a prompt, 3 of a class.
        strength: As of ``invert``.
        attention: What is taken over from where the network looked for the source's prompt, one of
            ``diffprior.attention``: replace, refine or reweight.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``LoadSettings``.

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """
    if feather < 0:
        raise SettingError(f"a feather is pixels from 0 on, got {feather}")
    start, meter, look = time.perf_counter(), Meter(), _look(attention)
    up = {"prompt": source_prompt, "label": source_label, "guidance": source_guidance}
    file = _opened(inversion, ids, steps=steps, strength=strength, **up)
    given = _given(image, mask is not None or bool(look and look.local), file)
    model, report = _model(
        prior, image, given, file, tile=tile, device=device, precision=precision, **added
    )
    method, before = _way(file, inversion or METHOD, model, steps, strength, up)
    after = {"prompt": prompt, "negative": negative, "label": label, "guidance": guidance}
    source = condition_prior(model, before)
    after = _wished(method, before, after)
    target = source if after is before else method.edit_prior(condition_prior(model, after), source)
    _matched(look, source, target)
    with meter.on(innermost(unguided(source))):
        soft = _soft(mask, given, source, target, Noise(seed, _auto(ids, given)))
        first = part_callback(callback, 0, 2)
        made = file or invert_images(method, source, before, given, report, seed, ids, first)
        x, soft = _read(made, source, target, given, soft, look, part_callback(callback, 1, 2))
    report |= {"seed": seed, **inversion_report(method)}
    report |= {
        "source": before | guidance_entry(source, before),
        "target": after | guidance_entry(target, after),
    }
    report |= ({"attention": repr(look)} if look else {}) | meter.report()
    report["seconds"] = round(time.perf_counter() - start, 2)
    return make_result(given, x, _cover(soft, feather), 1, report)


def _opened(inversion: Any, ids: Sequence[int | str] | None, **own: Any) -> Trajectory | None:
    """Return the trajectory that is meant, None where it is to be made."""
    many = isinstance(inversion, str) and inversion.endswith("/")
    if many and ids:
        inversion = f"{inversion}{Path(str(ids[0])).stem}.{FILED}"
    if isinstance(inversion, Inversion | None):
        return None
    if isinstance(inversion, str) and not inversion.endswith(trajectory.SUFFIX):
        return None
    settings = [k for k, v in own.items() if v is not None]
    if settings:
        raise SettingError(
            f"an inversion that was made has its own {settings[0]}; leave it out, or invert anew"
        )
    if isinstance(inversion, Trajectory):
        return inversion
    try:
        return Trajectory.read(inversion)
    except SettingError as error:
        if not many:
            raise
        raise ImageError(str(error)) from error  # that of one image, and no setting


def _given(image: Any, shown: bool, file: Trajectory | None) -> Images:
    """Return the images, black ones where the trajectory alone is there and they do not show."""
    if image is not None:
        return as_images(image)
    if file is None or shown:
        raise ImageError("there is no image, which a new inversion, or a mask, is of")
    h, w = file.size
    return as_images(Image.new("RGB", (w, h)))


def _model(
    prior: Any, image: Any, given: Images, file: Trajectory | None, **asked: Any
) -> tuple[Prior, dict[str, Any]]:
    """Return the prior, which is that of the trajectory, and the report."""
    own = file.prior if file is not None and file.prior in shipped() else None
    model, report = open_prior("edit", prior or own, (3, *given.size), **asked)
    if file is not None:
        file.check(report, None if image is None else given)
    if image is None and seeing(model):
        raise ImageError("there is no image, and this network sees one beside the state")
    return model, report


def _way(
    file: Trajectory | None,
    inversion: Any,
    model: Prior,
    steps: int | None,
    strength: float | None,
    up: Condition,
) -> tuple[Inversion, Condition]:
    """Return the inversion that was made, or is to be, and its condition."""
    if file is not None:
        return file.inversion, file.condition
    method = resolve_inversion(inversion, model, steps, strength)
    return method, source_condition(method, **up)


def _wished(method: Inversion, before: Condition, after: Condition) -> Condition:
    """Return the condition of the edit; what is not said of it is as it was."""
    wished = not_none(**after)
    if not wished:
        return before
    kept = {"guidance"} if method.guided else set()
    kept |= set() if wished.keys() & {"prompt", "label"} else {"prompt", "label"}
    return {k: v for k, v in before.items() if k in kept} | wished


def _look(attention: AttentionEdit | str | None) -> AttentionEdit | None:
    """Return what is taken over of attention, from what was given for it."""
    if attention is None or isinstance(attention, AttentionEdit):
        return attention
    try:
        look: AttentionEdit = build(attention, ("attention",))
        return look
    except ValueError as error:
        raise SettingError(str(error)) from error


def _matched(look: AttentionEdit | None, source: Prior, target: Prior) -> None:
    """Refuse prompts that do not go with each other, before any work is done."""
    try:
        _ = look and attended(look, source, target, torch.ones(1))
    except ValueError as error:
        raise SettingError(str(error)) from error


def _soft(mask: Any, given: Images, source: Prior, target: Prior, noise: Noise) -> Tensor | None:
    """Return the soft mask ``(B, 1, H, W)`` in [0, 1], or None for none."""
    if mask is None:
        return None
    if not (isinstance(mask, str) and mask == "auto"):
        return mask_tensor(mask, given)
    if source is target:
        raise SettingError("an automatic mask is where two conditions disagree; give another one")
    x = given.tensor().to(source.like)
    z, a, b = source.encode(x), unguided(source), unguided(target)
    found = [
        disagreement(beside(a, x[i]), beside(b, x[i]), z[i], noise.rows(i.tolist()))
        for i in torch.split(torch.arange(len(z)), batch_size(source))
    ]
    return _pixels(torch.cat(found), given, target)


def _pixels(cells: Tensor, given: Images, model: Prior) -> Tensor:
    """Return what entries of states cover of the images, ``(B, 1, H, W)``."""
    wide = functional.interpolate(cells.float(), scale_factor=float(getattr(model, "factor", 1)))
    return wide[..., : given.size[0], : given.size[1]].cpu()


def _read(
    made: Trajectory,
    source: Prior,
    target: Prior,
    given: Images,
    soft: Tensor | None,
    look: AttentionEdit | None,
    callback: Callback | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the edited images, moved smoothly to those given where they meet, and their mask."""
    x, times, masks = given.tensor().to(target.like), made.inversion.times(target), list[Inside]()
    if soft is None and look is not None and look.local:
        soft = torch.ones(len(x), 1, *given.size)

    def chain(i: Tensor) -> Chain:
        hole, sight = None if soft is None else soft[i], None
        first, then = beside(source, x[i]), beside(target, x[i], hole)
        if look is not None:
            first, then, sight = attended(look, first, then, times)
        if hole is None:
            return Chain(target=then, source=None if look is None else first)
        free = latent_mask(hole, target) > 0
        masks.append(lambda: free if sight is None else free & sight.mask())
        return Chain(target=then, source=first, inside=masks[-1])

    edited = target.decode(decode_trajectory(made, target, chain, callback))
    if soft is None:
        return edited, None
    shown = _pixels(torch.cat([inside() for inside in masks]), given, target)
    hole = shown.to(edited) > 0
    return edited + pyramid((x - edited).where(~hole, 0), hole), soft * shown


def _cover(soft: Tensor | None, pixels: int) -> Tensor | None:
    """Return how much of the edit shows: a ramp of so many pixels inside the mask."""
    return None if soft is None else 1 - mask_edges.feather(1 - soft, pixels)


def _auto(ids: Sequence[int | str] | None, given: Images) -> list[str]:
    """Return ids of noise streams beside those of the inversion."""
    return [f"{name} mask" for name in stream_ids(ids, len(given))]
