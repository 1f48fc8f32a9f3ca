"""Gray images, and those of one tone, such as sepia: what they are in one channel, and back."""

from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..bands import bands, in_bands, is_large
from ..io.arrays import Images
from .noise_level import wavelet_noise

__all__ = ["Tone", "gray_images", "tones"]

CLOSE = 4 / 127.5  # [-1, 1]; an image that is nowhere farther from a tone has that
SHARE = 1 / 3  # of the noise; so far, root mean square, an image may be from its tone, too
BINS = 64  # grays between black and white that a tone is measured at
LEAST_PIXELS = 1024  # fewer do not show a tone
GLANCE = 512  # px; side of the parts that show that a large image has many colors

Mask = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]


@dataclass(frozen=True, eq=False)
class Tone:
    """The colors of an image of one tone: those of each gray, and how far its pixels are from them.

    Attributes:
        grays: Means of the channels in [-1, 1], rising, of shape ``(n,)``.
        shifts: What is added to each in R, G and B, of shape ``(n, 3)``.
        rest: What the tone leaves of the colors of the image, ``(1, 3, H, W)``.
    """

    grays: Array
    shifts: Array
    rest: Tensor

    @classmethod
    def of(cls, image: Tensor, known: Mask) -> Self | None:
        """Return the tone of an image, or None if it has many.

        The noise of an image of many colors is as strong beside any curve through them as along it.

        Arguments:
            image: Of shape ``(3, H, W)``, in [-1, 1].
            known: Where it says something, ``(H, W)``.
        """
        parts = _bands(image)
        sums = _Sums()
        for rows in parts:
            gray, shift = _gray_and_shift(image[:, rows])
            sums.add(gray[known[rows]], shift[known[rows]])
        grays, shifts = sums.curve()
        rest = torch.empty(image.shape, dtype=torch.float32 if len(parts) > 1 else torch.float64)
        squares, most = 0.0, 0.0
        for rows in parts:
            gray, shift = _gray_and_shift(image[:, rows])
            left = (shift - _along(gray, grays, shifts)) * known[rows][..., None]
            squares += float((left[known[rows]] ** 2).sum())
            most = max(most, float(np.abs(left).max()))
            rest[:, rows] = torch.from_numpy(left).movedim(-1, 0)
        far = (squares / (3 * known.sum())) ** 0.5
        if most > CLOSE and far > SHARE * _gray_noise(image):
            return None
        return cls(grays, shifts, rest[None])

    def color(self, gray: Tensor) -> Tensor:
        """Return gray images ``(n, 1, H, W)`` of any size in their colors, ``(n, 3, H, W)``."""
        rest = self.rest
        if rest.shape[-2:] != gray.shape[-2:]:
            rest = F.interpolate(rest, gray.shape[-2:], mode="bicubic")
        return in_bands(self._color, gray, rest.to(gray))

    def _color(self, gray: Tensor, rest: Tensor) -> Tensor:
        shift = _along(gray[:, 0].double().cpu().numpy(), self.grays, self.shifts)
        return gray + torch.from_numpy(shift).movedim(-1, 1).to(gray) + rest


def gray_images(images: Images, lost: Tensor | None = None) -> list[bool]:
    """Return of each image whether its channels are the same wherever it says something.

    Arguments:
        lost: True where the images say nothing, ``(B, 1, H, W)``; nor do they where they are clear.
    """
    same = (images.values == images.values[..., :1]).all(-1)
    return [bool(same[i][known].all()) for i, known in enumerate(_known(images, lost))]


def tones(images: Images, lost: Tensor | None = None) -> list[Tone | None]:
    """Return the tone of each image, None for those of many colors.

    Arguments:
        lost: As of ``gray_images``.
    """
    return [
        Tone.of(x, known) if known.sum() >= LEAST_PIXELS and not _is_colorful(x, known) else None
        for x, known in zip(images.tensor(), _known(images, lost), strict=True)
    ]


def _is_colorful(x: Tensor, known: Mask) -> bool:
    """Return whether a part of a large image ``(3, H, W)`` has many colors, as it then has itself.

    Its tone would take long, and a part of nearly every photograph shows that there is none.
    """
    if not is_large(x[None]):
        return False
    ends = [((n - GLANCE) * k // 2 for k in range(3)) for n in x.shape[-2:]]
    for top, left in product(*ends):
        part = slice(max(top, 0), top + GLANCE), slice(max(left, 0), left + GLANCE)
        if known[part].sum() >= LEAST_PIXELS and Tone.of(x[:, *part], known[part]) is None:
            return True
    return False


class _Sums:
    """Sums over the pixels of an image, by their gray."""

    def __init__(self) -> None:
        self.count = np.zeros(BINS)
        self.sums = np.zeros((BINS, 4))  # of the gray, and of the shift
        self.shift = np.zeros(3)
        self.most = 0.0  # shift

    def add(self, gray: Array, shift: Array) -> None:
        """Count pixels of these grays ``(n,)`` and shifts ``(n, 3)``."""
        index = ((gray + 1) / 2 * BINS).astype(int).clip(0, BINS - 1)
        self.count += np.bincount(index, minlength=BINS)
        self.sums += np.stack([np.bincount(index, v, BINS) for v in (gray, *shift.T)], 1)
        self.shift += shift.sum(0)
        self.most = max(self.most, float(np.abs(shift).max(initial=0.0)))

    def curve(self) -> tuple[Array, Array]:
        """Return the mean shift of each gray: the grays ``(n,)`` and the shifts ``(n, 3)``."""
        if self.most <= CLOSE:  # gray but for the last levels, as from some JPEG files
            return np.zeros(1), (self.shift / self.count.sum())[None]
        there = self.count > 0
        means = self.sums[there] / self.count[there, None]
        return means[:, 0], means[:, 1:]


def _bands(image: Tensor) -> list[slice]:
    """Return the rows of bands of an image ``(3, H, W)``; of a small one all rows."""
    return list(bands(image[None])) if is_large(image[None]) else [slice(None)]


def _gray_and_shift(image: Tensor) -> tuple[Array, Array]:
    """Return the grays ``(H, W)`` of an image ``(3, H, W)``, and the shifts ``(H, W, 3)``."""
    colors = image.movedim(0, -1).double().numpy()
    gray = colors.mean(-1)
    return gray, colors - gray[..., None]


def _gray_noise(image: Tensor) -> float:
    """Return the noise of the grays of an image ``(3, H, W)``, in [-1, 1] units."""
    grays = [_gray_and_shift(image[:, rows])[0] for rows in _bands(image)]
    return 2 * wavelet_noise(torch.from_numpy(np.concatenate(grays))[None, None])[0]


def _along(gray: Array, grays: Array, shifts: Array) -> Array:
    """Return the shifts of grays ``(...)`` on a curve, ``(..., 3)``."""
    return np.stack([np.interp(gray, grays, values) for values in shifts.T], -1)


def _known(images: Images, lost: Tensor | None) -> Mask:
    """Return where images say something, ``(B, H, W)``."""
    unknown = images.invisible() if lost is None else lost.cpu() | images.invisible()
    return ~unknown[:, 0].numpy()
