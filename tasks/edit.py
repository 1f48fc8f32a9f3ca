"""Change what an image shows: its code, read back under another prompt or class."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from diffprior.attention._control import attended
from diffprior.attention.base import AttentionEdit
from diffprior.bands import in_bands, rows_of
from diffprior.batching import Callback, part_callback
from diffprior.catalog import build
from diffprior.classical import mask_edges
from diffprior.classical.fill import pyramid
from diffprior.editing import trajectory
from diffprior.editing.chains import latent_mask
from diffprior.editing.difference_mask import disagreement
from diffprior.editing.invert import (
    Condition,
    Descent,
    decode_trajectory,
    inversion_condition,
    inversion_report,
    invert_images,
    resolve_inversion,
)
from diffprior.editing.page import Edit, Edited, Session, editing
from diffprior.editing.trajectory import Trajectory
from diffprior.errors import ImageError, SettingError
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import Images, as_images
from diffprior.pretrained.load import shipped
from diffprior.priors.base import Prior, show_image
from diffprior.random import Noise
from diffprior.runtime.masks import soft_mask
from diffprior.runtime.memory import batch_size
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.report import Meter, guidance_entry
from diffprior.runtime.settings import Settings, not_none, with_condition

__all__ = ["edit"]


DEFAULT = "edit_friendly"
FILE_NAME = f"{{}}.inverted{trajectory.SUFFIX}"  # of the image of this name, in a folder
Inside = Callable[[], Tensor]  # returns where the edit shows by now


@editing(past="edited", without=("samples",), source=True, full_precision=True)
def edit(
    image: Images | None = None,
    mask: Annotated[
        Any,
        FromFile(
            "Mask of the region to edit, white where to edit; auto finds it; "
            "default: the whole image.",
            words=("auto",),
            is_mask=True,
        ),
    ] = None,
    *,
    inversion: Annotated[
        Trajectory | Inversion | str | Path | None,
        "File that invert wrote, a folder/ of them, or an inversion to make, as of invert; "
        "default: edit_friendly.",
    ] = None,
    strength: Annotated[
        float | None,
        "Share of the noise that an inversion made here goes up to, in (0, 1]; default: that of "
        "the inversion.",
    ] = None,
    attention: Annotated[
        AttentionEdit | str | None,
        'Attention that the edit takes over from the source prompt, as in "replace(cross=0.8)"; '
        "default: none.",
    ] = None,
    feather: Annotated[
        int, "Width of the blend inside the mask, in pixels, from 0 on; default 2."
    ] = 2,
    steps: Annotated[
        int | None,
        "Steps of an inversion made here; default: as many as the inversion has.",
    ] = None,
) -> Callable[[Settings], Edit]:
    """Show an image under another prompt or class.

    On a command line::

        diffprior edit photo.png --prior path/to/model --prompt "a wolf" -o wolf.png

    Its code is read back under that condition; under its own it is the round trip. With a mask,
    image and edit come down the chain in step, and after every step the states outside are the
    image's own (blended diffusion). The result is the image there, bit for bit; inside, its colors
    are brought to meet those at the edge. Without a file the image is inverted first.

    Arguments:
        image: None for the image of the file of an inversion, to get PIL.
        mask: True or 1 where to edit. One for all images or one for each. "auto" is where the two
            conditions disagree: "DiffEdit" (Couairon et al., 2023),
            https://arxiv.org/abs/2210.11427.
        inversion: Or the ``trajectory`` of a result of ``invert``. A folder, with / at its end, has
            a file by the name of each image.
        strength: As of ``invert``.
        attention: One of ``diffprior.attention``: replace, refine or reweight.
    """
    if feather < 0:
        raise SettingError(f"a feather is pixels from 0 on, got {feather}")
    look = _attention(attention)

    def plan(settings: Settings) -> Edit:
        file = _open_file(inversion, settings, steps, strength)
        images = _images(image, mask is not None or bool(look and look.local), file)

        def draw(session: Session) -> Edited:
            _check_file(file, image, session)
            meter = Meter()
            if file is None:
                wanted = (
                    inversion if isinstance(inversion, Inversion) else str(inversion or DEFAULT)
                )
                method = resolve_inversion(wanted, session.prior, steps, strength)
                before = inversion_condition(method, settings.source_condition)
            else:
                method = file.inversion
                before = file.condition
            after = _target_condition(method, before, settings.condition)
            source, target = _priors(method, session.prior, before, after)
            if look is not None:
                _check_attention(look, source, target)
            with meter.on(source.without_guidance().innermost):
                soft, said = _soft_mask(mask, session, source, target)
                up = part_callback(settings.callback, 0, 2)
                down = part_callback(settings.callback, 1, 2)
                code = file or invert_images(method, source, before, session, up)
                x, soft = _read(code, source, target, images, soft, look, down)
            report: dict[str, Any] = {
                **said,
                **inversion_report(method),
                "source": before | guidance_entry(source, before),
                "target": after | guidance_entry(target, after),
            }
            if look is not None:
                report["attention"] = repr(look)
            report |= meter.report()
            return Edited(x=x, report=report, cover=_cover(soft, feather))

        own = file.prior if file is not None and file.prior in shipped() else None
        return Edit(draw=draw, images=images, prior=own, conditioned=False)

    return plan


def _open_file(
    inversion: Any, settings: Settings, steps: int | None, strength: float | None
) -> Trajectory | None:
    """Return the inversion that is in a file, None where one is to be made."""
    in_folder = isinstance(inversion, str) and inversion.endswith("/")
    if in_folder and settings.ids:
        inversion += FILE_NAME.format(Path(str(settings.ids[0])).stem)
    if isinstance(inversion, Inversion | None):
        return None
    if isinstance(inversion, str) and not inversion.endswith(trajectory.SUFFIX):
        return None
    own = not_none(steps=steps, strength=strength) | settings.source_condition
    if own:
        raise SettingError(
            f"an inversion that was made has its own {next(iter(own))}; leave it out, or invert "
            "anew"
        )
    if isinstance(inversion, Trajectory):
        return inversion
    try:
        return Trajectory.read(inversion)
    except SettingError as error:
        if not in_folder:
            raise
        raise ImageError(str(error)) from error  # a fault of one image, not of a setting


def _images(image: Images | None, shown: bool, file: Trajectory | None) -> Images:
    """Return the images; black ones where the file alone is there, and no pixel of them shows."""
    if image is not None:
        return image
    if file is None or shown:
        raise ImageError("there is no image, which a new inversion, or a mask, is of")
    height, width = file.size
    return as_images(Image.new("RGB", (width, height)))


def _check_file(file: Trajectory | None, image: Images | None, session: Session) -> None:
    """Refuse a prior, or an image, that is not that of the file."""
    if file is not None:
        file.check(dict(session.report), image)
    if image is None and session.prior.sees_image:
        raise ImageError("there is no image, and this network sees one beside the state")


def _target_condition(method: Inversion, before: Condition, after: Condition) -> Condition:
    """Return the condition of the edit; what the call does not say of it is as it was."""
    if not after:
        return before
    inherited = {"guidance"} if method.guided else set()
    if not after.keys() & {"prompt", "label"}:
        inherited |= {"prompt", "label"}
    return {key: value for key, value in before.items() if key in inherited} | after


def _priors(
    method: Inversion, prior: Prior, before: Condition, after: Condition
) -> tuple[Prior, Prior]:
    """Return the prior under the condition of the image, and under that of the edit."""
    source = with_condition(prior, before)
    if after is before:
        return source, source
    return source, method.edit_prior(with_condition(prior, after), source)


def _attention(attention: AttentionEdit | str | None) -> AttentionEdit | None:
    """Return an attention edit from an object or a text."""
    if attention is None or isinstance(attention, AttentionEdit):
        return attention
    try:
        look: AttentionEdit = build(attention, ("attention",))
        return look
    except ValueError as error:
        raise SettingError(str(error)) from error


def _check_attention(look: AttentionEdit, source: Prior, target: Prior) -> None:
    """Refuse prompts that do not go with each other, before any work is done."""
    try:
        attended(look, source, target, torch.ones(1))
    except ValueError as error:
        raise SettingError(str(error)) from error


def _soft_mask(
    mask: Any, session: Session, source: Prior, target: Prior
) -> tuple[Tensor | None, Mapping[str, str]]:
    """Return the soft mask ``(B, 1, H, W)`` in [0, 1], None for none, and what its report says."""
    images = session.images
    assert images is not None
    if mask is None:
        return None, {}
    if not (isinstance(mask, str) and mask == "auto"):
        return soft_mask(mask, images)
    if source is target:
        raise SettingError("an automatic mask is where two conditions disagree; give another one")
    noise = Noise(session.settings.seed, [f"{name} mask" for name in session.ids])
    x = images.tensor().to(source.like)
    z = source.encode(x)
    a = source.without_guidance()
    b = target.without_guidance()
    differs = [
        disagreement(show_image(a, x[i]), show_image(b, x[i]), z[i], noise.rows(i.tolist()))
        for i in torch.split(torch.arange(len(z)), batch_size(source))
    ]
    return _pixels(torch.cat(differs), images, target), {}


def _pixels(entries: Tensor, images: Images, prior: Prior) -> Tensor:
    """Return which pixels of the images some entries of states cover, ``(B, 1, H, W)``."""
    wide = functional.interpolate(entries.float(), scale_factor=float(prior.stride))
    return wide[..., : images.size[0], : images.size[1]].cpu()


def _read(
    code: Trajectory,
    source: Prior,
    target: Prior,
    images: Images,
    soft: Tensor | None,
    look: AttentionEdit | None,
    callback: Callback | None,
) -> tuple[Tensor, Tensor | None]:
    """Return the edited images, their colors joined to the images at the edge, and their mask."""
    times = code.inversion.times(target)
    masks: list[Inside] = []
    if soft is None and look is not None and look.local:
        soft = torch.ones(len(images), 1, *images.size)

    def descent(i: Tensor) -> Descent:
        hole = None if soft is None else rows_of(soft, i)
        x = images.select(i.tolist()).tensor().to(target.like)
        before = show_image(source, x)
        after = show_image(target, x, hole)
        control = None
        if look is not None:
            before, after, control = attended(look, before, after, times)
        if hole is None:
            return Descent(target=after, source=None if look is None else before)
        free = latent_mask(hole, target) > 0
        masks.append(lambda: free if control is None else free & control.mask())
        return Descent(target=after, source=before, inside=masks[-1])

    edited = target.decode(decode_trajectory(code, target, descent, callback))
    if soft is None:
        return edited, None
    shown = _pixels(torch.cat([inside() for inside in masks]), images, target)
    hole = shown.to(edited) > 0
    x = images.tensor().to(edited)
    jump = in_bands(lambda x, edited, hole: (x - edited).where(~hole, 0), x, edited, hole, into=x)
    del x
    jump = pyramid(jump, hole)
    return in_bands(torch.add, edited, jump, into=jump), soft * shown


def _cover(soft: Tensor | None, feather: int) -> Tensor | None:
    """Return the weight of the edit: a ramp of so many pixels inside the mask."""
    return None if soft is None else 1 - mask_edges.feather(1 - soft, feather)
