"""A network of points: dense layers with residual branches, in plain torch."""

import math

import torch
from torch import Tensor, nn

from ._shared import or_no_class, settings_in

__all__ = ["MLP"]

FREQUENCIES = 16


class MLP(nn.Module):
    """The network F(x, time) of points of a few numbers, such as (x, y), or of a few bits.

    Arguments:
        size: Numbers of a point.
        width: Width of the layers.
        layers: Number of residual branches.
        numbers: Outputs for each number of a point.
        classes: Number of classes; 0 for none.
        sigma_data: Standard deviation of the data.
        time_scale: What the time is multiplied by; the network expects a range of about 2.
    """

    def __init__(
        self,
        size: int = 2,
        width: int = 128,
        layers: int = 3,
        numbers: int = 1,
        classes: int = 0,
        sigma_data: float = 1.0,
        time_scale: float = 1.0,
    ) -> None:
        settings = settings_in(MLP, locals())
        super().__init__()
        self.settings = settings
        self.shape = (size,)
        self.stride = 1
        self.numbers = numbers
        self.classes = classes
        self.sigma_data = sigma_data
        self.time_scale = time_scale
        self.embed = nn.Linear(2 * FREQUENCIES + 1, width)
        if classes:  # the last row is that of no class
            self.label = nn.Embedding(classes + 1, width)
        self.first = nn.Linear(size, width)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(layers)
        )
        self.last = nn.Linear(width, numbers * size)
        for zero in self.last.parameters():
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return F(x, time), of shape ``(B, numbers * size)``.

        Arguments:
            x: Points, of shape ``(B, size)``.
            time: The time of each, of shape ``(B,)``.
            labels: The class of each, of shape ``(B,)``; the number ``classes``, or None for the
                whole batch, is no class.
        """
        u = self.time_scale * time[:, None]
        angles = u * torch.arange(1, FREQUENCIES + 1).to(u) * (math.pi / 8)
        embedding = self.embed(torch.cat([u, angles.cos(), angles.sin()], 1))
        if self.classes:
            embedding = embedding + self.label(or_no_class(labels, time, self.classes))
        h = self.first(x) + embedding
        for branch in self.branches:
            h = h + branch(h + embedding)
        out: Tensor = self.last(h)
        return out
