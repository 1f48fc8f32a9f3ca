"""Other images of a scene, laid over an image: where they show what its hole hides.

A reference is found in two steps. ``locate`` looks at the whole images, both reduced: points that
look alike in both (SIFT, Lowe 2004) say how one lies over the other, if enough of them agree
(RANSAC). ``overlay`` looks at the surroundings of one hole, in full size: the place is refined
there ("Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization", Evangelidis
and Psarakis, 2008), and the colors are fitted. What is laid over the hole counts only if the known
pixels around it agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..classical.islands import Island, islands
from .blend import paste
from .levels import distance, nearest

__all__ = ["REDUCED", "Reference", "Shown", "has_alike", "locate", "reduced", "show"]

Array = NDArray[Any]

REDUCED = 1024  # px; the longer side of an image in which points are looked for
POINTS = 4000  # of an image, at the most
UNLIKE = 0.8  # of the distance to the second best point, up to which the best one counts
NEAR = 3.0  # px between where a point is and where it should be
AGREEING = 12  # points at the least
SHARE = 0.25  # of the pairs of points
STRETCH = (0.5, 2.0)  # of areas, that another shot of a scene may have

APART = 16  # px; holes nearer to each other are looked at together
SPARE = (48, 0.75)  # px, and sides of a hole: what is looked at around it
MATCHED = 256  # px; the longer side of surroundings that are searched for
REFINED = 640  # px; the same of surroundings whose place is refined
SMOOTHED = 5  # px; the side of the blur of what is refined
PASSES = 100  # of the refinement
RIM = (12, 0.25)  # px, and sides of a hole: the known pixels that must agree
LEAST_RIM = 32  # of these pixels
DETAIL = 8.0  # px; what is coarser says nothing about the place
LIKE = (0.65, 0.85)  # least correlation of the details where points agreed, and where none did
FLAT = 0.02  # [0, 1]; deviation of details under which there may be none, and an error that is fine
LEVEL = 0.5 / 255  # deviation of details under which there are none, since values are rounded
WRONG = (4.0, 0.1)  # times the usual error, and at least: what stands there is something else
BLUR = 2.5  # px; of errors, since a single pixel is no thing
USUAL = 0.4  # of the errors are less than it
LEAST_RIGHT = 0.3  # of the rim
SIMPLER = 1.05  # times the error that a simpler explanation may have
ONE_PLACE = 0.75  # px; of shifts, that are one by whole pixels
GAIN = (0.5, 2.0)

PATCH = 7  # px; side of the patches that are looked for
ASKED, OFFERED = 300, 4000  # of these, around a hole and in an image, at the most
AS_NEAR = 1.3  # times the distance to the nearest patch of the image itself


@dataclass(frozen=True, eq=False)
class Reference:
    """Another image, and where it shows the place of each pixel.

    Attributes:
        image: Values of about [0, 1], ``(C, h, w)``.
        place: Takes column, row and 1 of a pixel to those of its place there, ``(3, 3)``.
        found: Whether points that look alike say so; if not, the two images are of one view at
            most.
    """

    image: Tensor
    place: Array
    found: bool

    def seen_from(self, top: int, left: int) -> "Reference":
        """Return this for the part of the image that begins at a row and a column."""
        return replace(self, place=self.place @ _shift(left, top))

    def middle(self, row: float, column: float) -> tuple[float, float]:
        """Return row and column of the place of a pixel."""
        x, y, depth = self.place @ (column, row, 1.0)
        return float(y / depth), float(x / depth)


class Shown(NamedTuple):
    """What references show of the holes of an image.

    Attributes:
        image: The image with these holes filled, ``(C, H, W)``.
        filled: Where, ``(H, W)``.
    """

    image: Tensor
    filled: Tensor


class _Overlay(NamedTuple):
    """A reference laid over a part of an image.

    Attributes:
        image: Its values, ``(C, h, w)``.
        trusted: Where it shows what belongs there, ``(h, w)``.
        error: Of the known pixels around the hole, root of the mean square.
    """

    image: Tensor
    trusted: Tensor
    error: float


def reduced(image: Tensor) -> Tensor:
    """Return an image ``(C, H, W)`` in the size that ``locate`` looks at, or as it is."""
    scale = REDUCED / max(image.shape[-2:])
    if scale >= 1:
        return image
    size = [max(1, round(scale * n)) for n in image.shape[-2:]]
    return F.interpolate(image[None], size, mode="area")[0]


def locate(
    image: Tensor, hole: Tensor, reference: Tensor, size: Sequence[int] | None = None
) -> Reference:
    """Return a reference with its place; where none is found, the two are taken for one view.

    Arguments:
        image: Values of about [0, 1], ``(C, h, w)``.
        hole: True where they do not count, ``(h, w)``.
        reference: Another one, ``(C, H, W)``.
        size: Height and width of the whole image, where the given one is reduced.
    """
    size = image.shape[-2:] if size is None else size
    own, other = reduced(image), reduced(reference)
    lost = reduced(hole.float()[None])[0] > 0
    found = _agreed(_points(own, ~lost), _points(other, None))
    if found is None:
        return Reference(reference, _sized(size, reference.shape[-2:]), False)
    small, there = _sized(own.shape[-2:], size), _sized(other.shape[-2:], reference.shape[-2:])
    place = there @ found @ np.linalg.inv(small)
    return Reference(reference, place / place[2, 2], True)


def show(image: Tensor, hole: Tensor, known: Tensor, references: Sequence[Reference]) -> Shown:
    """Return an image with the holes filled that references show.

    Arguments:
        image: Values of about [0, 1], ``(C, H, W)``.
        hole: True where to fill, ``(H, W)``.
        known: True where the image shows something, ``(H, W)``.
        references: Where several show the same, the one that agrees best with what is around the
            hole. Of three or more, one that shows something else than two others is not taken.
    """
    out, filled = image.clone(), torch.zeros_like(hole)
    for island in islands(hole, APART) if references else []:
        box = _around(island, hole.shape)
        part = (slice(None), *box)
        lost = torch.zeros_like(hole)
        lost[island.rows, island.columns] = island.hole
        lost, there = lost[box], known[box] & ~hole[box]
        moved = [r.seen_from(box[0].start, box[1].start) for r in references]
        found = [x for r in moved if (x := _overlay(out[part], lost, there, r)) is not None]
        for overlay in sorted(_supported(found), key=lambda each: each.error):
            taken = lost & overlay.trusted
            out[part] = paste(out[part], overlay.image, taken, there & overlay.trusted)
            filled[box] |= taken
            lost, there = lost & ~taken, there | taken
    return Shown(out, filled)


def _supported(overlays: Sequence[_Overlay]) -> list[_Overlay]:
    """Return overlays that are not trusted where they are alone, and others agree.

    What stands in the way in one image only is seen nowhere else.
    """
    if len(overlays) < 3:
        return list(overlays)
    votes = []
    for own in overlays:
        others = [other for other in overlays if other is not own]
        votes.append(sum((_alike(own, other) & own.trusted).int() for other in others))
    counts = torch.stack([torch.as_tensor(each) for each in votes])
    agreed = counts.amax(0) > 0
    return [
        each._replace(trusted=each.trusted & ((count > 0) | ~agreed))
        for each, count in zip(overlays, counts, strict=True)
    ]


def _alike(first: _Overlay, second: _Overlay) -> Tensor:
    """Return where two overlays show the same, ``(h, w)``."""
    both = first.trusted & second.trusted
    return both & ((first.image - second.image).abs().amax(0) <= WRONG[1])


def has_alike(image: Tensor, hole: Tensor, known: Tensor, reference: Tensor) -> bool:
    """Return whether another image has what is around a hole as much as the image itself has.

    It has, if half or more of the patches around the hole have one there that is about as near as
    the nearest elsewhere in the image. Patches of other images make a fill worse.

    Arguments:
        image, reference: Values of about [0, 1], ``(C, H, W)`` and ``(C, h, w)``.
        hole, known: True where to fill, and where something is seen, ``(H, W)``.
    """
    if min(*image.shape[1:], *reference.shape[1:]) < 2 * PATCH:
        return False
    away = distance(~hole)
    whole = -F.max_pool2d(-known[None].float(), PATCH, 1, PATCH // 2)[0] > 0
    asked = _some(whole & (away <= RIM[0] + PATCH), ASKED)
    offered = _some(whole, OFFERED)
    if not len(asked):
        return False
    own, mine = _patches(image, asked), _patches(image, offered)
    inner = torch.zeros(reference.shape[1:], dtype=torch.bool)
    inner[PATCH // 2 : -(PATCH // 2), PATCH // 2 : -(PATCH // 2)] = True
    others = _patches(reference, _some(inner, OFFERED))
    apart = (asked[:, None] - offered).abs().amax(2) < PATCH
    near = torch.cdist(own, mine).masked_fill(apart, torch.inf).amin(1)
    return bool((torch.cdist(own, others).amin(1) <= AS_NEAR * near).float().mean() >= 0.5)


def _some(where: Tensor, most: int) -> Tensor:
    """Return rows and columns of so many pixels of an area ``(H, W)`` at the most, ``(N, 2)``."""
    at = where.nonzero()
    return at[torch.linspace(0, len(at) - 1, min(most, len(at))).round().long()]


def _patches(image: Tensor, at: Tensor) -> Tensor:
    """Return the patches with their middles at rows and columns ``(N, 2)``, ``(N, D)``."""
    padded = F.pad(image[None], (PATCH // 2,) * 4, mode="replicate")[0]
    windows = padded.unfold(1, PATCH, 1).unfold(2, PATCH, 1)
    return windows[:, at[:, 0], at[:, 1]].movedim(0, 1).flatten(1)


def _around(island: Island, size: Sequence[int]) -> tuple[slice, slice]:
    """Return the rows and columns of an island and its surroundings."""
    longest = max(island.hole.shape)
    spare = max(SPARE[0], round(SPARE[1] * longest))
    spans = zip((island.rows, island.columns), size, strict=True)
    rows, columns = (slice(max(0, s.start - spare), min(n, s.stop + spare)) for s, n in spans)
    return rows, columns


def _overlay(image: Tensor, hole: Tensor, known: Tensor, reference: Reference) -> _Overlay | None:
    """Return a reference as it lies over a part of an image; None if it does not fit in there."""
    part = _Part(image, hole, known)
    if len(part.rim) < LEAST_RIM:
        return None
    shifted = part.searched(reference)
    first = part.fitted([reference, shifted]) if reference.found else None
    return first or part.fitted([replace(shifted, found=False)])


class _Part:
    """A part of an image around a hole.

    Attributes:
        image: Values ``(C, h, w)``.
        hole, known: True where to fill, and where something is seen, ``(h, w)``.
        rim: The known pixels that must agree, as ``(N, 2)``.
    """

    def __init__(self, image: Tensor, hole: Tensor, known: Tensor) -> None:
        self.image, self.hole, self.known = image, hole, known
        self.gray = _gray(image)
        width = max(RIM[0], RIM[1] * max(Island.of(hole).hole.shape))
        self.near = known & (distance(~hole) <= width)
        self.rim = self.near.nonzero()

    def fitted(self, places: Sequence[Reference]) -> _Overlay | None:
        """Return the overlay of a reference; None if it does not fit.

        Arguments:
            places: The reference at places of which one is about right; the first is refined.
        """
        refined = self._refined(places[0])
        whole = [_in_whole_pixels(r, self.hole.shape) for r in (*places, refined)]
        tried = [self._laid(r) for r in (*whole, refined) if r is not None]
        found = [each for each in tried if each is not None]
        if not found:
            return None
        least = min(each.error for each in found)
        best = next(each for each in found if each.error <= SIMPLER * least + 1e-6)
        return best if self._agrees(best, places[0].found) else None

    def searched(self, reference: Reference) -> Reference:
        """Return a reference at the shift, by whole pixels, at which the surroundings fit best."""
        import cv2

        scale = min(1.0, MATCHED / max(self.hole.shape))
        size = [max(1, round(scale * n)) for n in self.hole.shape]
        own = _resized(self.gray, size)
        mask = (_resized(self.known.numpy().astype(np.float32), size) > 0.99).astype(np.float32)
        there = [max(1, round(scale * n)) for n in reference.image.shape[-2:]]
        other = _resized(_gray(reference.image), there)
        spare = max(size) // 2
        around = cv2.copyMakeBorder(other, *(spare,) * 4, cv2.BORDER_REPLICATE)
        if mask.sum() < LEAST_RIM or any(a < b for a, b in zip(around.shape, size, strict=True)):
            return reference
        fit = cv2.matchTemplate(around, own, cv2.TM_CCOEFF_NORMED, mask=mask)
        fit = np.where(np.isfinite(fit), fit, -1)
        row, column = np.unravel_index(int(fit.argmax()), fit.shape)
        shift = _shift(round((column - spare) / scale), round((row - spare) / scale))
        return replace(reference, place=shift)

    def _refined(self, reference: Reference) -> Reference:
        """Return a reference with the place at which its gray values correlate best."""
        import cv2

        scale = min(1.0, REFINED / max(self.hole.shape))
        size = [max(1, round(scale * n)) for n in self.hole.shape]
        laid, valid = _warped(reference, self.hole.shape)
        if not valid.any():
            return reference
        other = _resized(laid.mean(0), size)
        both = (self.known & valid).numpy()
        own = _resized(np.where(both, self.gray, laid.mean(0)), size)
        usable = (_resized(both.astype(np.float32), size) > 0.99).astype(np.uint8)
        usable = cv2.erode(usable, np.ones((SMOOTHED + 2, SMOOTHED + 2), np.uint8))
        change = np.eye(2, 3, dtype=np.float32)
        ends = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, PASSES, 1e-6)
        try:
            _, change = cv2.findTransformECC(
                other, own, change, cv2.MOTION_AFFINE, ends, usable, SMOOTHED
            )
        except cv2.error:  # it does not converge, or nothing is usable
            return reference
        full = _sized(size, self.hole.shape)
        there = full @ np.vstack([change, [0, 0, 1]]) @ np.linalg.inv(full)
        return replace(reference, place=reference.place @ np.linalg.inv(there))

    def _laid(self, reference: Reference) -> _Overlay | None:
        """Return a reference at its place, in the colors of this part, and where it is right."""
        values, valid = _warped(reference, self.hole.shape)
        both = self.known & valid
        if int((self.near & valid).sum()) < LEAST_RIM:
            return None
        laid = torch.from_numpy(values).to(self.image)
        laid = _colored(laid, self.image, both)
        wrong = self._wrong(laid, self.near & valid)
        trusted = valid
        if wrong.any():
            at = nearest(self.near)
            trusted = valid & ~wrong[at[..., 0], at[..., 1]]
        counted = self.near & valid & ~wrong
        if (
            int(counted.sum()) < max(LEAST_RIM, LEAST_RIGHT * len(self.rim))
            or not (trusted & self.hole).any()
        ):
            return None
        error = float((laid - self.image)[:, counted].square().mean().sqrt())
        return _Overlay(laid, trusted, error)

    def _wrong(self, laid: Tensor, near: Tensor) -> Tensor:
        """Return the known pixels around the hole at which something else stands, ``(h, w)``."""
        unlike = (laid - self.image).abs().amax(0)
        around = _blurred(unlike, near, BLUR)
        most = max(WRONG[0] * float(np.quantile(around[near].numpy(), USUAL)), WRONG[1])
        return near & (around > most)

    def _agrees(self, overlay: _Overlay, found: bool) -> bool:
        """Return whether an overlay has the details that are known around the hole.

        Arguments:
            found: Whether the place is right; then it may also be that there are no details.
        """
        near = self.near & overlay.trusted
        counted = self.known & overlay.trusted
        gray = torch.from_numpy(self.gray), torch.from_numpy(_gray(overlay.image))
        details = torch.stack([(x - _blurred(x, counted, DETAIL))[near] for x in gray])
        most = float(details.std(1).max())
        if most > LEVEL and float(torch.corrcoef(details)[0, 1]) > LIKE[not found]:
            return True
        return found and most < FLAT and overlay.error < FLAT


def _in_whole_pixels(reference: Reference, size: Sequence[int]) -> Reference | None:
    """Return the reference moved by whole pixels, if it lies nearly so over a part of this size."""
    height, width = size
    corners = np.array([(x, y, 1.0) for x in (0, width - 1) for y in (0, height - 1)]).T
    there = reference.place @ corners
    moves = (there[:2] / there[2] - corners[:2]).T
    move = moves.mean(0).round()
    if np.abs(moves - move).max() > ONE_PLACE:
        return None
    return replace(reference, place=_shift(*move))


def _warped(reference: Reference, size: Sequence[int]) -> tuple[Array, Tensor]:
    """Return a reference at its place, ``(C, *size)``, and where it is seen, ``size``."""
    import cv2

    height, width = size
    if abs(np.linalg.det(reference.place[:2, :2])) < 1e-6:
        return np.zeros((len(reference.image), *size), np.float32), torch.zeros(*size) > 0
    corners = np.array([(x, y, 1.0) for x in (0, width - 1) for y in (0, height - 1)]).T
    there = reference.place @ corners
    there = there[:2] / there[2]
    ends = reference.image.shape[2], reference.image.shape[1]
    low = [int(np.clip(np.floor(v.min()) - 4, 0, n - 1)) for v, n in zip(there, ends, strict=True)]
    high = [int(np.clip(np.ceil(v.max()) + 5, 1, n)) for v, n in zip(there, ends, strict=True)]
    spans = [slice(a, max(b, a + 1)) for a, b in zip(low, high, strict=True)]
    part = reference.image[:, spans[1], spans[0]].movedim(0, -1).contiguous().numpy()
    place = _shift(-spans[0].start, -spans[1].start) @ reference.place
    shift = place - np.eye(3)
    exact = np.array_equal(shift, np.triu(shift, 1)) and np.array_equal(place, place.round())
    flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if exact else cv2.INTER_LANCZOS4)
    values = cv2.warpPerspective(part, place, (width, height), flags=flags)
    seen = np.ones(part.shape[:2], np.float32)
    shown = cv2.warpPerspective(
        seen, place, (width, height), flags=cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    )
    valid = shown > 0.999
    if not exact:  # the interpolation reads some pixels more
        framed = np.pad(valid.astype(np.uint8), 1, mode="edge")
        valid = cv2.erode(framed, np.ones((5, 5), np.uint8))[1:-1, 1:-1] > 0
    values = values.reshape(height, width, -1).transpose(2, 0, 1)
    return np.clip(values, 0, 1), torch.from_numpy(valid)


def _colored(laid: Tensor, image: Tensor, both: Tensor) -> Tensor:
    """Return an overlay with the gain and the offset of each color that fit an image best.

    Pixels at which something else stands do not count; if the colors fit as they are, they stay.
    """
    first, second = laid[:, both], image[:, both]
    good = torch.ones(first.shape[1], dtype=torch.bool)
    gain, offset = torch.ones(len(laid), 1), torch.zeros(len(laid), 1)
    for _ in range(3):
        x, y = first[:, good].double(), second[:, good].double()
        middle = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
        spread = (x - middle[0]).square().sum(1, keepdim=True)
        gain = ((x - middle[0]) * (y - middle[1])).sum(1, keepdim=True) / spread.clamp_min(1e-9)
        gain = torch.where(spread < 1e-6, 1.0, gain).clamp(*GAIN)
        offset = middle[1] - gain * middle[0]
        unlike = (gain * first + offset - second).abs().mean(0)
        good = unlike <= max(3 * float(unlike.median()), 1e-6)
    fitted = (gain * first + offset - second)[:, good].square().mean().sqrt()
    plain = (first - second)[:, good].square().mean().sqrt()
    if plain <= SIMPLER * fitted + 1e-6:
        return laid
    return (gain[:, :, None] * laid + offset[:, :, None]).to(laid).clamp(0, 1)


class _Points(NamedTuple):
    """Points of an image, ``(N, 2)`` as column and row, and what is around each, ``(N, 128)``."""

    at: Array
    looks: Array


def _points(image: Tensor, known: Tensor | None) -> _Points:
    """Return the points of an image ``(C, H, W)``, or of the known part of it."""
    import cv2

    plane = (255 * np.clip(_gray(image), 0, 1)).round().astype(np.uint8)
    mask = None if known is None else known.numpy().astype(np.uint8) * 255
    found, looks = cv2.SIFT.create(nfeatures=POINTS).detectAndCompute(plane, mask)
    if looks is None:
        return _Points(np.zeros((0, 2)), np.zeros((0, 128), np.float32))
    return _Points(np.array([point.pt for point in found]), looks)


def _agreed(own: _Points, other: _Points) -> Array | None:
    """Return the homography ``(3, 3)`` from own points to those of another; None if none agrees."""
    import cv2

    if min(len(own.at), len(other.at)) < AGREEING:
        return None
    pairs = cv2.BFMatcher(cv2.NORM_L2).knnMatch(own.looks, other.looks, k=2)
    good = [first for first, second in pairs if first.distance < UNLIKE * second.distance]
    if len(good) < AGREEING:
        return None
    first = own.at[[m.queryIdx for m in good]]
    second = other.at[[m.trainIdx for m in good]]
    cv2.setRNGSeed(0)
    found, inliers = cv2.findHomography(first, second, cv2.USAC_MAGSAC, NEAR, None, 5000, 0.999)
    if found is None or int(inliers.sum()) < max(AGREEING, SHARE * len(good)):
        return None
    plain, also = cv2.estimateAffinePartial2D(
        first, second, None, cv2.RANSAC, NEAR, 5000, 0.999
    )  # turned, scaled and moved: four numbers, which few points tell well
    if plain is not None and int(also.sum()) >= inliers.sum() / SIMPLER:
        found, inliers = np.vstack([plain, [0, 0, 1]]), also
    middle = np.append(first[inliers[:, 0] > 0].mean(0), 1.0)
    depth = float(found[2] @ middle)
    stretch = float(np.linalg.det(found)) / depth**3
    return found if STRETCH[0] < stretch < STRETCH[1] else None


def _gray(image: Tensor) -> Array:
    """Return the mean of the channels, float32 ``(H, W)``."""
    return image.float().mean(0).contiguous().numpy()


def _resized(plane: Array, size: Sequence[int]) -> Array:
    import cv2

    if plane.shape == tuple(size):
        return plane
    return np.asarray(cv2.resize(plane, (size[1], size[0]), interpolation=cv2.INTER_AREA))


def _blurred(plane: Tensor, counted: Tensor, width: float) -> Tensor:
    """Return the mean around each pixel ``(H, W)`` of those that count; 0 where none does."""
    import cv2

    weight = counted.numpy().astype(np.float32)
    total = np.where(counted.numpy(), plane.numpy(), 0).astype(np.float32)
    mean, share = (cv2.GaussianBlur(x, (0, 0), width) for x in (total, weight))
    return torch.from_numpy(mean / np.maximum(share, 1e-6))


def _shift(x: float, y: float) -> Array:
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _sized(first: Sequence[int], second: Sequence[int]) -> Array:
    """Return what takes a pixel of an image of one size to that of the same one in another size."""
    y, x = (n / m for n, m in zip(second, first, strict=True))
    return np.array([[x, 0.0, (x - 1) / 2], [0.0, y, (y - 1) / 2], [0.0, 0.0, 1.0]])
