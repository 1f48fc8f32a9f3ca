"""How close images are to the truth: one number for each image of a batch.

Images are tensors of shape ``(B, C, H, W)`` with values in [-1, 1]; results have shape ``(B,)``.
``frechet_distance`` alone compares two sets of images, by their features.
"""

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from .bands import bands, is_large
from .errors import MetricError

__all__ = [
    "MetricError",
    "coverage",
    "frechet_distance",
    "gradient_energy",
    "gradient_inner_product",
    "lpips",
    "patch_distance",
    "psnr",
    "seam",
    "ssim",
    "surroundings",
    "texture",
]

PATCH = 7  # pixels, the side of the patches of patch_distance
SCALES = 3  # of patch_distance, each with half the sides of the one before
DIRECTIONS = 256  # onto which patches are projected
FEWEST = 16  # patches of a scale that counts
MOST = 2**14  # patches of a region; of more, evenly spaced ones


def psnr(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the peak signal-to-noise ratio, 10 log10(4 / MSE), in dB; higher is closer.

    The peak is 2, the width of [-1, 1]. Values of ``x`` outside of that range are clipped first.
    The result is infinite where both images are equal.

    Arguments:
        x: Images to judge, of shape ``(B, C, H, W)``.
        truth: True images, of the same shape.
        mask: Pixels to compare, True or 1, of shape ``(B or 1, 1, H, W)``; default: all pixels.
    """
    if mask is None and is_large(x):
        return 10 * (4 / _mean_square_in_bands(x, truth)).log10()
    error = (x.clamp(-1, 1) - truth).square()
    weight = torch.ones_like(error) if mask is None else mask.to(error).expand_as(error)
    mse = (weight * error).flatten(1).sum(1) / weight.flatten(1).sum(1)
    return 10 * (4 / mse).log10()


def _mean_square_in_bands(x: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error of large images, each clipped to [-1, 1] first, ``(B,)``."""
    total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
    for rows in bands(x):
        error = (x[..., rows, :].clamp(-1, 1) - truth[..., rows, :]).square()
        total += error.flatten(1).sum(1)
    return total / x[0].numel()


def ssim(x: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the mean structural similarity, at most 1; higher is closer.

    Local similarities are computed with a Gaussian window of standard deviation 1.5 and population
    covariances, and averaged over the channels and the pixels. "Image Quality Assessment: From
    Error Visibility to Structural Similarity" (Wang et al., 2004),
    https://doi.org/10.1109/TIP.2003.819861.

    Arguments:
        x: Images to judge, of shape ``(B, C, H, W)``; values are clipped to [-1, 1].
        truth: True images, of the same shape.
        mask: Pixels whose local similarities count, of shape ``(B or 1, 1, H, W)``; default: all.
    """
    from skimage.metrics import structural_similarity

    values = []
    for i, (a, b) in enumerate(zip((x.clamp(-1, 1) + 1) / 2, (truth + 1) / 2, strict=True)):
        _, full = structural_similarity(
            a.double().cpu().numpy(),
            b.double().cpu().numpy(),
            channel_axis=0,
            data_range=1,
            full=True,
            gaussian_weights=True,
            use_sample_covariance=False,
        )
        similarity = torch.from_numpy(full).mean(0)
        if mask is not None:
            similarity = similarity[mask.expand(len(x), 1, *similarity.shape)[i, 0] > 0]
        values.append(similarity.mean())
    return torch.stack(values)


def lpips(x: Tensor, truth: Tensor) -> Tensor:
    """Return LPIPS, the perceptual distance of version 0.1 with VGG-16, from 0 up; lower is closer.

    "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (Zhang et al., 2018),
    https://arxiv.org/abs/1801.03924.

    Arguments:
        x: Images to judge, of shape ``(B, 3, H, W)``; values are clipped to [-1, 1].
        truth: True images, of the same shape.

    Raises:
        MetricError: If the weights of VGG-16 are not on disk and cannot be downloaded.
    """
    model = _lpips_network()
    with torch.no_grad():
        distance: Tensor = model(x.clamp(-1, 1), truth)
    return distance.reshape(-1)


@cache
def _lpips_network() -> Any:
    """Return the network of LPIPS. It is loaded once; a failure is not remembered."""
    import lpips as package

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # lpips calls torchvision in an old style
            return package.LPIPS(net="vgg", verbose=False).eval()
    except OSError as error:
        raise MetricError(f"LPIPS needs the weights of torchvision's VGG-16: {error}") from error


def coverage(samples: Tensor, truth: Tensor, level: float = 0.9) -> Tensor:
    """Return the share of entries whose truth lies in the central interval of the samples.

    The interval runs from the (1 - level) / 2 to the (1 + level) / 2 quantile of each entry.
    Samples of the exact posterior cover ``level`` of the entries on average.

    Arguments:
        samples: Posterior samples, of shape ``(n, B, *shape)``.
        truth: True states, of shape ``(B, *shape)``.
        level: Probability mass of the interval, in (0, 1).

    Returns:
        Shares in [0, 1], of shape ``(B,)``.
    """
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=samples.dtype)
    low, high = torch.quantile(samples, tails.to(samples.device), dim=0)
    inside: Tensor = (truth >= low) & (truth <= high)
    return inside.reshape(len(truth), -1).float().mean(1)


def frechet_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return the Frechet distance of two sets of features, from 0 up, without axes, in float64.

    It is |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) of their means and covariances, the
    squared Wasserstein distance of two Gaussians. Few features lie far apart even if both sets are
    of one law: compare distances of sets of one size, of several times as many rows as features.
    "GANs Trained by a Two Time-Scale Update Rule" (Heusel et al., 2017),
    https://arxiv.org/abs/1706.08500.

    Arguments:
        a: Features, of shape ``(N, D)`` with N > 1.
        b: Features, of shape ``(M, D)`` with M > 1.
    """
    a, b = (x.detach().to("cpu", torch.float64) for x in (a, b))
    shift = a.mean(0) - b.mean(0)
    centered = [(x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b)]
    # with C = X^T X, the eigenvalues of C_a C_b are the squared singular values of X_a X_b^T; X can
    # be replaced by the R of its QR decomposition
    roots = [torch.linalg.qr(x, mode="r").R for x in centered]
    overlap = torch.linalg.svdvals(roots[0] @ roots[1].mT).sum()
    traces = [x.square().sum() for x in centered]
    distance: Tensor = shift.square().sum() + traces[0] + traces[1] - 2 * overlap
    return distance.clamp_min(0)


def gradient_energy(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean squared difference of neighboring pixels, a measure of texture.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``.
        mask: Region to measure, of shape ``(B or 1, 1, H, W)``. A pair of neighbors counts if both
            pixels lie in the region.
    """
    return gradient_inner_product(x, x, mask)


def gradient_inner_product(
    u: Tensor,
    v: Tensor,
    mask: Tensor,
    join: Callable[[Tensor, Tensor], Tensor] = torch.mul,
) -> Tensor:
    """Return the mean of (u_i - u_j)(v_i - v_j) over horizontal and vertical neighbors i, j.

    The result is NaN where the mask holds no pair of neighbors.

    Arguments:
        u: Images, of shape ``(B, C, H, W)``.
        v: Images, of the same shape.
        mask: Region to measure, 1 inside and 0 outside, of shape ``(B or 1, 1, H, W)``.
        join: Combines the masks of two neighbors to the weight of the pair. By default both pixels
            must lie in the region; with ``torch.maximum`` one is enough.
    """
    m = mask.to(u).expand(len(u), 1, *u.shape[-2:])
    total = u.new_zeros(len(u))
    count = u.new_zeros(len(u))
    for axis in (2, 3):
        n = u.shape[axis] - 1
        pairs = join(m.narrow(axis, 0, n), m.narrow(axis, 1, n))
        total += (pairs * u.diff(dim=axis) * v.diff(dim=axis)).flatten(1).sum(1)
        count += pairs.flatten(1).sum(1) * u.shape[1]
    return total / count


def patch_distance(
    x: Tensor, truth: Tensor, mask: Tensor, truth_mask: Tensor | None = None
) -> Tensor:
    """Return how far the patches of a region are from those of the truth, from 0 up.

    It is the sliced Wasserstein distance of patches of 7 x 7 pixels without their mean color, in
    hundredths of the range of values, averaged over three scales. It sees texture and edges but not
    where they are: a fill that looks like its surroundings is at a small distance, and a smooth one
    at a large one, even if the smooth one has the higher PSNR. "Wasserstein Barycenter and Its
    Application to Texture Mixing" (Rabin et al., 2011),
    https://doi.org/10.1007/978-3-642-24785-9_37.

    A region that has fewer than 16 patches at every scale has no distance, NaN.

    Arguments:
        x: Images to judge, of shape ``(B, C, H, W)``.
        truth: Images to compare with, of the same shape.
        mask: Pixels of ``x`` at the centers of its patches, of shape ``(B or 1, 1, H, W)``.
        truth_mask: The same for ``truth``; default: ``mask``.
    """
    masks = _each(mask, x)
    others = masks if truth_mask is None else _each(truth_mask, x)
    rows = zip(x, masks, truth, others, strict=True)
    return torch.stack([_patch_distance((a, m), (b, n)) for a, m, b, n in rows])


def _patch_distance(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> Tensor:
    """Return the distance of two images ``(C, H, W)``, each with its mask ``(1, H, W)``."""
    channels = len(ours[0])
    generator = torch.Generator().manual_seed(0)
    shape = (SCALES, channels * PATCH**2, DIRECTIONS)
    directions = torch.randn(shape, generator=generator).to(ours[0])
    distances = []
    for scale, d in enumerate(directions / directions.norm(dim=1, keepdim=True)):
        a, b = (_details(image, mask, 2**scale) for image, mask in (ours, theirs))
        if min(len(a), len(b)) >= FEWEST:
            distances.append(_wasserstein(d.T @ a.T, d.T @ b.T).mean() * 50)  # the range is 2
    return torch.stack(distances).mean() if distances else ours[0].new_tensor(torch.nan)


def _details(image: Tensor, mask: Tensor, factor: int) -> Tensor:
    """Return the patches around the pixels of a mask without their means, ``(n, C * 49)``."""
    small = avg_pool2d(image, factor)
    inside = avg_pool2d(mask.to(image), factor)[0] > 0.9
    if min(small.shape[1:]) < PATCH:
        return small.new_empty(0, len(image) * PATCH**2)
    r = PATCH // 2
    windows = small.unfold(1, PATCH, 1).unfold(2, PATCH, 1)
    places = inside[r:-r, r:-r].nonzero()
    if len(places) > MOST:
        places = places[torch.linspace(0, len(places) - 1, MOST).round().long().to(places.device)]
    patches = windows[:, *places.T].transpose(0, 1)
    return (patches - patches.mean((2, 3), keepdim=True)).flatten(1)


def _wasserstein(a: Tensor, b: Tensor) -> Tensor:
    """Return the distances between the values of each row, of shapes ``(k, n)`` and ``(k, m)``.

    The quantile functions are steps at multiples of 1 / n and 1 / m, here of m and n in units of
    1 / (n m), which are whole numbers.
    """
    n, m = a.shape[1], b.shape[1]
    steps = (torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n)
    ends = torch.cat(steps).sort().values.to(a.device)
    widths = ends.diff(prepend=ends.new_zeros(1)).to(a) / (n * m)
    a, b = a.sort(1).values, b.sort(1).values
    gaps = a[:, (ends - 1) // m] - b[:, (ends - 1) // n]
    distances: Tensor = gaps.abs() @ widths
    return distances


def surroundings(mask: Tensor) -> Tensor:
    """Return the known pixels round the holes of a mask, no farther away than the hole is deep.

    The depth of a hole is twice the largest distance of its pixels to a known one. Where a hole has
    no truth, its fill can be compared with these pixels: see ``patch_distance``.

    Arguments:
        mask: Holes, True or 1, of shape ``(B, 1, H, W)``.
    """
    inside, outside = _distances(mask)
    depth = 2 * inside.amax((1, 2, 3), keepdim=True)
    return (outside > 0) & (outside <= depth)


def seam(x: Tensor, mask: Tensor) -> Tensor:
    """Return how much the border of a hole stands out: about 1 where nothing can be seen.

    It is the mean length of the gradient in the two lines of pixels along the border, divided by
    the mean 3 to 8 pixels away from it, on both sides. Images have borders of objects too: compare
    with the seam of the true image, by the logarithm of their ratio.

    Arguments:
        x: Images, of shape ``(B, C, H, W)``; the gradient is that of the mean of their channels.
        mask: Holes, True or 1, of shape ``(B or 1, 1, H, W)``.
    """
    gray = x.mean(1, keepdim=True)
    across, down = (pad(gray.diff(dim=axis), end) for axis, end in ((3, (0, 1)), (2, (0, 0, 0, 1))))
    length = torch.hypot(across, down)
    inside, outside = _distances(_each(mask, x))
    distance = (inside + outside).to(x)
    means = []
    for region in (distance <= 1, (distance > 3) & (distance <= 8)):
        means.append((region * length).sum((1, 2, 3)) / region.sum((1, 2, 3)))
    return means[0] / means[1]


def texture(x: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Return the energy of the gradients in a hole, divided by that of the truth; 1 is as much.

    The two lines of pixels along the border of the hole do not count, so that a seam is no texture.

    Arguments:
        x: Images to judge, of shape ``(B, C, H, W)``.
        truth: True images, of the same shape.
        mask: Holes, True or 1, of shape ``(B or 1, 1, H, W)``.
    """
    inner = _distances(mask)[0] > 2
    return gradient_energy(x, inner) / gradient_energy(truth, inner)


def _each(mask: Tensor, x: Tensor) -> Tensor:
    return mask.expand(len(x), 1, *x.shape[-2:])


def _distances(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distances of lost pixels to known ones, and of known ones to lost ones.

    The border of the image is no border of a hole. Where all pixels are alike there is no distance;
    it is infinite.
    """
    import cv2
    import numpy as np

    def distances(plane: Tensor) -> Tensor:
        if plane.all():
            return torch.full(plane.shape, torch.inf)
        found = cv2.distanceTransform(
            plane.numpy().astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        return torch.from_numpy(found)

    sides = []
    for side in (mask > 0, mask <= 0):
        found = [distances(plane) for plane in side.flatten(0, 1).cpu()]
        sides.append(torch.stack(found).reshape(mask.shape).to(mask.device))
    return sides[0], sides[1]
