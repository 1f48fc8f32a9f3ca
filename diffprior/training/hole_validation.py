"""Validation of a network in training by an inpainting task."""

from collections.abc import Sequence

import torch

import diffprior

from .. import metrics
from ..operators.generators.masks import draw
from ..priors.network import NetworkPrior
from .image_files import Image

__all__ = ["HoleValidation"]


class HoleValidation:
    """The PSNR of the default inpainting of half the pixels of held-out images.

    Arguments:
        images: Held-out images, of shape ``(H, W, 3)``; those smaller than ``side`` are skipped.
        count: Number of images to use.
        device: Device of the prior.
        side: Side of the crop of each image, in pixels.
    """

    def __init__(self, images: Sequence[Image], count: int, device: str, side: int = 256) -> None:
        self.device = device
        large = [x for x in images if min(x.shape[:2]) >= side]
        crops = [torch.from_numpy(x[:side, :side].copy()) for x in large[:count]]
        self.truth = torch.stack(crops).movedim(-1, 1) / 255 if crops else None
        holes = [draw("pixels50", side, side, i) for i in range(len(crops))]
        self.hole = torch.stack(holes) if holes else None

    def __call__(self, prior: NetworkPrior) -> dict[str, float]:
        """Return the PSNR in the holes, in dB, as ``hole``; nothing if there is no image."""
        if self.truth is None or self.hole is None:
            return {}
        held = prior.to(self.device)
        filled = diffprior.inpaint(self.truth * ~self.hole, self.hole, prior=held).image
        psnr = metrics.psnr(2 * filled - 1, 2 * self.truth - 1, self.hole)
        return {"hole": psnr.mean().item()}
