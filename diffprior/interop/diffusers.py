"""The network of the shipped priors as a model of diffusers."""

from functools import wraps
from typing import Any

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin

from ..networks import nafunet

__all__ = ["NAFUNet"]


class NAFUNet(nafunet.NAFUNet, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """``diffprior.networks.nafunet.NAFUNet`` with ``save_pretrained`` and ``from_pretrained``.

    Both classes read what the other writes, and have the same arguments.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    @wraps(nafunet.NAFUNet.__init__)  # its signature, from which diffusers takes the config
    def __init__(self, *args: Any, **settings: Any) -> None:
        nafunet.NAFUNet.__init__(self, *args, **settings)
