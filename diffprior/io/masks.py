"""Masks: which pixels are to be filled, from whatever a file or an array says it with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import ImageError
from . import files
from .arrays import TRANSPOSED, Images, as_images, upright

__all__ = ["MaskReading", "fit_mask", "interpret", "mask_tensor", "read_mask"]

BLACK = 2 / 255  # and less is black, in a mask of more than two values
WHITE = 253 / 255  # and more is white
BLUR = (0.25, 0.75)  # of white; a lossy format leaves what is below black, and what is above white
SAME_HUE = 0.35  # of full strength; colors nearer than that are one paint
FEW = 64  # colors; more are the edges of a brush, or what a lossy format left
STRAY = 0.05  # share of pixels of another hue that such a file may have
CLASSES = 32  # values; a file of so few, and more than two, may be one of class numbers
HIDDEN = 0.6  # share of an image; a mask that hides more, up to all borders, may be inverted
APART = 1.5  # times the chance that two neighbors are known; below it, known pixels are scattered


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskReading:
    """What a mask says.

    Attributes:
        weights: Weight of the filling, float32 ``(B, 1, H, W)`` in [0, 1].
        notes: How the values were read, where they are not just black and white.
        doubts: What a person who gave this mask may have meant otherwise, in full sentences.
    """

    weights: Tensor
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


def read_mask(source: Path, limit: int = files.LIMIT) -> Images:
    """Return the mask in a file, for `mask_tensor`; errors as in ``files.read``."""
    return files.read(source, limit).images


def mask_tensor(mask: Any, like: Images, advice: str = "give one of the same size") -> Tensor:
    """Return a mask as float32 ``(B, 1, H, W)`` in [0, 1]; 1 marks what is to be filled.

    The brightness of a pixel is its largest channel. Of a mask with transparency it is that times
    the opacity; where all that is visible has one brightness, it is the opacity alone. Then

    - floats are taken as they are;
    - of two values the larger one is 1, and the other 0, whatever they are;
    - of more, at most 2 of 255 is black, 253 and more is white, and gray lies between;
    - of a lossy file (JPEG), 25% and less is black, and 75% and more is white.

    Arguments:
        mask: White, True or 1 where to fill. `Images`, a PIL image or a numpy array as in
            `as_images`, or one of any other integers from 0 to 65535; or a tensor ``(H, W)``,
            ``(1, H, W)`` or ``(B, 1, H, W)``. An array of only the integers 0 and 1 counts as
            bool.
        like: The images of the mask. One mask may serve all of them. A mask of the pixels of a
            file that EXIF turns is turned with it, where the sizes show that.
        advice: The end of the error message about a mask of another size.

    Raises:
        ImageError: If the size or the number of masks differs, if the mask has several colors or
            one value that is neither black nor white, or as in `as_images`.
    """
    return interpret(mask, like, advice).weights


def fit_mask(mask: Any, size: tuple[int, int]) -> Tensor:
    """Return a mask as in `mask_tensor` of size ``(H, W)``: the largest value under each pixel."""
    return functional.adaptive_max_pool2d(_weigh(_images(mask)).weights, size)


def interpret(
    mask: Any,
    like: Images,
    advice: str = "give one of the same size",
    *,
    fit: bool = False,
    invert: bool = False,
) -> MaskReading:
    """Return a mask as in `mask_tensor`, with what there is to say of how it was read.

    Arguments:
        fit: Whether a mask of another size is resized, as by `fit_mask`.
        invert: Whether black is what is filled.
    """
    images, turns = _turned(_images(mask), like)
    reading = _weigh(images)
    m = 1 - reading.weights if invert else reading.weights
    if fit and m.shape[2:] != like.size:
        m = functional.adaptive_max_pool2d(m, like.size)
    if m.shape[2:] != like.size:
        height, width = m.shape[2:]
        h, w = like.size
        raise ImageError(f"the mask is {width}x{height} but the image is {w}x{h}; {advice}")
    if len(m) not in (1, len(like)):
        raise ImageError(f"there are {len(m)} masks for {len(like)} images; give one, or as many")
    m = m.expand(len(like), -1, -1, -1).contiguous()
    swapped = () if invert else _inverted(m)
    doubts = (*turns, *reading.doubts, *swapped, *_gray(m))
    return replace(reading, weights=m, doubts=tuple(dict.fromkeys(doubts)))


def _images(mask: Any) -> Images:
    """Return a mask as images, of which integers that no image has are made uint8 or uint16."""
    if isinstance(mask, Tensor):
        if mask.ndim not in (2, 3, 4) or (mask.ndim > 2 and mask.shape[-3] != 1):
            shape = tuple(mask.shape)
            raise ImageError(
                f"the mask has the shape {shape}; give (H, W), (1, H, W) or (B, 1, H, W)"
            )
        mask = mask[None] if mask.ndim == 2 else mask
    if isinstance(mask, np.ndarray | Tensor) and "int" in str(mask.dtype):
        mask = _narrow(mask)
    return as_images(mask, "mask")


def _narrow(mask: Any) -> Any:
    """Return integers 0 and 1 as bool, and others in the smallest dtype that holds them."""
    array = mask.cpu().numpy() if isinstance(mask, Tensor) else mask
    low, high = (array.min(), array.max()) if array.size else (0, 0)
    if 0 <= low <= high <= 1:
        narrow = array > 0
    elif 0 <= low <= high <= 65535:
        narrow = array.astype(np.uint8 if high <= 255 else np.uint16)
    else:
        raise ImageError(f"the mask holds integers from {low} to {high}; give 0 and 1, or 0 to 255")
    return torch.from_numpy(narrow) if isinstance(mask, Tensor) else narrow


def _turned(mask: Images, like: Images) -> tuple[Images, tuple[str, ...]]:
    """Return a mask turned as its photo is, where the sizes say that it is not, and what to say."""
    if like.orientation == 1 or mask.orientation != 1:
        return mask, ()
    swapped = mask.size == like.size[::-1] and like.orientation in TRANSPOSED
    if swapped and mask.size != like.size:
        turn = partial(upright, orientation=like.orientation, axes=(1, 2))
        alpha = None if mask.alpha is None else np.ascontiguousarray(turn(mask.alpha))
        turned = replace(mask, values=np.ascontiguousarray(turn(mask.values)), alpha=alpha)
        return turned, ("the mask was turned as the EXIF orientation of the image turns that",)
    shows = like.orientation in TRANSPOSED and like.size != like.size[::-1]
    if shows or mask.size != like.size:  # a mask of the stored pixels would have another size
        return mask, ()
    return mask, (
        "the EXIF orientation turns the image, and the mask is taken as one of the turned image; "
        "if it is one of the pixels as they are stored, turn it, too",
    )


def _inverted(weights: Tensor) -> tuple[str, ...]:
    """Return what to say of masks that keep a part in the middle, as those with swapped colors."""
    for lost in weights[:, 0] == 1:
        share = int(lost.sum()) / lost.numel()
        edges = (lost[0], lost[-1], lost[:, 0], lost[:, -1])
        if HIDDEN < share < 1 and all(bool(edge.any()) for edge in edges) and _hold_together(~lost):
            digits = 0 if share < 0.99 else 2
            hidden = round(100 * share, digits)
            return (
                f"the mask hides {hidden:.{digits}f}% of the image, up to all four borders; if the "
                f"other {100 - hidden:.{digits}f}% is what to fill, use --invert-mask",
            )
    return ()


def _hold_together(known: Tensor) -> bool:
    """Return whether known pixels ``(H, W)`` have known neighbors, more than by chance."""
    below, beside = (int((known[1:] & known[:-1]).sum()), int((known[:, 1:] & known[:, :-1]).sum()))
    share = int(known.sum()) / known.numel()
    return (below + beside) / (2 * known.numel()) > APART * share**2


def _gray(weights: Tensor) -> tuple[str, ...]:
    """Return what to say of masks that are gray for the most part, as photographs are."""
    gray = ((weights > 0) & (weights < 1)).flatten(1)
    share = int(gray.sum(1).max()) / gray.shape[1]
    if share <= 0.5:
        return ()
    return (
        f"{share:.0%} of the mask is gray, where the filling is blended with the image; if it is a "
        "photograph, give a mask, white where to fill and black elsewhere",
    )


def _weigh(masks: Images) -> MaskReading:
    """Return the weights of masks, each by its own values."""
    read = [_weigh_one(masks, i) for i in range(len(masks))]
    notes = dict.fromkeys(note for one in read for note in one.notes)
    doubts = dict.fromkeys(doubt for one in read for doubt in one.doubts)
    weights = torch.cat([one.weights for one in read])
    return MaskReading(weights=weights, notes=tuple(notes), doubts=tuple(doubts))


def _weigh_one(masks: Images, i: int) -> MaskReading:
    values = masks.values[i]
    alpha = None if masks.alpha is None else masks.alpha[i]
    if values.dtype.kind == "f":
        bright = values.max(-1) * (1 if alpha is None else alpha)
        return _reading(bright, doubts=_faint(bright.max(), 1))
    if max(values.max(), 0 if alpha is None else alpha.max()) <= 255:
        values = values.astype(np.uint8)
        alpha = None if alpha is None else alpha.astype(np.uint8)
    levels = _levels(values, alpha)
    top = 65535 if levels.max() > 255 else 255  # 8 bits are kept in 16-bit files, too
    present = _present(levels)
    if len(present) == 1:
        return _reading(_constant(levels, present[0], top))
    if len(present) == 2:
        low, high = present
        plain = (low, high) in ((0, 255), (0, top))
        note = f"of its two values, {low} and {high}, the larger is filled"
        return _reading(levels == high, notes=() if plain else (note,))
    return _several(levels.astype(np.float32) / top, present, top, masks.lossy)


def _present(levels: np.ndarray) -> list[int]:
    """Return the integers that occur, in order; all at once would take 8 bytes a pixel."""
    counts = np.zeros(int(levels.max()) + 1, bool)
    for row in levels:
        counts[row] = True
    return counts.nonzero()[0].tolist()


def _reading(
    weights: np.ndarray, notes: Sequence[str] = (), doubts: Sequence[str] = ()
) -> MaskReading:
    plane = torch.from_numpy(np.ascontiguousarray(weights, np.float32))[None, None]
    return MaskReading(weights=plane, notes=tuple(notes), doubts=tuple(doubts))


def _levels(values: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Return how bright each pixel ``(H, W)`` is, in the integers of its file."""
    top = np.iinfo(values.dtype).max
    bright = values.max(-1)
    seen = np.ones(bright.shape, bool) if alpha is None else alpha > top // 2
    _check_hue(values, bright, seen)
    if alpha is None or alpha.min() == alpha.max():
        return np.asarray(bright)
    visible = bright[seen]
    if visible.size and int(visible.max()) - int(visible.min()) <= BLACK * top:
        return alpha  # paint of one brightness, were it black, on nothing
    product = bright.astype(np.uint32) * alpha
    return np.asarray((product + top // 2) // top).astype(values.dtype)


def _check_hue(values: np.ndarray, bright: np.ndarray, seen: np.ndarray) -> None:
    """Refuse masks of several colors: photographs, and labels of more than one class."""
    if values.shape[-1] == 1 or (values.min(-1) == bright).all():
        return
    picked = values[seen & (bright > bright[seen].max(initial=0) // 2)]
    if not picked.size:
        return
    colors, counts = _distinct(picked)
    hue = colors / colors.max(-1, keepdims=True)
    main = hue[counts.argmax()]
    other = counts[(np.abs(hue - main) > SAME_HUE).any(-1)].sum() / counts.sum()
    if other > (0 if len(colors) <= FEW else STRAY):
        raise ImageError(
            "the mask has several colors; give white, or paint of one color, where to fill, on "
            "black or on nothing; of a copy of the image that is painted over, give the color with "
            "--mask-color; of labels of several classes, make a mask of one"
        )


def _distinct(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the different colors of pixels ``(N, 3)`` of 8 or 16 bits, and how often each is."""
    packed = pixels.astype(np.uint64) @ np.array([1 << 32, 1 << 16, 1], np.uint64)
    keys, counts = np.unique(packed, return_counts=True)
    parts = [(keys >> np.uint64(shift)) & np.uint64(0xFFFF) for shift in (32, 16, 0)]
    return np.stack(parts, -1).astype(np.float64), counts


def _constant(levels: np.ndarray, value: int, top: int) -> np.ndarray:
    """Return the weights of a mask of one value: all black, or all white."""
    if 0 < value < WHITE * top:
        raise ImageError(
            f"the mask holds one value alone, {value} of {top}, and marks no pixel by it; give "
            "white where to fill, and black elsewhere"
        )
    return np.full(levels.shape, value > 0)


def _several(bright: np.ndarray, present: Sequence[int], top: int, lossy: bool) -> MaskReading:
    """Return the weights of a mask of more than two values, of which ``bright`` is in [0, 1]."""
    few = len(present) <= CLASSES
    if present[-1] <= BLACK * top:
        shown = ", ".join(map(str, present))
        raise ImageError(
            f"the mask holds the values {shown} of {top}, all of them black; if they are numbers "
            "of classes, make a mask of one, white where to fill"
        )
    if present[-1] > BLUR[1] * top and (lossy or _rings(bright)):
        low, high = BLUR
        note = "its gray of a lossy format: 25% and less is black, 75% and more is white"
        return _reading(np.clip((bright - low) / (high - low), 0, 1), notes=(note,))
    weights = np.where(bright <= BLACK, 0, np.where(bright >= WHITE, 1, bright))
    changed = [v for v in present if 0 < v <= BLACK * top]
    doubts = _faint(present[-1], top)
    if changed and few and present[0] == 0:
        shown = " and ".join(map(str, changed))
        doubts = (*doubts, f"the mask holds {shown} of {top} beside 0, which count as black")
    return _reading(weights, doubts=doubts)


def _faint(largest: float, top: int) -> tuple[str, ...]:
    """Return what to say of a mask without any white."""
    if not 0 < largest < WHITE * top:
        return ()
    return (
        f"the brightest pixel of the mask is {largest:g} of {top}, so at most "
        f"{max(largest / top, 0.001):.1%} of the filling shows; make it white where to fill, and "
        "of numbers of classes make a mask of one",
    )


def _rings(bright: np.ndarray) -> bool:
    """Return whether black and white both have the ripples that a lossy format leaves at edges."""
    gray = (bright > BLUR[0]) & (bright < BLUR[1])
    return bool(gray.mean() < 0.1) and all(map(_ripples, (bright, 1 - bright)))


def _ripples(bright: np.ndarray) -> bool:
    """Return whether many dark pixels ``(H, W)`` are peaks of their row, or of their column.

    In a soft edge each pixel has a neighbor on the bright side. Of drawn masks up to 9% of the dark
    pixels are peaks, and of JPEG masks of all qualities 45% and more.
    """
    dark = (bright > BLACK) & (bright < BLUR[0])
    padded = np.pad(bright, 1, mode="edge")
    in_row = (bright > padded[1:-1, :-2]) & (bright > padded[1:-1, 2:])
    in_column = (bright > padded[:-2, 1:-1]) & (bright > padded[2:, 1:-1])
    peaks = dark & (in_row | in_column)
    return bool(peaks.sum() > 0.3 * dark.sum())
