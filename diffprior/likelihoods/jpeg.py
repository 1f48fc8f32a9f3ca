"""JPEG files as measurements: the interval that each DCT coefficient of the image lies in."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bands import LARGE, bands, is_large
from ..io.arrays import LUMA, as_stored, upright
from ..io.jpeg import RATIOS, Coding, Colors, Subsampling, standard
from ..operators.base import Composed, LinearOperator
from ..random import Noise
from ..solvers import cg
from .base import ConditionableLikelihood

__all__ = ["CellLikelihood", "Coefficients", "agrees", "detect"]

YCC = (  # ITU-R BT.601, as in JFIF
    LUMA,
    (-0.168735892, -0.331264108, 0.5),
    (0.5, -0.418687589, -0.081312411),
)
USUAL: tuple[Subsampling, ...] = ("4:4:4", "4:2:2", "4:2:0")  # that pixels alone are tried for
LEVELS = 127.5  # 8-bit levels in a unit of [-1, 1]
ROUNDING = 0.3  # levels; deviation of a coefficient of rounded pixels
SURE = 0.3  # nats a coefficient, from which on an image shows its steps
NARROW = 0.03  # deviations; in a narrower interval the mean is in the middle


def detect(x: Tensor) -> Coding | None:
    """Return the coding that the pixels of a decoded image show, or None where they show none.

    The coefficients of an image that was only decoded lie on multiples of their steps, up to the
    rounding of its pixels. The result is the most likely quality of libjpeg.

    Arguments:
        x: One image ``(3, H, W)`` in [-1, 1], whose first block begins at its upper left corner. Of
            a large one its middle is looked at.
    """
    x = _middle(x)
    planes = {s: _planes(x, s) for s in USUAL}
    luma = planes["4:4:4"][:1]
    codings = [standard(q) for q in range(1, 101)]
    likeliest = max(codings, key=lambda c: _evidence(luma, c.luma))
    if _evidence(luma, likeliest.luma) < SURE:
        return None
    best = max(planes, key=lambda s: (_evidence(planes[s][1:], likeliest.chroma), s == "4:2:0"))
    return replace(likeliest, subsampling=best)


def agrees(x: Tensor, coding: Coding) -> bool:
    """Return whether the pixels can be those of a file of this coding.

    They can if each block of luma, or of red where colors are coded as they are, lies on the
    multiples of its steps, up to one level a pixel.

    Arguments:
        x: One upright image ``(3, H, W)`` in [-1, 1].
    """
    stored = as_stored(x[None], coding.orientation)[0]
    h, w = (n - n % 8 for n in stored.shape[-2:])  # whole blocks
    if h * w == 0:
        return True
    step = torch.tensor(coding.luma[1:]).to(x)
    whole = stored[None, :, :h, :w]
    for rows in bands(whole, 8) if is_large(whole) else [slice(None)]:
        z = _planes(whole[0, :, rows], "4:4:4", coding.colors)[0]
        if not ((z - step * (z / step).round()).norm(dim=1) <= 8).all():
            return False
    return True


def _middle(x: Tensor) -> Tensor:
    """Return the middle of a large image ``(C, H, W)``, from the corner of a block on."""
    if x.numel() <= LARGE:
        return x
    share = (LARGE / x.numel()) ** 0.5
    parts = []
    for n in x.shape[-2:]:
        side = max(16, int(n * share))
        start = (n - side) // 2 // 32 * 32
        parts.append(slice(start, min(n, start + side)))
    return x[:, *parts]


def _planes(x: Tensor, subsampling: Subsampling, colors: Colors = "YCbCr") -> list[Tensor]:
    """Return the coefficients ``(n, 63)`` of all planes, without means and clipped blocks."""
    A = Coefficients(x.shape, replace(standard(50, subsampling), colors=colors)).to(x)
    clipped = [p.flatten(3).amax(3) > 0 for p in A.split(A((x.abs() == 1)[None].to(x)).abs())]
    return [
        z.flatten(3)[~c][:, 1:] for z, c in zip(A.split(A.coded(x[None])), clipped, strict=True)
    ]


def _evidence(planes: Sequence[Tensor], table: Sequence[int]) -> float:
    """Return the mean log-odds of coefficients on multiples of these steps against none."""
    z = torch.cat(list(planes))
    step = torch.tensor(table[1:]).to(planes[0])
    d = z - step * (z / step).round()
    density = step * (-(d**2) / (2 * ROUNDING**2)).exp() / (ROUNDING * (2 * math.pi) ** 0.5)
    odds = (0.97 * density + 0.03).log()[z.abs() > 2]  # zeros are on every grid
    return float(odds.mean()) if len(odds) else 0.0


class Coefficients(LinearOperator):
    """z = the orthonormal DCT of blocks of 8 x 8 of luma, then of chroma, in 8-bit levels.

    A file may hold red, green and blue in their place. Chroma is the mean over the pixels that
    share it, as libjpeg codes it; a last block that the border cuts is filled with the border's
    pixels.

    Arguments:
        shape: Shape of one upright image, ``(3, H, W)``, or of a gray one, ``(1, H, W)``.
        coding: The quantization tables, which give every coefficient its ``step``, of shape
            ``(1, M)``, the subsampling of chroma and the orientation.
    """

    basis: Tensor
    colors: Tensor
    step: Tensor

    def __init__(self, shape: Sequence[int], coding: Coding) -> None:
        super().__init__()
        self.coding = coding
        self.ratio = RATIOS[coding.subsampling]
        self.orientation = coding.orientation
        # blocks are of these rows alone; a file that lies on its side has columns of them
        self.grain = 8 * self.ratio[0] if coding.orientation == 1 else 0
        c, h, w = shape
        self.shape = (c, w, h) if coding.orientation > 4 else (c, h, w)  # as stored in the file
        h, w = self.shape[-2:]
        a, b = self.ratio
        self.below = -h % (8 * a)
        self.right = -w % (8 * b)
        h, w = h + self.below, w + self.right
        self.sizes = ((h, w), (h // a, w // b), (h // a, w // b))[:c]
        k = torch.arange(8.0)[:, None]
        i = torch.arange(8.0)
        basis = (math.pi * k * (2 * i + 1) / 16).cos() / 2
        basis[0] /= 2**0.5
        tables = (coding.luma, coding.chroma, coding.chroma)[:c]
        pairs = zip(tables, self.sizes, strict=True)
        steps = [torch.tensor(t).repeat(h * w // 64) for t, (h, w) in pairs]
        self.register_buffer("basis", basis)
        planes = torch.eye(3) if coding.colors == "RGB" else torch.tensor(YCC)
        colors = planes if c == 3 else torch.ones(1, 1)  # a gray image is luma alone
        self.register_buffer("colors", LEVELS * colors)
        self.register_buffer("step", torch.cat(steps)[None].to(basis))

    def band(self, rows: slice, y: Tensor) -> tuple[Self, Tensor]:
        """Return the operator of a band of the images alone, and its coefficients ``(B, M')``."""
        return self._of_rows(rows), self._cut(y, rows)

    def _of_rows(self, rows: slice) -> Self:
        c, h, w = self.shape
        return type(self)((c, min(h, rows.stop) - rows.start, w), self.coding).to(self.basis)

    def _cut(self, z: Tensor, rows: slice) -> Tensor:
        parts = []
        for p, (height, _) in zip(self.split(z), self.sizes, strict=True):
            taller = 8 * self.sizes[0][0] // height  # rows of pixels of a row of blocks
            end = len(p[0]) if rows.stop >= self.shape[-2] else rows.stop // taller
            parts.append(p[:, rows.start // taller : end].flatten(1))
        return torch.cat(parts, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self._code(self._planes(x))

    def coded(self, x: Tensor) -> Tensor:
        """Return the coefficients that the file of a decoded image held, up to rounding.

        A decoder interpolates chroma with weights 3/4 and 1/4, and the mean over pixels smooths
        that further; this undoes both.
        """
        luma, *chroma = self._planes(x)
        return self._code([luma, *(cg(self._smooth, p, 30) for p in chroma)])

    def decode(self, z: Tensor) -> Tensor:
        """Return the image of coefficients z, each chroma value repeated: A decode(z) = z."""
        luma, *chroma = map(self._pixels, self.split(z))
        a, b = self.ratio
        wide = [p.repeat_interleave(a, 1).repeat_interleave(b, 2) for p in chroma]
        x = torch.einsum("cd,bdhw->bchw", self.colors.inverse(), torch.stack([luma, *wide], 1))
        return upright(x[..., : self.shape[-2], : self.shape[-1]], self.orientation)

    def split(self, z: Tensor) -> list[Tensor]:
        """Return the blocks ``(B, h, w, 8, 8)`` of luma and of the two chroma planes."""
        parts = torch.split(z, [h * w for h, w in self.sizes], 1)
        shapes = [(-1, h // 8, w // 8, 8, 8) for h, w in self.sizes]
        return [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]

    def gain(self) -> Tensor:
        """Return the variance of each coefficient of white noise of variance 1, ``(1, M)``."""
        rows = self.colors.square().sum(1) / self.colors.new_tensor(
            [1, *[math.prod(self.ratio)] * 2][: len(self.sizes)]
        )
        return torch.cat([r.expand(h * w) for r, (h, w) in zip(rows, self.sizes, strict=True)])[
            None
        ]

    def _planes(self, x: Tensor) -> list[Tensor]:
        if not (is_large(x) and self.grain):
            return self._planes_at_once(x)
        planes = [x.new_empty(len(x), h, w) for h, w in self.sizes]
        for rows in bands(x, self.grain):
            for whole, part in zip(
                planes, self._of_rows(rows)._planes_at_once(x[..., rows, :]), strict=True
            ):
                top = rows.start * whole.shape[1] // self.sizes[0][0]
                whole[:, top : top + part.shape[1]] = part
        return planes

    def _planes_at_once(self, x: Tensor) -> list[Tensor]:
        x = as_stored(x, self.orientation)
        x = F.pad(x, (0, self.right, 0, self.below), mode="replicate")
        luma, *chroma = torch.einsum("cd,bdhw->cbhw", self.colors, x)
        return [luma, *(F.avg_pool2d(p[:, None], self.ratio)[:, 0] for p in chroma)]

    def _code(self, planes: Sequence[Tensor]) -> Tensor:
        blocks = [p.reshape(len(p), p.shape[1] // 8, 8, -1, 8) for p in planes]
        if not any(is_large(p[:, None]) for p in planes):
            return torch.cat([self._transformed(p).flatten(1) for p in blocks], 1)
        z = planes[0].new_empty(len(planes[0]), self.step.shape[1])
        for p, own in zip(blocks, self.split(z), strict=True):
            for rows in bands(own.flatten(2, 4)[:, None]):
                own[:, rows] = self._transformed(p[:, rows])
        return z

    def _transformed(self, blocks: Tensor) -> Tensor:
        """Return the coefficients ``(B, h, w, 8, 8)`` of blocks ``(B, h, 8, w, 8)``."""
        return torch.einsum("ki,bhiwj,lj->bhwkl", self.basis, blocks, self.basis)

    def _pixels(self, z: Tensor) -> Tensor:
        p = torch.einsum("ki,bhwkl,lj->bhiwj", self.basis, z, self.basis)
        return p.flatten(3, 4).flatten(1, 2)

    def _smooth(self, p: Tensor) -> Tensor:
        """Return chroma after a decoder's interpolation and the mean over pixels."""
        for axis, ratio in zip((1, 2), self.ratio, strict=True):
            if ratio == 2:
                n = p.shape[axis]
                wide = torch.cat([p.narrow(axis, 0, 1), p, p.narrow(axis, n - 1, 1)], axis)
                p = 0.75 * p + (wide.narrow(axis, 0, n) + wide.narrow(axis, 2, n)) / 8
        return p


@dataclass(frozen=True, kw_only=True)
class CellLikelihood(ConditionableLikelihood[Coefficients]):
    """y = A x + u, with each u uniform in [-step / 2, step / 2].

    An image agrees with y once its coefficients lie in the cell y +- step / 2. The density is flat
    in there and has no gradient, so it serves the methods that use ``condition`` or ``residual``.
    """

    @property
    def step(self) -> Tensor:
        """The widths of the cells, of shape ``(1, M)``, also behind a decoder."""
        A: Any = self.operator
        step: Tensor = (A.outer if isinstance(A, Composed) else A).step
        return step

    def residual(self, x: Tensor) -> Tensor:
        """Return the difference from A x to the nearest point of the cell, of the shape of y."""
        d = self.y - self.operator(x)
        half = self.step / 2
        return d - d.clamp(-half, half)

    def log_prob(self, x: Tensor) -> Tensor:
        raise ValueError(
            "the interval of a JPEG coefficient has no density to climb; use dpir or diffpir, or "
            "resample for a latent prior"
        )

    def sample(self, x: Tensor, noise: Noise) -> Tensor:
        z = self.operator(x)
        return z + self.step * (noise.uniform(z) - 0.5)

    def condition_at_once(self, x_0: Tensor, var: Tensor | float) -> Tensor:
        """Return E[x | y] under x ~ N(x_0, var I), with the coefficients taken as independent.

        Those of luma are, for a gray image; chroma is correlated with luma, and has more pixels
        than coefficients.
        """
        A = self.operator
        z = A(x_0)
        half = A.step / 2
        inside = truncated(z, (var * A.gain()).sqrt(), self.y - half, self.y + half)
        return x_0 + A.decode(inside - z)


def truncated(m: Tensor, s: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return E[z | low <= z <= high] under z ~ N(m, s^2).

    For m = 0 and s = 1 it is (phi(a) - phi(b)) / (Phi(b) - Phi(a)), with [a, b] the interval. It is
    mirrored to where a + b >= 0, and both terms are divided by phi(a), so that nothing underflows.
    """
    a, b = (low - m) / s, (high - m) / s
    mirrored = a + b < 0
    a, b = torch.where(mirrored, -b, a), torch.where(mirrored, -a, b)
    fall = ((a - b) * (a + b) / 2).exp()
    root = 2**0.5
    tails = torch.special.erfcx(a / root) - fall * torch.special.erfcx(b / root)
    mean = (2 / math.pi) ** 0.5 * (1 - fall) / tails
    mean = torch.where(b - a < NARROW, (a + b) / 2, mean).clamp(a, b)
    return m + s * torch.where(mirrored, -mean, mean)
