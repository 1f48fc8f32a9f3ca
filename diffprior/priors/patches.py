"""Patches of given images: a prior that was never trained, and is exact patch by patch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..batching import chain, each_row
from ..diffusions import GaussianDiffusion
from ..errors import ImageError, SettingError
from ..random import Noise
from ..schedules import Geometric, grid
from ..solvers import wide_dtype
from ..validation import Within, check
from .base import Prior

__all__ = ["PatchPrior", "sample_structure"]

Symmetry = Literal["none", "mirrored", "turned"]
Window = Literal["gaussian", "flat", "center"]

AT_ONCE = 2**19  # distances that are held at a time, which a cache holds: 2 MiB in float32
LEAST = 64  # patches that are compared with all keys at a time, however many keys there are
FAINT = -80.0  # log of a weight that counts for nothing; smaller ones are slow to multiply
KEPT = 2**22  # distances that are kept between the steps of a chain: 16 MiB in float32
ROUNDED = 15.0  # times the rounding error of a squared distance: below that, float64 is needed
SEED = 0  # of the choice among too many patches


class PatchPrior(Prior):
    """All patches of the given images, each as probable as any other.

    A patch x of n pixels is one of K known patches k_1, ..., k_K. With x_t = alpha_t x + sigma_t
    eps, its posterior and its mean are sums over them:

        p(k_j | x_t) is proportional to exp(-||x_t - alpha_t k_j||^2 / (2 sigma_t^2))
        E[x | x_t] = sum_j p(k_j | x_t) k_j

    The mean of a patch is exact. That of an image is put together from those of all patches that
    fit into it, by a weighted mean in each pixel. It is exact where a patch is as large as the
    image: the prior is then the given images themselves. Otherwise it is a composition, and no
    density of images has just this mean. With the window "center" it is the local score machine of
    "An analytic theory of creativity in convolutional diffusion models" (Kamb and Ganguli, 2024),
    https://arxiv.org/abs/2412.20292. Near the border, where no patch is centered, a pixel takes its
    value from the patches that fit into the image.

    ``given`` returns the same prior for an image with a hole, whose patches know their known
    pixels. It is also faster, because only patches that touch the hole are looked at.

    Distances are computed for a few patches at a time, on the way back, too, so that the memory
    grows with the pixels plus the patches: for 96 x 96 pixels and all their patches it is under 500
    MB. The time grows with the pixels of the image times the number of patches.

    Example::

        prior = PatchPrior(image, hole)  # (3, 96, 96) in [-1, 1], and True where it is lost
        filled = diffprior.inpaint(photo, mask, prior=prior, method="ddnm")

    Arguments:
        images: An image ``(C, H, W)``, a batch of them, or a sequence of images of any sizes, in
            the range of the states, [-1, 1].
        hole: True or above 0 where an image is lost: patches that touch it do not count. Of shape
            ``(H, W)`` or ``(1, H, W)``, or a sequence of one for each image, or None, for none.
        side: Side of a patch, in pixels.
        symmetry: Which copies of the patches count, too: "mirrored" left to right, or "turned":
            by quarters, and mirrored.
        most: The most patches. Of more of them, these many are chosen at random, always the same.
        window: Weights of the pixels of a patch: "gaussian", "flat", or "center", for the pixel
            nearest to the center of a patch.
        diffusion: How noise is added; by default ``GaussianDiffusion()``.

    Raises:
        ImageError: If a patch does not fit into an image, or none is wholly known.
    """

    keys: Tensor  # (K, C * side * side), less the center
    center: Tensor  # (C * side * side,)
    diffusion: GaussianDiffusion

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        hole: Tensor | Sequence[Tensor | None] | None = None,
        *,
        side: int = 7,
        symmetry: Symmetry = "none",
        most: int = 40_000,
        window: Window = "gaussian",
        diffusion: GaussianDiffusion | None = None,
    ) -> None:
        super().__init__()
        check("side", side, int)
        check("most", most, int)
        check("symmetry", symmetry, Symmetry)
        check("window", window, Window)
        sources = _with_holes(images, hole)
        self.side = side
        self.window: Window = window
        self.diffusion = diffusion or GaussianDiffusion()
        self.shape = tuple(sources[0][0].shape)
        self.local = side < min(self.shape[-2:])
        keys = _patches(sources, side, symmetry, most).flatten(1)
        center = keys.mean(0)  # distances are rounded less where numbers are small
        self.register_buffer("keys", keys - center)
        self.register_buffer("center", center)
        self.reach = float(self.keys.square().sum(1).max())  # the largest squared norm

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, _ = self.diffusion.schedule(t)
        level = float(self.diffusion.schedule.ratio(t))
        return each_row(lambda row: self._denoise(row[0], level)[None], x_t / alpha_t)

    def conditional(self, x: Tensor, levels: Tensor) -> Tensor:
        """Return E[x_0 | x] where each pixel has a noise level of its own: x = x_0 + levels eps.

        Known pixels have a small level, and lost ones that of the chain. The mean of a patch is
        exact: a sum over the known patches as in ``forward``, with the squares of the distance
        weighted by 1 / levels^2.

        Arguments:
            x: Of shape ``(B, C, H, W)``.
            levels: Standard deviations above 0 that broadcast to ``(B, C, H, W)``.
        """
        return each_row(self._denoise_by_pixel, x, levels.to(x).expand_as(x))

    def given(
        self, image: Tensor, hole: Tensor, *, tolerance: float = 0.08, step: int = 1
    ) -> Prior:
        """Return the prior of images that agree with one around its hole.

        Its mean is that of ``conditional``, with x_t in the hole and the image around it, and the
        image itself where that is known. It does not read the states there.

        Arguments:
            image: Of shape ``(C, H, W)``; values in the hole do not matter.
            hole: True or above 0 where the image is lost, ``(H, W)`` or ``(1, H, W)``.
            tolerance: Noise level of the known pixels. A small one ties a patch to its border; a
                larger one leaves more to chance.
            step: Distance between the patches that are looked at, in pixels; of larger ones there
                are fewer.
        """
        check("tolerance", tolerance, float, Within(0, above=True))
        check("step", step, int)
        lost = _hole_of(hole, image).to(self.like.device)
        known = image.to(self.like).masked_fill(lost, 0)
        return _Given(self.for_shape(image.shape), known, lost, tolerance, step)

    def with_diffusion(self, diffusion: GaussianDiffusion) -> Self:
        """Return this prior with noise that is added in another way."""
        return self._replace(diffusion=diffusion)

    def encode(self, image: Tensor) -> Tensor:
        return image.mean(1, keepdim=True) if self.shape[0] == 1 else image

    def for_shape(self, shape: Sequence[int]) -> Self:
        if shape[0] != self.shape[0]:
            raise ImageError(f"this prior is one of {self.shape[0]} channels, not {shape[0]}")
        _check_fits(self.side, shape)
        return self._replace(shape=tuple(shape), local=self.side < min(shape[-2:]))

    def _denoise(self, x: Tensor, level: float) -> Tensor:
        """Return E[x_0 | x = x_0 + level eps] of one image ``(C, H, W)``."""
        places = _Places.in_image(x, self.side, self.window)
        keys = self._exact(x, level)
        energy = keys.square().sum(1) / 2

        def mean(q: Tensor) -> Tensor:
            q = q - self.center
            scores = (q.to(keys) @ keys.mT).sub_(energy).div_(level**2)
            return self._mean(scores)

        return places.put(_in_parts(mean, len(keys), places.take(x)))

    def _denoise_by_pixel(self, x: Tensor, levels: Tensor) -> Tensor:
        places = _Places.in_image(x[0], self.side, self.window)
        keys = self._exact(x, float(levels.min()))
        squares = keys.square()

        def mean(q: Tensor, level: Tensor) -> Tensor:
            precision = level.to(keys) ** -2
            q = q - self.center
            return self._mean((precision * q) @ keys.mT - precision @ squares.mT / 2)

        parts = places.take(x[0]), places.take(levels[0])
        return places.put(_in_parts(mean, len(keys), *parts))[None]

    def _mean(self, scores: Tensor) -> Tensor:
        """Return the mean patches under the log-probabilities ``(Q, K)``, up to constants."""
        scores = (scores - scores.detach().amax(1, keepdim=True)).clamp_min(FAINT)
        return scores.softmax(1).to(self.keys) @ self.keys + self.center

    def _exact(self, x: Tensor, level: float) -> Tensor:
        """Return the keys in a precision that tells patches apart at a noise level."""
        eps = torch.finfo(self.keys.dtype).eps
        enough = level**2 > ROUNDED * eps * self.reach
        return self.keys if enough or wide_dtype(x) != torch.float64 else self.keys.double()


class _Given(Prior):
    """What ``PatchPrior.given`` returns.

    Arguments:
        prior: The prior of images of this size.
        image, hole: Of shapes ``(C, H, W)`` and ``(1, H, W)``.
        tolerance, step: As of ``PatchPrior.given``.
    """

    image: Tensor
    hole: Tensor

    def __init__(
        self, prior: PatchPrior, image: Tensor, hole: Tensor, tolerance: float, step: int
    ) -> None:
        super().__init__()
        self.prior = prior
        self._describe_as(prior)
        self.tolerance = tolerance
        self.step = step
        self.register_buffer("image", image)
        self.register_buffer("hole", hole)
        self._prepare()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._prepare()  # where the tensors are now
        return self

    def _prepare(self) -> None:
        """Cut the known image into its patches."""
        prior, image, hole = self.prior, self.image, self.hole
        self.places = _Places.at_hole(hole, prior.side, prior.window, self.step)
        self.lost = self.places.take(hole.to(image)).repeat(1, len(image))
        self.seen = (self.places.take(image) - prior.center) * (1 - self.lost)
        few = len(self.lost) * len(prior.keys) <= KEPT
        rows = self.lost, self.seen
        self.kept = _constants(*rows, prior.keys, prior.keys.square()) if few else None

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, _ = self.diffusion.schedule(t)
        level = float(self.diffusion.schedule.ratio(t))
        return each_row(lambda row: self._denoise(row[0], level)[None], x_t / alpha_t)

    def _denoise(self, x: Tensor, level: float) -> Tensor:
        keys = self.prior._exact(x, level)
        kept = self.kept if keys is self.prior.keys else None
        squares = keys.new_empty(0) if kept else keys.square()

        def mean(q: Tensor, lost: Tensor, *rest: Tensor) -> Tensor:
            apart, energy = rest if kept else _constants(lost, rest[0], keys, squares)
            scores = ((q - self.prior.center) * lost).to(keys) @ keys.mT
            scores = scores.sub_(energy).mul_(level**-2).sub_(apart / self.tolerance**2)
            return self.prior._mean(scores)

        parts = self.places.take(x), self.lost, *(kept or (self.seen,))
        filled = self.places.put(_in_parts(mean, len(keys), *parts))
        return torch.where(self.hole, filled, self.image)


def _constants(lost: Tensor, seen: Tensor, keys: Tensor, squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return half of the squared distances ``(Q, K)`` of known pixels, and of the norms of lost.

    Arguments:
        lost: 1 where a patch has a lost pixel, ``(Q, D)``.
        seen: Its known pixels, and 0 in the lost ones.
        keys, squares: The patches that it is compared with, and their squares, ``(K, D)``.
    """
    energy = lost.to(keys) @ squares.mT / 2
    seen = seen.to(keys)
    apart = (squares.sum(1) / 2 - energy) - seen @ keys.mT
    return apart + seen.square().sum(1, keepdim=True) / 2, energy


@dataclass(frozen=True)
class _Places:
    """Where the patches of an image lie that are looked at, and what each says of its pixels.

    Attributes:
        size: The size ``(H, W)`` of the image.
        side: Side of a patch.
        at: The numbers of the patches, ``(Q,)``, among all that fit in, row by row.
        share: Weights of their pixels, ``(Q, side * side)``; the sum is 1 in each pixel.
    """

    size: tuple[int, int]
    side: int
    at: Tensor
    share: Tensor

    @classmethod
    def in_image(cls, x: Tensor, side: int, window: Window) -> Self:
        """Return the places of all patches of an image ``(C, H, W)``."""
        _check_fits(side, x.shape)
        count = math.prod(n - side + 1 for n in x.shape[-2:])
        return cls._of(x, side, window, torch.arange(count, device=x.device))

    @classmethod
    def at_hole(cls, hole: Tensor, side: int, window: Window, step: int) -> Self:
        """Return the places of patches that touch a hole ``(1, H, W)``, ``step`` pixels apart."""
        touches = F.max_pool2d(hole.float(), side, stride=1)[0] > 0
        chosen = torch.zeros_like(touches)
        step = min(step, side)
        rows, columns = (torch.arange(n, device=hole.device) for n in touches.shape)
        for i in (rows % step == 0, rows == len(rows) - 1):
            for j in (columns % step == 0, columns == len(columns) - 1):
                chosen |= i[:, None] & j
        at = (touches & chosen).flatten().nonzero().flatten()
        return cls._of(hole, side, window, at)

    @classmethod
    def _of(cls, x: Tensor, side: int, window: Window, at: Tensor) -> Self:
        size = (x.shape[-2], x.shape[-1])
        dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
        pixels = cls(size, side, at, torch.empty(0))._pixels()
        weight = _window(side, window, x.device).to(dtype).expand(len(at), -1)
        if window == "center":  # the patch of the largest weight has the pixel, or all of these
            best = weight.new_zeros(math.prod(size))
            best.scatter_reduce_(0, pixels.flatten(), weight.flatten(), "amax")
            weight = (weight == best[pixels]).to(dtype)
        total = weight.new_zeros(math.prod(size))
        total.index_add_(0, pixels.flatten(), weight.flatten())
        return cls(size, side, at, weight / total[pixels])

    def _pixels(self) -> Tensor:
        """Return the numbers of the pixels of each patch, ``(Q, side * side)``."""
        height, width = self.size
        i = torch.arange(self.side, device=self.at.device)
        wide = width - self.side + 1
        corner = self.at // wide * width + self.at % wide
        return corner[:, None] + (i[:, None] * width + i).flatten()

    def take(self, x: Tensor) -> Tensor:
        """Return the patches of an image ``(C, H, W)``, of shape ``(Q, C * side * side)``."""
        return x.flatten(1)[:, self._pixels()].transpose(0, 1).flatten(1)

    def put(self, patches: Tensor) -> Tensor:
        """Return the image ``(C, H, W)`` of patches ``(Q, C * side * side)``."""
        weighted = patches.reshape(len(patches), -1, self.side**2) * self.share[:, None]
        values = weighted.transpose(0, 1).flatten(1)
        image = values.new_zeros(len(values), math.prod(self.size))
        image = image.index_add(1, self._pixels().flatten(), values)
        return image.reshape(-1, *self.size)


def sample_structure(
    prior: PatchPrior,
    image: Tensor,
    hole: Tensor,
    noise: Noise | Sequence[int],
    *,
    steps: int = 25,
    levels: tuple[float, float] = (2.4, 0.04),
    tolerance: float = 0.08,
) -> Tensor:
    """Return fills of the hole of a small image, drawn by an ancestral chain of ``prior.given``.

    Arguments:
        prior: The patches.
        image: Of shape ``(C, H, W)``, in the units of the patches; the numbers below are for those
            of [-1, 1].
        hole: True or above 0 where the image is lost, ``(H, W)`` or ``(1, H, W)``.
        noise: A stream, or a seed, for each sample: it gets the same fill in any company.
        steps: Steps of the chain.
        levels: The first noise level, where nothing of a fill is decided, and the last.
        tolerance: Noise level of the known pixels.

    Returns:
        Images ``(S, C, H, W)``, one for each stream or seed; known pixels are those of ``image``.
    """
    first, last = levels
    check("steps", steps, int)
    if not 0 < last < first < math.inf:
        raise SettingError(f"levels of noise fall, and are above 0; got {first} and {last}")
    diffusion = GaussianDiffusion(Geometric(sigma_min=last, sigma_max=first))
    known = prior.with_diffusion(diffusion).given(image, hole, tolerance=tolerance, step=2)
    start = _flat(image.to(prior.like), _hole_of(hole, image).to(prior.like.device))
    if isinstance(noise, Noise):
        streams = [noise.rows([i]) for i in range(len(noise))]
    else:
        streams = [Noise(seed) for seed in noise]
    return torch.cat([_draw(known, start, stream, steps) for stream in streams])


def _flat(image: Tensor, lost: Tensor) -> Tensor:
    """Return an image ``(C, H, W)`` with the mean color of the known pixels in its hole."""
    mean = image.masked_fill(lost, 0).sum((1, 2)) / (~lost).sum()
    return torch.where(lost, mean[:, None, None], image)


@torch.no_grad()
def _draw(known: Prior, start: Tensor, noise: Noise, steps: int) -> Tensor:
    """Return one fill ``(1, C, H, W)`` of a chain that starts from an image with noise."""
    times = grid(known.diffusion.schedule, "logsnr", steps)
    x = known.diffusion.noise(start[None], times[0]).sample(noise)
    for t, s, _ in chain(times):
        x = known.kernel(x, t, s).sample(noise)
    return known(x, times[-1])


class _Again(torch.autograd.Function):
    """A function that keeps its rows, not its graph, and runs again on the way back.

    The first tensor of the rows has a gradient, and no other.
    """

    @staticmethod
    def forward(ctx: Any, mean: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        ctx.mean = mean
        ctx.save_for_backward(*rows)
        return mean(*rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        first, *others = ctx.saved_tensors
        with torch.enable_grad():
            leaf = first.detach().requires_grad_()
            out = ctx.mean(leaf, *others)
        return None, *torch.autograd.grad(out, leaf, grads), *(None for _ in others)


def _in_parts(mean: Callable[..., Tensor], count: int, *parts: Tensor) -> Tensor:
    """Return the means of patches, as many of them at a time as memory is meant for.

    With gradients each part runs again on the way back, so that their graphs are not kept.

    Arguments:
        mean: Takes rows of ``parts``, and returns the means of these patches.
        count: How many keys each patch is compared with.
        parts: Tensors ``(Q, *)``.
    """

    def exact(*rows: Tensor) -> Tensor:
        with torch.autocast(rows[0].device.type, enabled=False):  # distances are differences
            return mean(*rows)

    size = max(LEAST, AT_ONCE // count)
    chunks = list(zip(*(torch.split(part, size) for part in parts), strict=True))
    return torch.cat([_Again.apply(exact, *rows) for rows in chunks])


def _window(side: int, window: Window, device: torch.device) -> Tensor:
    """Return the weights of the pixels of a patch, ``(side * side,)``."""
    d = torch.arange(side, device=device) - (side - 1) / 2
    square = d[:, None] ** 2 + d**2
    if window == "flat":
        return torch.ones(side * side, device=device)
    return (-square / (2 * (side / 3) ** 2)).exp().flatten()


def _with_holes(
    images: Tensor | Sequence[Tensor], hole: Tensor | Sequence[Tensor | None] | None
) -> list[tuple[Tensor, Tensor]]:
    """Return each image ``(C, H, W)`` with its hole ``(1, H, W)``."""
    if isinstance(images, Tensor) and images.ndim == 3:
        images = [images]
        hole = [hole] if isinstance(hole, Tensor) and hole.ndim < 4 else hole
    holes = [None] * len(images) if hole is None else list(hole)
    if not len(images):
        raise ImageError("a prior of patches needs an image, and there is none")
    if len(holes) != len(images):
        raise ImageError(f"there are {len(holes)} holes for {len(images)} images; None is no hole")
    for image in images:
        if image.ndim != 3 or len(image) != len(images[0]) or not image.is_floating_point():
            raise ImageError(
                "images of patches are floats (C, H, W) of the same number of channels, got "
                f"{image.dtype} of shape {tuple(image.shape)}"
            )
    return [(x, _hole_of(h, x)) for x, h in zip(images, holes, strict=True)]


def _hole_of(hole: Tensor | None, image: Tensor) -> Tensor:
    """Return the hole of an image ``(C, H, W)`` as bools ``(1, H, W)``."""
    size = image.shape[-2:]
    if hole is None:
        return torch.zeros(1, *size, dtype=torch.bool, device=image.device)
    if tuple(hole.shape) not in (tuple(size), (1, *size)):
        raise ImageError(
            f"the hole of an image of {size[0]} x {size[1]} pixels has that shape, got "
            f"{tuple(hole.shape)}"
        )
    return (hole > 0).reshape(1, *size).to(image.device)


def _check_fits(side: int, shape: Sequence[int]) -> None:
    height, width = shape[-2:]
    if side > min(height, width):
        raise ImageError(
            f"a patch of {side} x {side} pixels does not fit into an image of {height} x {width}"
        )


def _patches(
    sources: Sequence[tuple[Tensor, Tensor]], side: int, symmetry: Symmetry, most: int
) -> Tensor:
    """Return the patches that are wholly known, ``(K, C, side, side)``, and their copies."""
    views, known = [], []
    for image, hole in sources:
        _check_fits(side, image.shape)
        views.append(image.unfold(1, side, 1).unfold(2, side, 1).permute(1, 2, 0, 3, 4))
        known.append((F.max_pool2d(hole.float(), side, stride=1)[0] == 0).nonzero())
    count = sum(map(len, known))
    if count == 0:
        raise ImageError(
            f"no patch of {side} x {side} pixels is wholly known: take smaller patches, or more "
            "of the image around the hole"
        )
    copies = {"none": 1, "mirrored": 2, "turned": 8}[symmetry]
    chosen = _chosen(count, max(1, most // copies))
    parts = []
    for view, at in zip(views, known, strict=True):
        here = at[chosen[: len(at)].to(at.device)]
        chosen = chosen[len(at) :]
        parts.append(view[here[:, 0], here[:, 1]])
    patches = torch.cat(parts)
    if not patches.isfinite().all():
        raise ImageError("a known pixel of an image of patches is not a finite number")
    return torch.cat(list(_copies(patches, symmetry)))


def _chosen(count: int, most: int) -> Tensor:
    """Return which of ``count`` patches are taken: all, or ``most`` of them at random."""
    chosen = torch.ones(count, dtype=torch.bool)
    if count > most:
        order = Noise(SEED).uniform(torch.empty(1, count))[0].argsort()
        chosen[order[most:]] = False
    return chosen


def _copies(patches: Tensor, symmetry: Symmetry) -> list[Tensor]:
    """Return patches ``(K, C, side, side)`` and their mirrored or turned copies."""
    mirrored = [patches] if symmetry == "none" else [patches, patches.flip(-1)]
    turns = 4 if symmetry == "turned" else 1
    return [x.rot90(turn, (-2, -1)) for x in mirrored for turn in range(turns)]
