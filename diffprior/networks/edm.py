"""The networks of Karras et al. (2022), with the parameter names of their published weights."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["EDMLayout", "EDMUNet"]

MAX_PERIOD = 10_000
HALF = math.sqrt(0.5)


@dataclass(frozen=True, kw_only=True)
class EDMLayout:
    """The architecture of a network, in the names of its settings file.

    Arguments:
        song: Whether it is a DDPM++ or NCSN++ network; otherwise it is an ADM network.
        img_resolution, img_channels: Side and channels of its images.
        label_dim, augment_dim: Number of classes, and of augmentation inputs; 0 for none.
        model_channels, channel_mult: Base width, and its multiples for each level, finest first.
        channel_mult_noise, channel_mult_emb: Multiples for the sinusoids and for the embedding.
        num_blocks: Residual blocks of each level of the encoder; the decoder has one more.
        attn_resolutions: Sides, in pixels, of the levels with attention.
        embedding_type: ``positional`` sinusoids, or random ``fourier`` ones.
        encoder_type: ``standard``, or ``residual``, where every level takes the image again.
        resample_filter: Taps of the filter that halves and doubles the sides.
    """

    song: bool
    img_resolution: int
    img_channels: int = 3
    label_dim: int = 0
    augment_dim: int = 0
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    channel_mult_noise: int = 1
    channel_mult_emb: int = 4
    num_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    embedding_type: Literal["positional", "fourier"] = "positional"
    encoder_type: Literal["standard", "residual"] = "standard"
    resample_filter: tuple[int, ...] = (1, 1)

    def __post_init__(self) -> None:
        for name, known in (
            ("embedding_type", ("positional", "fourier")),
            ("encoder_type", ("standard", "residual")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"no {name} {getattr(self, name)!r}; there are {', '.join(known)}")

    @property
    def widths(self) -> list[int]:
        return [self.model_channels * m for m in self.channel_mult]

    @property
    def noise_channels(self) -> int:
        return self.model_channels * self.channel_mult_noise

    @property
    def embedding(self) -> int:
        return self.model_channels * self.channel_mult_emb

    def side(self, level: int) -> int:
        return self.img_resolution >> level

    def name(self, level: int, what: str) -> str:
        return f"{self.side(level)}x{self.side(level)}_{what}"

    def norm(self, channels: int) -> nn.GroupNorm:
        return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6 if self.song else 1e-5)

    def attends(self, level: int) -> bool:
        return self.side(level) in self.attn_resolutions

    def encoder(self) -> tuple[nn.ModuleDict, list[int]]:
        """Return the encoder, and the width of the skip connection of each of its layers."""
        width = self.model_channels if self.song else self.widths[0]
        skips = [width]
        aux = self.img_channels
        stages: dict[str, nn.Module] = {self.name(0, "conv"): Conv(aux, width, 3)}
        for level, outer in enumerate(self.widths):
            if level:
                stages[self.name(level, "down")] = Block(self, width, width, 0.5)
                skips.append(width)
            if level and self.encoder_type == "residual":
                back = Conv(aux, width, 3, 0.5, self.resample_filter, late=True)
                stages[self.name(level, "aux_residual")], aux = back, width
            for i in range(self.num_blocks):
                block = Block(self, width, outer, attention=self.attends(level))
                stages[self.name(level, f"block{i}")], width = block, outer
                skips.append(width)
        return nn.ModuleDict(stages), skips

    def decoder(self, skips: list[int]) -> nn.ModuleDict:
        """Return the decoder, which takes the skip connections, the last first."""
        return nn.ModuleDict(dict(self._decoder([*skips])))

    def _decoder(self, skips: list[int]) -> Iterator[tuple[str, nn.Module]]:
        last = len(self.widths) - 1
        width = self.widths[-1]
        for level in range(last, -1, -1):
            if level == last:
                yield self.name(level, "in0"), Block(self, width, width, attention=True)
                yield self.name(level, "in1"), Block(self, width, width)
            else:
                yield self.name(level, "up"), Block(self, width, width, 2.0)
            for i in range(self.num_blocks + 1):
                attention = self.attends(level) and (not self.song or i == self.num_blocks)
                inner = width + skips.pop()
                width = self.widths[level]
                yield self.name(level, f"block{i}"), Block(self, inner, width, attention=attention)
        if self.song:
            yield self.name(0, "aux_norm"), self.norm(width)
            yield self.name(0, "aux_conv"), Conv(width, self.img_channels, 3)


class Conv(nn.Module):
    """A convolution with a separable filter that halves or doubles the sides.

    Arguments:
        kernel: Side of the convolution; 0 for the filter alone.
        factor: 2.0 doubles the sides, 0.5 halves them.
        taps: Taps of the filter.
        late: Whether the filter comes after the convolution, on its padded output.
    """

    resample_filter: Tensor

    def __init__(
        self,
        inner: int,
        outer: int,
        kernel: int,
        factor: float = 1.0,
        taps: tuple[int, ...] = (1, 1),
        late: bool = False,
    ) -> None:
        super().__init__()
        self.factor = factor
        self.late = late
        self.pad = kernel // 2
        self.margin = 0
        self.weight = nn.Parameter(torch.empty(outer, inner, kernel, kernel)) if kernel else None
        self.bias = nn.Parameter(torch.empty(outer)) if kernel else None
        if factor != 1:
            f = torch.tensor(taps, dtype=torch.float32) / sum(taps)
            self.register_buffer("resample_filter", f.outer(f)[None, None])
            self.margin = (len(taps) - 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.late:
            return self._resize(self._convolve(x, self.pad + self.margin), 0)
        return self._convolve(self._resize(x, self.margin), self.pad)

    def _convolve(self, x: Tensor, padding: int) -> Tensor:
        return x if self.weight is None else F.conv2d(x, self.weight, self.bias, padding=padding)

    def _resize(self, x: Tensor, padding: int) -> Tensor:
        if self.factor == 1:
            return x
        c = x.shape[1]
        f = self.resample_filter.to(x.dtype).expand(c, -1, -1, -1)
        if self.factor < 1:
            return F.conv2d(x, f, stride=2, padding=padding, groups=c)
        return F.conv_transpose2d(x, 4 * f, stride=2, padding=padding, groups=c)


class Block(nn.Module):
    """Two convolutions with the embedding between them, a skip connection, and attention after."""

    def __init__(
        self,
        layout: EDMLayout,
        inner: int,
        outer: int,
        factor: float = 1.0,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.song = layout.song
        self.scale = HALF if layout.song else 1.0
        self.heads = (1 if layout.song else outer // 64) if attention else 0
        taps = layout.resample_filter
        films = 1 if layout.song else 2
        self.norm0 = layout.norm(inner)
        self.norm1 = layout.norm(outer)
        self.conv0 = Conv(inner, outer, 3, factor, taps)
        self.conv1 = Conv(outer, outer, 3)
        self.affine = nn.Linear(layout.embedding, films * outer)
        self.skip: nn.Module = nn.Identity()
        if inner != outer or factor != 1:
            mixes = layout.song or inner != outer
            self.skip = Conv(inner, outer, int(mixes), factor, taps)
        if self.heads:
            self.norm2 = layout.norm(outer)
            self.qkv = Conv(outer, 3 * outer, 1)
            self.proj = Conv(outer, outer, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        film = self.affine(embedding)[:, :, None, None].to(h.dtype)
        if self.song:
            h = self.norm1(h + film)
        else:
            scale, shift = film.chunk(2, 1)
            h = self.norm1(h) * (1 + scale) + shift
        out: Tensor = (self.skip(x) + self.conv1(F.silu(h))) * self.scale
        return (out + self._attend(out)) * self.scale if self.heads else out

    def _attend(self, x: Tensor) -> Tensor:
        """Return attention over all pixels; q, k and v of a channel lie next to each other."""
        qkv = self.qkv(self.norm2(x)).flatten(2).unflatten(1, (self.heads, -1, 3))
        q, k, v = (part.mT for part in qkv.unbind(3))
        h = F.scaled_dot_product_attention(q, k, v).mT.flatten(1, 2)
        out: Tensor = self.proj(h.reshape_as(x))
        return out


class Fourier(nn.Module):
    """Random frequencies."""

    freqs: Tensor

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(count))


class EDMUNet(nn.Module):
    """F(x, c_noise) of "Elucidating the Design Space of Diffusion-Based Generative Models".

    Karras et al. (2022), https://arxiv.org/abs/2206.00364: DDPM++ and NCSN++ of Song et al. (2021),
    https://arxiv.org/abs/2011.13456, or ADM of Dhariwal and Nichol (2021). Augmentations are off.
    """

    def __init__(self, layout: EDMLayout) -> None:
        super().__init__()
        self.layout = layout
        width = layout.noise_channels
        if layout.embedding_type == "fourier":
            self.map_noise = Fourier(width // 2)
        if layout.augment_dim:
            self.map_augment = nn.Linear(layout.augment_dim, width, bias=False)
        self.map_layer0 = nn.Linear(width, layout.embedding)
        self.map_layer1 = nn.Linear(layout.embedding, layout.embedding)
        if layout.label_dim:
            to = width if layout.song else layout.embedding
            self.map_label = nn.Linear(layout.label_dim, to, bias=layout.song)
        self.enc, skips = layout.encoder()
        self.dec = layout.decoder(skips)
        if not layout.song:
            self.out_norm = layout.norm(layout.widths[0])
            self.out_conv = Conv(layout.widths[0], layout.img_channels, 3)

    def forward(self, x: Tensor, c_noise: Tensor, label: Tensor | None = None) -> Tensor:
        """Return F, of the shape of ``x``; ``c_noise`` and the classes are of shape ``(B,)``."""
        embedding = self._embed(c_noise, label)
        h = x
        back = x
        skips: list[Tensor] = []
        for name, layer in self.enc.items():
            if name.endswith("aux_residual"):
                h = skips[-1] = back = (h + layer(back)) * HALF
            else:
                h = layer(h, embedding) if isinstance(layer, Block) else layer(h)
                skips.append(h)
        for name, layer in self.dec.items():
            if isinstance(layer, Block):
                h = torch.cat([h, skips.pop()], 1) if "_block" in name else h
                h = layer(h, embedding)
            else:
                h = layer(F.silu(h)) if name.endswith("conv") else layer(h)
        out: Tensor = h if self.layout.song else self.out_conv(F.silu(self.out_norm(h)))
        return out

    def _embed(self, c_noise: Tensor, label: Tensor | None) -> Tensor:
        layout = self.layout
        half = layout.noise_channels // 2
        if layout.embedding_type == "fourier":
            k = 2 * math.pi * self.map_noise.freqs.to(c_noise.dtype)
        else:
            i = torch.arange(half, dtype=c_noise.dtype, device=c_noise.device)
            k = MAX_PERIOD ** (-i / (half - layout.song))  # song: the last is 1 / MAX_PERIOD
        angles = c_noise[:, None] * k
        waves = (angles.sin(), angles.cos()) if layout.song else (angles.cos(), angles.sin())
        h = torch.cat(waves, 1)
        h = h + self._condition(label, h) if layout.song else h
        h = self.map_layer1(F.silu(self.map_layer0(h)))
        return F.silu(h if layout.song else h + self._condition(label, h))

    def _condition(self, label: Tensor | None, like: Tensor) -> Tensor:
        """Return the part of the embedding that comes from the classes."""
        if label is None:
            return torch.zeros_like(like)
        one = F.one_hot(label, self.layout.label_dim).to(like.dtype)
        scale = math.sqrt(self.layout.label_dim) if self.layout.song else 1.0
        out: Tensor = self.map_label(one * scale)
        return out
