"""The network of guided diffusion (ADM), with the parameter names of its published weights.

``UNet2DModel`` of diffusers cannot hold these weights: its attention has one order of heads only,
and its resampling residual blocks do not combine with attention.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ADM", "Layout"]

Order = Literal["legacy", "new"]
ORDERS = ("legacy", "new")
MAX_PERIOD = 10_000
UP = re.compile(r"output_blocks\.\d+\.[12]\.(conv|in_layers\.0)\.weight")  # ends a level


def double(x: Tensor) -> Tensor:
    """Return an image with each pixel repeated two by two."""
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Block(nn.Module):
    """Two convolutions with the embedding between them, and a skip connection.

    Arguments:
        resample: Before the first convolution, 2.0 doubles the sides and 0.5 halves them.
        scale_shift: Whether the embedding scales and shifts after the second norm. Otherwise it is
            added before.
    """

    def __init__(
        self, inner: int, outer: int, resample: float = 1.0, *, embedding: int, scale_shift: bool
    ) -> None:
        super().__init__()
        self.resample = resample
        self.scale_shift = scale_shift
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, (1 + scale_shift) * outer))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outer), nn.SiLU(), nn.Identity(), nn.Conv2d(outer, outer, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inner == outer else nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.in_layers[2](self._resize(self.in_layers[:2](x)))
        film = self.emb_layers(embedding)[:, :, None, None].to(h.dtype)
        if self.scale_shift:
            scale, shift = film.chunk(2, 1)
            h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        else:
            h = self.out_layers(h + film)
        out: Tensor = self.skip_connection(self._resize(x)) + h
        return out

    def _resize(self, x: Tensor) -> Tensor:
        if self.resample == 1:
            return x
        resized: Tensor = F.avg_pool2d(x, 2) if self.resample < 1 else double(x)
        return resized


class Attention(nn.Module):
    """Attention over all pixels, with a skip connection.

    Arguments:
        order: Layout of queries, keys and values in the channels. ``legacy`` has heads outermost,
            ``new`` has the three outermost.
    """

    def __init__(self, channels: int, heads: int, order: Order) -> None:
        super().__init__()
        self.heads = heads
        self.order = order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)
        parts = (self.heads, 3) if self.order == "legacy" else (3, self.heads)
        qkv = self.qkv(self.norm(pixels)).unflatten(1, (*parts, -1)).mT
        q, k, v = qkv.unbind(2 if self.order == "legacy" else 1)
        h = F.scaled_dot_product_attention(q, k, v).mT.flatten(1, 2)
        out: Tensor = x + self.proj_out(h).reshape_as(x)
        return out


class Downsample(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class Upsample(nn.Module):
    """Pixels doubled, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(double(x))
        return out


class Stage(nn.Sequential):
    """Layers in a row; blocks get the embedding as well."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, Block) else layer(x)
        return x


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The architecture of a network.

    Arguments:
        channels: Width of the sinusoids of the step; the embedding is four times as wide.
        widths: Channels of each level, finest first, multiples of 32.
        blocks: Residual blocks of each level of the encoder; the decoder has one more.
        attention: Levels with attention, from 0; the middle always has it.
        in_channels, out_channels: Channels of the image and of the output.
        classes: Number of classes; 0 for none.
        scale_shift: See ``Block``.
        updown: Whether residual blocks halve and double the sides; otherwise convolutions do.
        heads: Number of attention heads; 0 for heads of ``head_channels`` channels.
        order: See ``Attention``.
    """

    channels: int
    widths: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...] = ()
    in_channels: int = 3
    out_channels: int = 6
    classes: int = 0
    scale_shift: bool = True
    updown: bool = True
    heads: int = 0
    head_channels: int = 64
    order: Order = "legacy"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"no attention order {self.order!r}; there are {', '.join(ORDERS)}")

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "Layout":
        """Return the layout of a state dict, which does not show heads and their order."""
        ups = {k.split(".")[1] for k in state if UP.fullmatch(k)}
        count = len({k.split(".")[1] for k in state if k.startswith("output_blocks.")})
        if not count:
            raise ValueError("it has no output_blocks: it may be a classifier, and no denoiser")
        levels = len(ups) + 1
        period = count // levels
        if period < 2 or count % levels:
            raise ValueError(f"its {count} output_blocks are not {levels} levels of two or more")
        firsts = [f"input_blocks.{i * period + 1}" for i in range(levels)]
        widths = tuple(len(_get(state, f"{f}.0.out_layers.0.weight")) for f in firsts)
        film = len(_get(state, f"{firsts[0]}.0.emb_layers.1.weight"))
        return cls(
            channels=_get(state, "time_embed.0.weight").shape[1],
            widths=widths,
            blocks=period - 1,
            attention=tuple(i for i, f in enumerate(firsts) if f"{f}.1.qkv.weight" in state),
            in_channels=_get(state, "input_blocks.0.0.weight").shape[1],
            out_channels=len(_get(state, "out.2.weight")),
            classes=len(state.get("label_emb.weight", ())),
            scale_shift=film == 2 * widths[0],
            updown=levels == 1 or f"input_blocks.{period}.0.op.weight" not in state,
        )

    def block(self, inner: int, outer: int, resample: float = 1.0) -> Block:
        embedding = 4 * self.channels
        return Block(inner, outer, resample, embedding=embedding, scale_shift=self.scale_shift)

    def attend(self, width: int) -> Attention:
        heads = self.heads or width // self.head_channels
        if heads < 1 or width % heads:
            raise ValueError(f"{width} channels are not to be split into {heads or 'no'} heads")
        return Attention(width, heads, self.order)

    def level(self, i: int, inner: int) -> list[nn.Module]:
        """Return one block of level i, with its attention."""
        width = self.widths[i]
        attention = [self.attend(width)] if i in self.attention else []
        return [self.block(inner, width), *attention]

    def encoder(self) -> tuple[nn.ModuleList, list[int]]:
        """Return the encoder, and the width of the skip connection of each of its stages."""
        width = self.widths[0]
        stages = [Stage(nn.Conv2d(self.in_channels, width, 3, padding=1))]
        skips = [width]
        for i in range(len(self.widths)):
            for _ in range(self.blocks):
                stages.append(Stage(*self.level(i, skips[-1])))
                skips.append(self.widths[i])
            if i + 1 < len(self.widths):
                width = self.widths[i]
                down = self.block(width, width, 0.5) if self.updown else Downsample(width)
                stages.append(Stage(down))
                skips.append(width)
        return nn.ModuleList(stages), skips

    def decoder(self, skips: list[int]) -> nn.ModuleList:
        """Return the decoder, which takes the skip connections, the last first."""
        stages = []
        width = self.widths[-1]
        skips = [*skips]
        for i in reversed(range(len(self.widths))):
            for j in range(self.blocks + 1):
                layers = self.level(i, width + skips.pop())
                width = self.widths[i]
                if i and j == self.blocks:
                    up = self.block(width, width, 2.0) if self.updown else Upsample(width)
                    layers.append(up)
                stages.append(Stage(*layers))
        return nn.ModuleList(stages)


class ADM(nn.Module):
    """The U-Net of "Diffusion Models Beat GANs on Image Synthesis" (Dhariwal and Nichol, 2021).

    https://arxiv.org/abs/2105.05233; with ``updown=False`` that of Nichol and Dhariwal (2021). The
    sides of images are multiples of ``stride``.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.stride = 2 ** (len(layout.widths) - 1)
        first = layout.widths[0]
        last = layout.widths[-1]
        embedding = 4 * layout.channels
        self.time_embed = nn.Sequential(
            nn.Linear(layout.channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        if layout.classes:
            self.label_emb = nn.Embedding(layout.classes, embedding)
        self.input_blocks, skips = layout.encoder()
        self.middle_block = Stage(
            layout.block(last, last), layout.attend(last), layout.block(last, last)
        )
        self.output_blocks = layout.decoder(skips)
        self.out = nn.Sequential(
            nn.GroupNorm(32, first), nn.SiLU(), nn.Conv2d(first, layout.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, step: Tensor, label: Tensor | None = None) -> Tensor:
        """Return the output for images ``(B, C, H, W)`` at steps ``(B,)`` of classes ``(B,)``."""
        half = self.layout.channels // 2
        k = torch.arange(half, dtype=step.dtype, device=step.device) / half
        angles = step[:, None] * (-math.log(MAX_PERIOD) * k).exp()
        embedding = self.time_embed(torch.cat([angles.cos(), angles.sin()], 1))
        if label is not None:
            embedding = embedding + self.label_emb(label)
        h = x
        skips = []
        for stage in self.input_blocks:
            h = stage(h, embedding)
            skips.append(h)
        h = self.middle_block(h, embedding)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], 1), embedding)
        out: Tensor = self.out(h)
        return out


def _get(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        module, _, what = name.rpartition(".")
        raise ValueError(f"it lacks the {what} of {module}, which every ADM network has")
    return state[name]
