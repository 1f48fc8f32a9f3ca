"""A small diffusion transformer, by the class of diffusers."""

from torch import Tensor, nn

from ._shared import or_no_class, settings_in

__all__ = ["DiT"]


class DiT(nn.Module):
    """The network F(x, time): squares of pixels are tokens; time and class steer the norms.

    "Scalable Diffusion Models with Transformers" (Peebles and Xie, 2023),
    https://arxiv.org/abs/2212.09748; it is ``DiTTransformer2DModel``.

    Arguments:
        size: Side of the images, a multiple of ``patch``.
        image_channels: Channels of the image.
        patch: Side of a token, in pixels.
        width: Width of a token, a multiple of ``heads``.
        layers: Number of blocks.
        heads: Attention heads of a block.
        numbers: Outputs for each number of an image.
        classes: Number of classes; 0 for none.
        sigma_data: Standard deviation of the data.
        time_scale: What the time is multiplied by; the network expects a range of about 1000.
    """

    def __init__(  # noqa: PLR0913 - the entries of config.json
        self,
        size: int = 32,
        image_channels: int = 3,
        patch: int = 4,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        numbers: int = 1,
        classes: int = 0,
        sigma_data: float = 0.5,
        time_scale: float = 1.0,
    ) -> None:
        from diffusers import DiTTransformer2DModel

        settings = settings_in(DiT, locals())
        super().__init__()
        self.settings = settings
        self.shape = (image_channels, size, size)
        self.stride = None
        self.numbers = numbers
        self.classes = classes
        self.sigma_data = sigma_data
        self.time_scale = time_scale
        self.transformer = DiTTransformer2DModel(
            num_attention_heads=heads,
            attention_head_dim=width // heads,
            in_channels=image_channels,
            out_channels=numbers * image_channels,
            num_layers=layers,
            sample_size=size,
            patch_size=patch,
            attention_bias=True,
            norm_num_groups=1,
            num_embeds_ada_norm=max(classes, 1),  # the row after them is that of no class
        )
        embed = self.transformer.pos_embed
        embed.register_buffer("pos_embed", embed.pos_embed, persistent=True)  # it is saved, too
        self._start()
        self.train(False)

    def _start(self) -> None:
        """Start each block as the identity, and the output at zero."""
        for block in self.transformer.transformer_blocks:
            nn.init.zeros_(block.norm1.linear.weight)
            nn.init.zeros_(block.norm1.linear.bias)
        for layer in (self.transformer.proj_out_1, self.transformer.proj_out_2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def train(self, mode: bool = True) -> "DiT":
        """Keep the network in its one mode: diffusers would drop classes at random, unseeded."""
        super().train(mode)
        self.transformer.train(False)
        return self

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return F(x, time), of shape ``(B, numbers * C, size, size)``.

        Arguments:
            x: Images, of shape ``(B, C, size, size)``.
            time: The time of each, of shape ``(B,)``.
            labels: The class of each, of shape ``(B,)``; the number ``classes``, or None for the
                whole batch, is no class.
        """
        labels = or_no_class(labels, time, max(self.classes, 1))
        out: Tensor = self.transformer(
            x, timestep=self.time_scale * time, class_labels=labels, return_dict=False
        )[0]
        return out
