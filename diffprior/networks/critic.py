"""A critic: it tells two states of data from two that a network has made."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._shared import or_no_class

__all__ = ["Critic"]

SLOPE = 0.2  # of the leaky units
SMALLEST = 4  # pixels of a side, from which images are not halved any more


class Critic(nn.Module):
    """D(x_s, x_t, t): one number, high for a pair of the data.

    Convolutions that halve images, or dense layers for points; time and class are added to every
    layer. "Tackling the Generative Learning Trilemma with Denoising Diffusion GANs" (Xiao et al.,
    2022), app. B, https://arxiv.org/abs/2112.07804, in small.

    Arguments:
        shape: Shape of a state, ``(C, H, W)`` or ``(D,)``.
        classes: Number of classes; 0 for none.
        width: Width of the first layer.
    """

    def __init__(self, shape: Sequence[int], classes: int = 0, width: int = 64) -> None:
        super().__init__()
        numbers, *sides = shape
        layers: list[nn.Module] = []
        widths = [2 * numbers, width]
        if sides:
            layers.append(nn.Conv2d(2 * numbers, width, 3, padding=1))
            side = min(sides)
            while side > SMALLEST:
                layers.append(nn.Conv2d(widths[-1], 2 * width, 4, stride=2, padding=1))
                widths.append(2 * width)
                side //= 2
        else:
            layers = [nn.Linear(2 * numbers, width), *(nn.Linear(width, width) for _ in range(2))]
            widths += [width, width]
        self.classes = classes
        self.layers = nn.ModuleList(layers)
        self.times = nn.ModuleList(nn.Linear(2, w) for w in widths[1:])
        self.labels = nn.ModuleList(nn.Embedding(classes + 1, w) for w in widths[1:])
        self.last = nn.Linear(widths[-1], 1)

    def forward(self, x_s: Tensor, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the numbers, of shape ``(B,)``.

        Arguments:
            x_s, x_t: Two states of one chain, of shape ``(B, *shape)``.
            t: The time of the later one, of shape ``(B,)``.
            labels: The class of each, ``(B,)``; the number ``classes``, or None for the whole
                batch, is no class.
        """
        h = torch.cat([x_s, x_t], 1)
        time = torch.stack([t, t.square()], 1).to(h)
        labels = or_no_class(labels, t, self.classes)
        for layer, by_time, by_label in zip(self.layers, self.times, self.labels, strict=True):
            shift = by_time(time) + by_label(labels)
            h = layer(h)
            h = nn.functional.leaky_relu(
                h + shift.reshape(*shift.shape, *[1] * (h.ndim - 2)), SLOPE
            )
        pooled = h.flatten(2).mean(2) if h.ndim > 2 else h
        return torch.squeeze(self.last(pooled), 1)
