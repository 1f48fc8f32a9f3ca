"""The default prior's network as a diffusers model, for the tools of that ecosystem."""

from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from ..networks import nafunet

__all__ = ["NAFUNet"]


class NAFUNet(nafunet.NAFUNet, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """``diffprior.networks.nafunet.NAFUNet`` with ``save_pretrained`` and ``from_pretrained``.

    Both classes read what the other writes.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
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
    ) -> None:
        nafunet.NAFUNet.__init__(
            self,
            channels,
            blocks,
            image_channels,
            patch,
            expansion,
            embedding,
            sigma_data,
            sigma_min,
            sigma_max,
            classes,
            size,
        )
