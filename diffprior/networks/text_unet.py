"""A small U-Net that sees a text by cross-attention, with the encoder of the text."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ExtraError
from ._shared import or_no_class, settings_in

__all__ = ["TextUNet"]

HEADS = 4  # of each attention


class TextUNet(nn.Module):
    """F(x, time, caption), where the caption is one of those that the network is trained with.

    The U-Net is ``UNet2DConditionModel`` of diffusers, the encoder of the text ``CLIPTextModel`` of
    transformers. Both learn together, from nothing. Queries of pixels, keys and values of tokens:
    "High-Resolution Image Synthesis with Latent Diffusion Models" (Rombach et al., 2022), sec. 3.3,
    https://arxiv.org/abs/2112.10752.

    Arguments:
        tokens: The tokens of each caption, int64 of shape ``(N + 1, length)``; the last row is that
            of the empty text.
        vocabulary: Number of the tokens there are.
        ends: The tokens that begin and end a text.
        size: Side of the images, a multiple of 2^(levels - 1).
        image_channels: Channels of the image.
        channels: Width of each level, finest first, multiples of 8.
        layers: Blocks of each level.
        attention: The largest side at which there is attention.
        adaptive: Whether the time scales the group norms, and is not only added.
        width: Width of a token, a multiple of 4.
        depth: Layers of the encoder of the text.
        sigma_data: Standard deviation of the data.

    Raises:
        ExtraError: If transformers is not installed.
    """

    stride = None
    numbers = 1

    def __init__(  # noqa: PLR0913 - as many as the two networks have
        self,
        tokens: Tensor,
        vocabulary: int,
        ends: tuple[int, int],
        size: int = 32,
        image_channels: int = 3,
        channels: Sequence[int] = (32, 64, 64),
        layers: int = 1,
        attention: int = 16,
        adaptive: bool = True,
        width: int = 64,
        depth: int = 2,
        sigma_data: float = 0.5,
    ) -> None:
        settings = settings_in(TextUNet, locals())
        super().__init__()
        self.settings = settings
        self.shape = (image_channels, size, size)
        self.classes = len(tokens) - 1
        self.sigma_data = sigma_data
        self.tokens: Tensor
        self.register_buffer("tokens", tokens, persistent=False)
        self.text_encoder = _text_encoder(vocabulary, ends, tokens.shape[1], width, depth)
        attends = [size >> i <= attention for i in range(len(channels))]
        self.unet = _unet(
            sample_size=size,
            in_channels=image_channels,
            out_channels=image_channels,
            layers_per_block=layers,
            block_out_channels=tuple(channels),
            down_block_types=_blocks("Down", attends),
            up_block_types=_blocks("Up", attends[::-1]),
            cross_attention_dim=width,
            resnet_time_scale_shift="scale_shift" if adaptive else "default",
        )

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return F(x, time, caption), of the shape of ``x``.

        Arguments:
            x: Images, of shape ``(B, C, size, size)``.
            time: The time of each, of shape ``(B,)``.
            labels: The number of the caption of each, of shape ``(B,)``; the number ``classes``, or
                None for the whole batch, is the empty text.
        """
        numbers = or_no_class(labels, time, self.classes)
        known, rows = torch.unique(numbers, return_inverse=True)
        states = self.text_encoder(self.tokens[known])[0][rows]
        out: Tensor = self.unet(x, time, encoder_hidden_states=states, return_dict=False)[0]
        return out


def _unet(**settings: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(norm_num_groups=8, attention_head_dim=HEADS, **settings)


def _blocks(way: str, attends: Sequence[bool]) -> tuple[str, ...]:
    """Return the names of the blocks of each level, with cross-attention or without."""
    return tuple(f"CrossAttn{way}Block2D" if attend else f"{way}Block2D" for attend in attends)


def _text_encoder(
    vocabulary: int, ends: tuple[int, int], length: int, width: int, depth: int
) -> Any:
    try:
        from transformers import CLIPTextConfig, CLIPTextModel
    except ImportError as error:
        raise ExtraError("texts need transformers: pip install 'diffprior[latent]'") from error
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=depth,
            num_attention_heads=HEADS,
            max_position_embeddings=length,
            bos_token_id=ends[0],
            eos_token_id=ends[1],
            pad_token_id=ends[1],
        )
    )
