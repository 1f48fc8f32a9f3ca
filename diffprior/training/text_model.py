"""A text-to-image model in training: its states, its conditions and its own error."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import UnsuitedError
from ..networks.text_to_image import Conditioning, Family
from ..objectives.base import column, row_means
from ..priors.base import Prior
from ..priors.text import text_prior
from .captioned import Captioned

__all__ = ["Draws", "Rows", "TextModel"]

STEPS = 1000  # of the times that are drawn
AT_ONCE = 8  # images that are encoded together


@dataclass(frozen=True, eq=False)
class Rows:
    """Images as a model knows them.

    Attributes:
        z: Their states, of shape ``(N, *shape)``.
        conditions: What the network takes for the text of each.
        control: Control images in [0, 1], of shape ``(N, 3, H, W)``, for a ControlNet.
    """

    z: Tensor
    conditions: Sequence[Conditioning]
    control: Tensor | None = None

    def __len__(self) -> int:
        return len(self.z)

    def take(self, index: Sequence[int]) -> "Rows":
        """Return some of these rows; an index may come several times."""
        where = torch.as_tensor(index, device=self.z.device)
        control = None if self.control is None else self.control[where]
        return Rows(self.z[where], [self.conditions[i] for i in index], control)

    @property
    def inputs(self) -> Conditioning:
        """What the network takes beside states and times, a row for each."""
        joined = {
            name: torch.cat([condition[name] for condition in self.conditions])
            for name in self.conditions[0]
        }
        return joined if self.control is None else joined | {"control": self.control}


@dataclass(frozen=True, eq=False)
class Draws:
    """The times ``(B,)`` and the noise ``(B, *shape)`` of a batch."""

    t: Tensor
    noise: Tensor

    @classmethod
    def of(cls, rng: np.random.Generator, like: Tensor) -> "Draws":
        """Return draws for states: times stratified over the batch, and standard normal noise."""
        n = len(like)
        levels = (rng.permutation(n) + rng.random(n)) / n
        t = (np.floor(levels * STEPS) + 1) / STEPS
        generator = torch.Generator(like.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(like.shape, generator=generator, device=like.device)
        return cls(torch.from_numpy(t).float().to(like.device), noise)


class TextModel:
    """A text-to-image model whose weights, or a part of them, are trained.

    Arguments:
        prior: Its prior, of a text or of none.
        size: (H, W) of the images; by default those of the prior.

    Raises:
        UnsuitedError: If the prior reads no text, sees an image, or is a consistency model.
    """

    def __init__(self, prior: Prior, size: tuple[int, int] | None = None) -> None:
        height, width = size or _size(prior)
        self.prior = prior.without_guidance().for_shape((3, height, width))
        text = text_prior(self.prior)
        if text is None:
            raise UnsuitedError(
                f"{prior.name} reads no text: a LoRA and a ControlNet are of a text-to-image model"
            )
        if text.sees_image or text.consistency:
            what = "sees an image" if text.sees_image else "was distilled to a few steps"
            raise UnsuitedError(f"{prior.name} {what}, and such a network is not tuned here")
        self.size = (height, width)
        self.text = text
        self.family: Family = text.family
        self.parameterization = text.parameterization
        self._known: dict[str, Conditioning] = {}

    @property
    def device(self) -> torch.device:
        """The device of the states."""
        return self.prior.like.device

    @torch.no_grad()
    def rows(self, data: Captioned, control: Tensor | None = None) -> Rows:
        """Return images as this model knows them.

        Arguments:
            data: The images with their texts.
            control: Control images in [-1, 1], of shape ``(N, 3, H, W)``.
        """
        shown = None if control is None else (control.to(self.device) + 1) / 2
        return Rows(self.encode(data.images), [self._condition(t) for t in data.texts], shown)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the states of images ``(N, 3, H, W)`` in [-1, 1]."""
        parts = torch.split(images, AT_ONCE)
        return torch.cat([self.prior.encode(part.to(self.prior.like)) for part in parts])

    def _condition(self, text: str) -> Conditioning:
        if text not in self._known:
            self._known[text] = self.family.encode_prompt(text)
        return self._known[text]

    def errors(self, rows: Rows, draws: Draws) -> Tensor:
        """Return the mean square error of what the network says, of each row, ``(B,)``.

        E[x_0 | x_t] is a c + b for what the network says, a. So what it should say is
        (x_0 - b) / c, be it the noise, v or a velocity.
        """
        t = column(draws.t, rows.z)
        alpha_t, sigma_t = self.parameterization.schedule(t)
        x_t = (alpha_t * rows.z + sigma_t * draws.noise).to(rows.z)
        said = self._said(rows, x_t, t)
        zero = self.parameterization.denoised(x_t, t, torch.zeros_like(x_t))
        c = self.parameterization.denoised(x_t, t, torch.ones_like(x_t)) - zero
        return row_means((said - ((rows.z - zero) / c).to(said)) ** 2)

    def _said(self, rows: Rows, x_t: Tensor, t: Tensor) -> Tensor:
        """Return what the network says of noisy states, float32."""
        x, time = self.parameterization.inputs(x_t, t)
        times = time.flatten().to(x_t).expand(len(x_t))
        inputs = rows.inputs
        if self.text.embeds_guidance:
            inputs |= {"distilled": torch.full_like(times, self.text.distilled)}
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type != "cpu"):
            out = self.family.forward(x.to(self.text.dtype), times, inputs)
        return out.float()

    @torch.no_grad()
    def measured(self, rows: Rows, seed: int = 0) -> float:
        """Return the mean error of rows at the same times and noise in every call."""
        chosen = rows.take(range(min(AT_ONCE, len(rows))))
        draws = Draws.of(np.random.default_rng(seed), chosen.z)
        return float(self.errors(chosen, draws).mean())


def _size(prior: Prior) -> tuple[int, int]:
    height, width = getattr(prior, "size", prior.shape[1:])
    return int(height), int(width)
