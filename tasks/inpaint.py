"""Fill what a mask hides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import torch
from torch import Tensor

from diffprior.classical import mask_edges
from diffprior.classical._distances import to_border
from diffprior.classical.fill import biharmonic, fill_flat
from diffprior.classical.islands import wide_part
from diffprior.errors import ImageError, SettingError, TaskError
from diffprior.exemplar.completion import complete
from diffprior.exemplar.references import Reference
from diffprior.io.arrays import Images
from diffprior.methods.base import Guidance, Method
from diffprior.methods.by_depth import ByDepth
from diffprior.methods.exemplar import Exemplar
from diffprior.methods.textured import Textured
from diffprior.operators.mask import Mask
from diffprior.priors.base import Prior
from diffprior.runtime.boxes import InBoxes, boxes_of, window_of
from diffprior.runtime.defaults import as_method
from diffprior.runtime.masks import SoftMask, one_color, soft_mask
from diffprior.runtime.noise_level import ROUNDING, read_sigma
from diffprior.runtime.parameters import FromFile
from diffprior.runtime.problem import BEHIND, Problem, ProblemInParts, Window, parts_of
from diffprior.runtime.references import Placed, given, place_references
from diffprior.runtime.restoration import restoration
from diffprior.samplers.ddim import DDIM
from diffprior.validation import literal

__all__ = ["inpaint"]

FILL = "dpir(start={}, steps=12, spread=32, ahead=True)"  # for one result
DEPTHS = (1.6, 2.5, math.inf)  # px; mean distance of lost pixels to known ones, for
STARTS = (0.13, 0.4, 0.5)  # noise levels: what is known less well starts noisier
SMOOTHLY = THIN, THICK, DEEP = tuple(map(FILL.format, STARTS))
SEVERAL = "mmps(start=1.0, iterations=2, sampler=dpm(steps=10, grid='logsnr'))"
REFERENCE, LED = "reference", "prior"  # in reports
FILLS = AUTO, SMOOTH, TEXTURE, STRUCTURE = "auto", "smooth", "texture", "structure"
WIDE = 20.0  # px; a hole that is deeper is filled with copies,
COMPACT = 10.0  # px; and so is one that is as deep and no stroke
TRIES = 4  # fills with copies, of which the best is kept
SHOWN = Guidance[Any](sampler=DDIM(steps=50))  # for a network that is shown what is round a hole
BEGIN = 3.0  # noise level over alpha at which a network starts from copies: the layout can be seen
EMPTY = "the mask is empty: there was nothing to do"


@restoration(past="inpainted")
def inpaint(  # noqa: PLR0913 (the public call)
    image: Images,
    mask: Annotated[
        Any,
        FromFile(
            "Mask of the hole, white where to fill; default: the transparent part.", is_mask=True
        ),
    ] = None,
    *,
    fill: Annotated[
        str,
        "How holes are filled: smooth, near to the truth; texture, smooth with the grain of a "
        "photograph; structure, with copies of what is round a hole; default: auto, structure "
        "for wide holes and smooth for narrow ones.",
    ] = "auto",
    reference: Annotated[
        Any,
        FromFile(
            "Further image of the scene, to fill holes with what it shows there, or a folder of "
            "them; may be given several times; default: none.",
            several=True,
        ),
    ] = None,
    sigma: Annotated[
        float | str,
        "Noise level of the known pixels: its standard deviation in [0, 1] units, or auto; "
        "default: 0, which keeps them bit for bit.",
    ] = 0.0,
    dilate: Annotated[int, "Pixels to grow the hole by; default 0."] = 0,
    feather: Annotated[
        int, "Width of the blend around the hole, in pixels; default: 0, a hard edge."
    ] = 0,
    fit_mask: Annotated[bool, "Resize a mask of another size to the image's; default: no."] = False,
) -> ProblemInParts | InBoxes:
    """Fill the hole of an image; all else stays bit for bit.

    On a command line::

        diffprior inpaint --mask mask.png photo.jpg -o filled.png

    A narrow hole is filled by annealed plug-and-play (dpir), first in PSNR over the hole in our
    benchmark, from a noisier start where the hole is thick. Several such fills come from mmps, the
    sampler that keeps the most texture there for the PSNR that it costs. A wide hole, and one
    that is compact, is filled with copies of what is round it (exemplar): the shipped prior knows
    textures and edges, not what belongs there. A prior of text or of classes, or one that was
    trained to fill holes, knows more, and fills wide holes, too. What a reference shows of a hole
    comes first.

    Arguments:
        mask: True or 1 where to fill; gray blends. One for all images or one for each. None is what
            is transparent in ``image``.
        fill: Texture lays the fine detail of a sample over a smooth fill, at the strength of what
            is around the hole; wide holes get structure. Several fills with texture differ in
            detail, several by structure in layout. The deviation of either says where they differ,
            and is not that of a posterior.
        reference: One image or several, of any size; best a shot from the same place. It is moved,
            turned and scaled to fit the image, and gets its light. If it fits around a hole, it
            fills it, unless the fill is smooth; if not, its patches may be copied into wide holes.
        sigma: In [-1, 1] units it is twice as much. Above 0 the known pixels are cleaned, too, and
            all holes are filled smoothly.
    """
    if fill not in FILLS:
        raise SettingError(f"fill is one of {', '.join(FILLS)}, got {literal(fill)}")
    soft, said = _soft_mask(image, mask, dilate, feather, fit_mask)
    hole = soft > 0
    exact = read_sigma(sigma) == 0
    wide = _wide(hole, fill) if exact else torch.zeros_like(hole)
    unknown = hole | image.invisible()
    usable = exact and fill != SMOOTH
    placed = place_references(image, unknown, reference if usable else None)
    state = partial(_fill, fill=fill, sigma=sigma, said=said)

    def page(part: Images, weights: Tensor, i: int, seen: Window) -> ProblemInParts:
        own = [r.seen_from(seen.rows.start, seen.columns.start) for r in placed[i]]
        return state(part, weights, placed=[own] * len(part))

    whole = partial(state, image, soft, placed=placed, opaque=mask is None)
    boxes = boxes_of(hole, unknown, wide) if exact else []
    if any(boxes):
        return InBoxes(soft=soft, boxes=boxes, page=page, whole=whole, opaque=mask is None)
    return whole()


def _fill(
    image: Images,
    soft: Tensor,
    *,
    fill: str,
    sigma: float | str,
    placed: Placed,
    said: Mapping[str, str],
    opaque: bool = False,
) -> ProblemInParts:
    """Return the problem of filling a hole.

    Arguments:
        image: The images, or a part of them.
        soft: Their weights in the mask, ``(B, 1, H, W)`` in [0, 1].
        placed: Further images of the scene, for each image with their places in it.
        said: What the report says of the mask.
        opaque: Whether the result loses the transparency of the images.
    """
    hole = soft > 0
    unknown = hole | image.invisible()
    exact = read_sigma(sigma) == 0
    flat = one_color(image, hole, ~unknown) if exact else torch.zeros_like(hole)
    wide = _wide(hole, fill) & ~flat if exact else torch.zeros_like(hole)
    shown = given(image, hole, unknown, placed)
    rest = hole & ~shown.filled
    everything = Window(rows=slice(0, image.size[0]), columns=slice(0, image.size[1]))

    def windows(prior: Prior) -> list[Window]:
        """Return what is worked on of each image: latents depend on all of it."""
        if not exact or prior.latent:
            return [everything] * len(hole)
        return [window_of(*each) for each in zip(hole[:, 0], wide[:, 0], strict=True)]

    def problem(rows: list[int], window: Window, prior: Prior) -> Problem:
        lost = window.cut((unknown & ~shown.filled)[rows])
        single = window.cut((flat & ~shown.filled)[rows])
        plain = single if _is_plain(prior) else torch.zeros_like(lost)
        keep = ~lost | plain
        copies = exact and _is_plain(prior) and (prior.local or fill == STRUCTURE)
        deep = _wide(rest, fill) & ~flat if copies else torch.zeros_like(hole)
        leads = not (_is_plain(prior) and prior.local)
        textured = fill == TEXTURE
        ways = {
            REFERENCE: bool(shown.filled[rows].any()),
            LED if leads else TEXTURE if textured else SMOOTH: bool((rest & ~deep)[rows].any()),
            STRUCTURE: bool(deep[rows].any()),
        }
        chosen = [_methods(rest[i], unknown[i], deep[i], placed[i], textured) for i in rows]
        one, several = zip(*chosen, strict=True)
        started = window.cut(_started(wide & rest, prior)[rows])
        begun = [bool(part.any()) for part in started]
        about = shown.report(rows, hole, ways[STRUCTURE]) if any(placed) else {}
        return Problem(
            operator=Mask(keep, batched=True),
            sigma=sigma,
            least=ROUNDING,
            measure=lambda x: fill_flat(shown.over(x, rows, window), lost, plain) * keep.to(x),
            guess=lambda x: _first_guess(shown.over(x, rows, window), keep, started),
            one=one,
            several=several,
            latent=(_begun(BEHIND[0], begun), _begun(BEHIND[1], begun)),
            shown=_begun(SHOWN, begun) if exact else None,
            keep=keep,
            lost=unknown[rows],
            window=window,
            cover=soft[rows] if exact else torch.ones_like(soft[rows]),
            opaque=opaque,
            check=_check_pixels if fill in (TEXTURE, STRUCTURE) else None,
            report={**said, "fill": " and ".join(k for k in ways if ways[k]), **about},
            nothing_to_do=EMPTY if exact and not hole[rows].any() else None,
        )

    return ProblemInParts(parts=lambda prior: parts_of(windows(prior), problem))


def _started(wide: Tensor, prior: Prior) -> Tensor:
    """Return the part of wide holes that a prior which fills them itself starts from copies in."""
    told = prior.text is not None or prior.label is not None
    return torch.zeros_like(wide) if prior.local or told else wide


def _begun(method: Method[Any] | str, begun: Sequence[bool]) -> list[Method[Any]]:
    """Return the method of each image; those that begin so start from what is there."""
    plain = as_method(method)
    return [replace(plain, start=BEGIN) if each else plain for each in begun]


def _first_guess(x: Tensor, keep: Tensor, wide: Tensor) -> Tensor:
    """Return images ``(B, C, H, W)`` with smooth fills of narrow holes, and copies in wide ones."""
    smooth = biharmonic(x, ~keep.to(x.device))
    rows = [
        complete((row.float().cpu() + 1) / 2, hole[0]) if hole.any() else (row + 1) / 2
        for row, hole in zip(smooth, wide, strict=True)
    ]
    return torch.stack([(2 * row - 1).to(x) for row in rows]) if wide.any() else smooth


def _wide(hole: Tensor, fill: str) -> Tensor:
    """Return the pixels ``(B, 1, H, W)`` of holes that are filled with copies."""
    if fill == SMOOTH:
        return torch.zeros_like(hole)
    depths = (0.0, None) if fill == STRUCTURE else (WIDE, COMPACT)
    return torch.stack([wide_part(h[0], *depths) for h in hole])[:, None]


def _is_plain(prior: Prior) -> bool:
    """Return whether a prior knows pixels only, and nothing that a hole should show."""
    told = prior.reads_text or prior.sees_image or prior.takes_control or prior.label is not None
    return not prior.latent and not told


def _check_pixels(prior: Prior) -> None:
    if prior.latent:
        raise TaskError("fill texture and structure are for a prior of pixels, not one of latents")


def _methods(
    hole: Tensor, unknown: Tensor, wide: Tensor, sources: Sequence[Reference], textured: bool
) -> tuple[Method[Any], Method[Any]]:
    """Return the methods of one image, for one result and for several.

    Arguments:
        hole: The pixels to fill, ``(1, H, W)``.
        unknown: Those, and further ones of which nothing is known.
        wide: Those that are filled with copies.
        sources: Further images to copy from.
        textured: Whether the others get the detail of a sample.
    """
    narrow = hole & ~wide
    one, several = as_method(SMOOTHLY[thickness(narrow, unknown)]), as_method(SEVERAL)
    if textured:
        one = several = Textured(mean=one, sample=several)
    copy, draw = (Exemplar(tries=n, references=tuple(sources)) for n in (TRIES, 1))
    if wide.any() and narrow.any():
        return (
            ByDepth(narrow=one, wide=copy, depth=WIDE, compact=COMPACT),
            ByDepth(narrow=several, wide=draw, depth=WIDE, compact=COMPACT),
        )
    nothing_left = bool(sources) and not hole.any()
    return (copy, draw) if wide.any() or nothing_left else (one, several)


def thickness(hole: Tensor, unknown: Tensor) -> int:
    """Return how thick narrow holes ``(1, H, W)`` are: 0 thin, 1 thick, 2 deep.

    Arguments:
        unknown: The holes, and further pixels of which nothing is known.
    """
    depth = to_border(unknown[0].byte().numpy())
    lost = depth[hole[0].numpy()].mean() if hole.any() else 0.0
    return next(i for i, most in enumerate(DEPTHS) if lost < most)


def _soft_mask(images: Images, mask: Any, dilate: int, feather: int, fit: bool) -> SoftMask:
    """Return the soft mask of a batch, ``(B, 1, H, W)`` in [0, 1], and what its report says."""
    if min(dilate, feather) < 0:
        raise SettingError(f"dilate and feather are pixels from 0 on, got {dilate} and {feather}")
    soft, said = _transparent(images) if mask is None else soft_mask(mask, images, fit=fit)
    soft = mask_edges.dilate(soft, dilate) if dilate else soft
    _check_known(soft)
    return SoftMask(mask_edges.feather(soft, feather) if feather else soft, said)


def _transparent(images: Images) -> SoftMask:
    """Return what is transparent in images as their mask."""
    holes = images.holes()
    if holes is None:
        raise ImageError("there is no mask, and nothing in the image is transparent; give one")
    return SoftMask(holes, {})


def _check_known(soft: Tensor) -> None:
    """Refuse masks without a single pixel that is black."""
    darkest = float(soft.amin((1, 2, 3)).max())
    if darkest == 1:
        raise TaskError("the mask hides the whole image; to draw one from nothing: generate")
    if darkest > 0:
        raise TaskError(
            f"the mask hides the whole image, since no pixel of it is black: its darkest is "
            f"{darkest:.1%} white; make black what is to be kept"
        )
