"""Networks that a text steers, each prior one of what a text describes."""

import copy
from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..diffusions import GaussianDiffusion
from ..errors import ImageError
from ..networks.parameterizations import Head
from ..networks.text_to_image import Family, Told
from ._conditions import guided, innermost, inside
from .base import Prior, row_by_row
from .guided import GuidedPrior
from .latent import LatentPrior
from .network import reflect

__all__ = ["PromptedPrior", "beside", "controlled", "prompted", "seeing"]

IMAGE = 1.5  # how much is made of an image that the network is given, as of a text by guidance


class PromptedPrior(Prior):
    """E[x_0 | x_t, text] of a text-to-image network, mostly one of latents.

    Arguments:
        family: The network, and how it is told of a text.
        head: How it is asked, and read.
        shape: Shape of one state, ``(C, H, W)``; ``for_shape`` gives the prior of any other size.
        text: What the image shows; None is no text.
        distilled: The guidance that the network is told of, if it is; its usual one if not given.
    """

    def __init__(
        self,
        family: Family,
        head: Head,
        shape: Sequence[int],
        text: str | None = None,
        distilled: float | None = None,
    ) -> None:
        super().__init__()
        self.family, self.shape = family, tuple(shape)
        self.parts = nn.ModuleList(family.parts).requires_grad_(False).eval()
        self.head = head.with_time_shift(self._tokens(shape))
        self.diffusion = GaussianDiffusion(self.head.schedule)
        self.text, self.told, self.seen = text, family.read(text), Told()
        self.distilled = family.distilled if distilled is None else distilled
        self.extra, latents = family.channels - self.shape[0], self.shape[0]
        if self.extra not in (0, *family.beside(latents)):
            edits = (
                f", {2 * latents} (an image to edit beside them) or {2 * latents + 1} (an image "
                "and its hole)"
            )
            raise ValueError(
                f"its network takes {family.channels} channels, and its latents have {latents}: it "
                f"is to take {latents}{edits if family.beside(latents) else ''}"
            )

    @property
    def like(self) -> Tensor:
        """Return an empty tensor of the network's device; states are of float32 at the least."""
        found = super().like.to(self.family.device)
        return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found

    @property
    def precision(self) -> torch.dtype:
        """Return what the network computes in."""
        dtype: torch.dtype = next(self.family.network.parameters()).dtype
        return dtype

    @property
    def guidance(self) -> float:
        """Return w of classifier-free guidance where none is given."""
        return self.family.guidance

    @property
    def embeds(self) -> bool:
        """Return whether the network is told of a guidance, and so needs no other."""
        return self.family.embeds

    def prompted(self, text: str | None, away: bool = False) -> Self:
        """Return the prior of another text, None being no text; the network is shared.

        Arguments:
            away: Whether it is one to move away from.
        """
        prior = copy.copy(self)
        prior.text, prior.told = text, self.family.read(text, away)
        return prior

    def avoided(self, text: str | None) -> Self:
        """Return the prior of a text to move away from."""
        return self.prompted(text, away=True)

    def strengthened(self, guidance: float) -> Self:
        """Return the prior of a network that is told of another guidance."""
        prior = copy.copy(self)
        prior.distilled = guidance
        return prior

    def seeing(self, **seen: Tensor) -> Self:
        """Return the prior of a network that sees more than a state, as ``Family.answer`` says."""
        prior = copy.copy(self)
        prior.seen = self.seen | seen
        return prior

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self._check(x_t)
        x, time = self.head.ask(x_t, t)
        out = row_by_row(lambda part: self._answer(part, time), x)
        return self.head.mean(x_t, t, out.to(x_t))

    def _answer(self, x: Tensor, time: Tensor) -> Tensor:
        steps = time.to(x.device, torch.float32).expand(len(x))
        told = self.told | self.seen
        if self.embeds:
            told |= {"distilled": torch.full_like(steps, self.distilled)}
        return self.family.answer(x.to(self.precision), steps, told)

    def _check(self, x_t: Tensor) -> None:
        """Refuse to ask a network that does not see what it was made to see."""
        if self.extra and "beside" not in self.seen:
            raise ValueError(
                f"this network takes {self.family.channels} channels, an image beside the state, "
                "and was given none: sdedit gives it one, and diffprior.priors.prompted.beside"
            )
        if self.family.controlnet is not None and "control" not in self.seen:
            raise ValueError("this prior has a ControlNet, and was given no control image")
        pixels = {"beside": 1, "control": self.family.pipe.vae_scale_factor}
        sizes = {k: tuple(n // pixels[k] for n in v.shape[-2:]) for k, v in self.seen.items()}
        if any(size != x_t.shape[-2:] for size in sizes.values()):
            raise ValueError("an image that a network sees is not cut: give a larger tile")

    def for_shape(self, shape: Sequence[int]) -> Self:
        if len(shape) != 3 or shape[0] != self.shape[0]:
            raise ValueError(f"this prior is one of {self.shape[0]} channels, not {tuple(shape)}")
        prior = copy.copy(self)
        prior.shape = tuple(shape)
        return prior

    def with_time_shift(self, shape: Sequence[int]) -> Self:
        if (head := self.head.with_time_shift(self._tokens(shape))) is self.head:
            return self
        prior = copy.copy(self)
        prior.head = head
        prior.diffusion = GaussianDiffusion(prior.head.schedule)
        return prior

    def _tokens(self, shape: Sequence[int]) -> int:
        height, width = (n // self.family.patch for n in shape[1:])
        return height * width


def beside(prior: Prior, image: Tensor | None = None, hole: Tensor | None = None) -> Prior:
    """Return a prior whose network sees an image, or all of it but a hole; others as they are.

    A network of as many channels again is one that edits the image, as in "InstructPix2Pix"
    (Brooks et al., 2023), https://arxiv.org/abs/2211.09800; under guidance w the image has a
    guidance of its own, x_0 = x_0() + 1.5 (x_0(image) - x_0()) + w (x_0(image, text) -
    x_0(image)). One of a channel more fills the hole, as in "High-Resolution Image Synthesis with
    Latent Diffusion Models" (Rombach et al., 2022), https://arxiv.org/abs/2112.10752.

    Arguments:
        image: Of shape ``(1, 3, H, W)``; None is a blank one, all of it a hole.
        hole: 1 for the pixels that it does not see, ``(1, 1, H, W)``; all where not given.

    Raises:
        ValueError: If the network edits an image, and there is none.
    """
    leaf = prompted(prior)
    if leaf is None or not leaf.extra or not isinstance(prior, LatentPrior):
        return prior
    given = prior.like.new_zeros(1, 3, *prior.size) if image is None else image.to(prior.like)
    if leaf.extra == leaf.shape[0]:
        if image is None:
            raise ValueError("this network edits an image, and there is none: use sdedit")
        z = prior.encode(given) / leaf.family.pipe.vae.config.scaling_factor
        return inside(prior, lambda p: _edited(p, z))
    cover = torch.ones_like(given[:, :1]) if hole is None else (hole > 0).to(given)
    cells = F.max_pool2d(reflect(cover, prior.stride), prior.factor)
    seen = torch.cat([cells, prior.encode(given * (1 - cover))], 1)
    return inside(prior, lambda p: _seeing(p, beside=seen))


def controlled(prior: Prior, image: Tensor) -> Prior:
    """Return a prior whose ControlNet follows an image ``(1, 3, H, W)`` in [-1, 1].

    "Adding Conditional Control to Text-to-Image Diffusion Models" (Zhang et al., 2023),
    https://arxiv.org/abs/2302.05543.

    Raises:
        ValueError: If it has no ControlNet, or the image is of another size than its own.
    """
    leaf = prompted(prior)
    if leaf is None or leaf.family.controlnet is None or not isinstance(prior, LatentPrior):
        raise ValueError("a control image needs a prior with a ControlNet (controlnet=...)")
    if tuple(image.shape[-2:]) != prior.size:
        (height, width), (h, w) = prior.size, image.shape[-2:]
        raise ImageError(f"a control image has the image's size, {width}x{height}, not {w}x{h}")
    seen = reflect((image.to(prior.like) + 1) / 2, prior.stride)
    return inside(prior, lambda p: _seeing(p, control=seen))


def seeing(prior: Prior) -> bool:
    """Return whether a network sees an image beside the state, and so serves one at a time."""
    leaf = prompted(prior)
    return leaf is not None and leaf.extra > 0


def prompted(prior: Prior) -> PromptedPrior | None:
    """Return the prior of a text inside a prior, if there is one."""
    leaf = innermost(prior)
    while guided(leaf):
        leaf = leaf.conditional
    return leaf if isinstance(leaf, PromptedPrior) else None


def _seeing(prior: Prior, **seen: Tensor) -> Prior:
    if guided(prior):
        return prior.with_inner(_seeing(prior.conditional, **seen), _seeing(prior.free, **seen))
    return prior.seeing(**seen) if isinstance(prior, PromptedPrior) else prior


def _edited(prior: Prior, z: Tensor) -> Prior:
    if not guided(prior):
        return _seeing(prior, beside=z)
    text, image = _seeing(prior.conditional, beside=z), _seeing(prior.free, beside=z)
    none = _seeing(prior.free, beside=torch.zeros_like(z))
    return GuidedPrior(GuidedPrior(text, image, prior.scale / IMAGE), none, IMAGE)
