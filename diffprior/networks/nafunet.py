"""NAFUNet, the network of the shipped priors: small, fully convolutional, in plain torch."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..errors import SettingError
from ._shared import json_bytes, or_no_class, settings_in

__all__ = ["NAFUNet", "deepened", "load_network", "packed", "save_network"]

FREQUENCIES = 16
WEIGHTS = "diffusion_pytorch_model.safetensors"  # the names that diffusers gives to its files
CONFIG = "config.json"
STRIP = 2**19  # elements of a strip, which stays in the cache of a core; 0 for no strips


class ChannelNorm(nn.Module):
    """Root-mean-square norm over the channels of each pixel by itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        power = x.float().square().mean(1, keepdim=True)
        unit = x * torch.rsqrt(power + 1e-6).to(x.dtype)
        return unit * self.weight.to(x.dtype) + self.bias.to(x.dtype)

    def of_rows(self, x: Tensor) -> Tensor:
        """Return the same for pixels as rows ``(n, C)``, with fewer passes over the memory."""
        root = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        unit = x * torch.rsqrt(root.square() / x.shape[1] + 1e-6).to(x.dtype)
        return torch.addcmul(
            self.bias.flatten().to(x.dtype), unit, self.weight.flatten().to(x.dtype)
        )


class Block(nn.Module):
    """Norm, depthwise 3x3 and gated 1x1 convolutions with noise modulation, on a residual branch.

    After "Simple Baselines for Image Restoration" (Chen et al., 2022), https://arxiv.org/abs/2204.04676.
    """

    def __init__(self, channels: int, expansion: int, embedding: int) -> None:
        super().__init__()
        inner = expansion * channels
        self.norm = ChannelNorm(channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = nn.Conv2d(channels, 2 * inner, 1)
        self.film = nn.Linear(embedding, inner)
        self.reduce = nn.Conv2d(inner, channels, 1)
        for zero in self.film.parameters():
            nn.init.zeros_(zero)
        with torch.no_grad():
            self.reduce.weight.mul_(0.2)  # small residual branches keep deep stacks stable

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self._suits_strips(x):
            return self._in_strips(x, embedding)
        p, q = self.expand(self.depthwise(self.norm(x))).chunk(2, 1)
        h = p * F.silu(q)
        h = h * (1 + self.film(embedding)[:, :, None, None]).to(h.dtype)
        out: Tensor = x + self.reduce(h)
        return out

    def _suits_strips(self, x: Tensor) -> bool:
        """Return whether x is one image on a CPU, of which no derivative is asked.

        A traced block is for images of any size, and has no strips.
        """
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            return False
        derived = torch.is_grad_enabled() and (x.requires_grad or self.expand.weight.requires_grad)
        return STRIP > 0 and len(x) == 1 and x.device.type == "cpu" and not derived

    def _in_strips(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the output for one image, some rows of pixels at a time.

        On a CPU a block is bound by memory: its 1x1 convolutions widen the image fourfold, and
        what they make of all of it fits in no cache. Strips fit. The modulation is part of the
        weights that reduce, which rounds differently in half precision.
        """
        _, channels, height, width = x.shape
        x = x.contiguous(memory_format=torch.channels_last)
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels)
        normed = self.norm.of_rows(pixels).view(1, height, width, channels).permute(0, 3, 1, 2)
        h = self.depthwise(normed).permute(0, 2, 3, 1).reshape(-1, channels)
        w_p, w_q = self.expand.weight.flatten(1).to(x.dtype).chunk(2)
        b_p, b_q = self.expand.bias.to(x.dtype).chunk(2)  # type: ignore[union-attr]
        film = 1 + self.film(embedding).float()
        w = (self.reduce.weight.flatten(1) * film).to(x.dtype)
        b = self.reduce.bias.to(x.dtype)  # type: ignore[union-attr]
        out = torch.empty_like(pixels)
        for part in range(0, len(pixels), max(1, STRIP // channels)):
            rows = slice(part, part + max(1, STRIP // channels))
            gate = F.silu(F.linear(h[rows], w_q, b_q), inplace=True)
            gate *= F.linear(h[rows], w_p, b_p)
            torch.add(pixels[rows], F.linear(gate, w, b), out=out[rows])
        return out.view(1, height, width, channels).permute(0, 3, 1, 2)


class NAFUNet(nn.Module):
    """The network F(x, c_noise) inside the preconditioning of Karras et al. (2022).

    Squares of ``patch`` x ``patch`` pixels become channels, pass an encoder and a decoder of gated
    blocks with added skip connections, and become pixels again. The image can have any size whose
    sides are multiples of ``stride``.

    Arguments:
        channels: Width of each level, finest first.
        blocks: Number of blocks of each level of the encoder; the decoder has as many.
        image_channels: Channels of the image.
        patch: Side of the squares of pixels that become channels.
        expansion: Width of the gate of a block, as a multiple of its channels.
        embedding: Width of the noise embedding.
        sigma_data: Standard deviation of the data.
        sigma_min, sigma_max: Noise levels of the training, in [-1, 1] units.
        classes: Number of classes; 0 for none.
        size: Default side of its images, in pixels.
        numbers: Outputs for each number of an image: 2 with its variance.
        time_scale: What c_noise is multiplied by; the network expects a range of about 2.
    """

    local: ClassVar[bool] = True  # it has no attention, and sees what is near a pixel

    def __init__(  # noqa: PLR0913 - the entries of config.json
        self,
        channels: Sequence[int] = (64, 128, 256, 256),
        blocks: Sequence[int] = (2, 3, 3, 2),
        image_channels: int = 3,
        patch: int = 2,
        expansion: int = 2,
        embedding: int = 128,
        sigma_data: float = 0.5,
        sigma_min: float = 0.005,
        sigma_max: float = 20.0,
        classes: int = 0,
        size: int = 256,
        numbers: int = 1,
        time_scale: float = 1.0,
    ) -> None:
        settings = settings_in(NAFUNet, locals())
        super().__init__()
        self.settings = settings
        self.patch = patch
        self.stride = patch * 2 ** (len(channels) - 1)
        self.image_channels = image_channels
        self.classes = classes
        self.size = size
        self.shape = (image_channels, size, size)
        self.numbers = numbers
        self.time_scale = time_scale
        self.sigma_data = sigma_data
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

        def level(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(Block(width, expansion, embedding) for _ in range(count))

        pixels = image_channels * patch**2
        pairs = list(pairwise(channels))
        widths = [2 * FREQUENCIES, embedding, embedding]
        dense = ([nn.Linear(a, b), nn.SiLU()] for a, b in pairwise(widths))
        self.embed = nn.Sequential(*chain(*dense))
        if classes:  # the last row is that of no class
            self.label = nn.Embedding(classes + 1, embedding)
        self.first = nn.Conv2d(pixels + 1, channels[0], 3, padding=1)  # + 1: ones show the border
        self.encoder = nn.ModuleList(level(c, n) for c, n in zip(channels, blocks, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairs)
        self.decoder = nn.ModuleList(
            level(c, n) for c, n in zip(channels[:-1], blocks, strict=False)
        )
        self.last = nn.Conv2d(channels[0], numbers * pixels, 3, padding=1)
        for zero in self.last.parameters():
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, c_noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return F(x, c_noise), of the shape of ``x``, with ``numbers`` times its channels.

        Arguments:
            x: Scaled noisy images, of shape ``(B, C, H, W)``.
            c_noise: log(sigma) / 4 of each, of shape ``(B,)``.
            labels: The class of each, of shape ``(B,)``; the number ``classes``, or None for the
                whole batch, is no class.
        """
        embedding = self._condition(c_noise, labels)
        h = F.pixel_unshuffle(x, self.patch)
        h = torch.cat([h, torch.ones_like(h[:, :1])], 1)
        h = self.first(h.contiguous(memory_format=torch.channels_last))
        skips = []
        for i, level in enumerate(self.encoder):
            for block in cast(nn.ModuleList, level):
                h = block(h, embedding)
            if i < len(self.down):
                skips.append(h)
                h = self.down[i](h)
        for i in reversed(range(len(self.up))):
            h = self.up[i](h) + skips.pop()
            for block in cast(nn.ModuleList, self.decoder[i]):
                h = block(h, embedding)
        return F.pixel_shuffle(self.last(h), self.patch)

    def _condition(self, c_noise: Tensor, labels: Tensor | None) -> Tensor:
        """Return the embedding of noise levels and classes, ``(B, embedding)``."""
        k = torch.arange(1, FREQUENCIES + 1, device=c_noise.device) * (math.pi / 8)
        angles = self.time_scale * c_noise.float()[:, None] * k
        embedding: Tensor = self.embed(torch.cat([angles.cos(), angles.sin()], 1))
        if not self.classes:
            return embedding
        classes: Tensor = self.label(or_no_class(labels, c_noise, self.classes))
        return embedding + classes


def deepened(network: NAFUNet, blocks: Sequence[int]) -> NAFUNet:
    """Return a network with more blocks that computes the same, to the last bit, until it learns.

    The new blocks come last on their level, and add nothing to what passes them.

    Arguments:
        blocks: Number of blocks of each level, at least as many as it has.

    Raises:
        SettingError: If there are fewer blocks, or of another number of levels.
    """
    before = network.settings["blocks"]
    if len(blocks) != len(before) or any(n < m for n, m in zip(blocks, before, strict=True)):
        raise SettingError(f"the network has {before} blocks a level, and cannot get {[*blocks]}")
    made = NAFUNet(**network.settings | {"blocks": [*blocks]})
    for part in (made.encoder, made.decoder):
        for level, old in zip(part, before, strict=False):
            for block in list(cast(nn.ModuleList, level))[old:]:
                for zero in cast(Block, block).reduce.parameters():
                    nn.init.zeros_(zero)
    made.load_state_dict(network.state_dict(), strict=False)
    return made


def save_network(
    network: nn.Module,
    folder: Path,
    weights: dict[str, Tensor] | None = None,
    dtype: torch.dtype | None = torch.float16,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a model folder that ``load_network`` and diffusers read.

    Arguments:
        network, weights, dtype, notes: As of ``packed``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in packed(network, weights, dtype, notes).items():
        part = folder / f"{name}.part"
        part.write_bytes(data)
        part.replace(folder / name)  # whole or not at all


def packed(
    network: nn.Module,
    weights: dict[str, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    notes: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """Return the bytes of the files of a model folder, by their names.

    Arguments:
        network: A network with ``settings``, the arguments of its class.
        weights: Written in the place of the network's own, such as a moving average of them.
        dtype: Their dtype in the file; None keeps the dtype that they have.
        notes: Further entries of the config, whose names begin with ``_``.
    """
    settings: Any = network.settings
    config = {"_class_name": type(network).__name__, **settings, **(notes or {})}
    state = weights or network.state_dict()
    tensors = {k: v.to(dtype or v.dtype).contiguous() for k, v in state.items()}
    return {
        CONFIG: json_bytes(config),
        WEIGHTS: save(tensors, metadata={"format": "pt"}),
    }


def load_network(folder: Path) -> NAFUNet:
    """Open a folder of ``save_network``, or of ``save_pretrained`` of diffusers, in float32."""
    config = json.loads((folder / CONFIG).read_text())
    network = NAFUNet(**{k: v for k, v in config.items() if not k.startswith("_")})
    network.load_state_dict({k: v.float() for k, v in load_file(folder / WEIGHTS).items()})
    return network
