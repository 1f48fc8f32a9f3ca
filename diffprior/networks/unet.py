"""The U-Net of DDPM, by the class of diffusers."""

from collections.abc import Mapping, Sequence
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ..errors import UnsuitedError
from ._shared import json_bytes, or_no_class, settings_in
from .nafunet import CONFIG, WEIGHTS
from .parameterizations import Discrete, Flow, Karras, Mean, Parameterization, Score

__all__ = ["UNet", "packed_unet", "scheduler_config"]

SCHEDULER = "scheduler_config.json"


class UNet(nn.Module):
    """The network F(x, time) of "Denoising Diffusion Probabilistic Models" (Ho et al., 2020).

    ResNet blocks with group norm, and attention where an image has ``attention`` pixels a side or
    fewer. https://arxiv.org/abs/2006.11239; it is ``UNet2DModel``.

    Arguments:
        size: Side of the images, a multiple of 2^(levels - 1).
        image_channels: Channels of the image.
        channels: Width of each level, finest first, multiples of 8.
        layers: Blocks of each level.
        attention: The largest side at which there is attention.
        time: How the time is embedded: ``positional``, or ``fourier``: random frequencies of its
            logarithm, with an output that is divided by it, for networks of scores.
        adaptive: Whether the time scales the group norms, and is not only added.
        numbers: Outputs for each number of an image.
        classes: Number of classes; 0 for none.
        sigma_data: Standard deviation of the data.
        seen: Channels that the network takes after those of the image.
    """

    def __init__(  # noqa: PLR0913 - as many as the network has
        self,
        size: int = 32,
        image_channels: int = 3,
        channels: Sequence[int] = (32, 64, 64),
        layers: int = 1,
        attention: int = 16,
        time: str = "positional",
        adaptive: bool = True,
        numbers: int = 1,
        classes: int = 0,
        sigma_data: float = 0.5,
        seen: int = 0,
    ) -> None:
        from diffusers import UNet2DModel

        settings = settings_in(UNet, locals())
        super().__init__()
        self.settings = settings
        self.shape = (image_channels, size, size)
        self.stride = None
        self.numbers = numbers
        self.classes = classes
        self.sigma_data = sigma_data
        attends = [size >> i <= attention for i in range(len(channels))]
        self.unet = UNet2DModel(
            sample_size=size,
            in_channels=image_channels + seen,
            out_channels=numbers * image_channels,
            layers_per_block=layers,
            block_out_channels=tuple(channels),
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
            norm_num_groups=8,
            time_embedding_type=time,
            resnet_time_scale_shift="scale_shift" if adaptive else "default",
            num_class_embeds=classes + 1 if classes else None,  # the last is that of no class
        )

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return F(x, time), of shape ``(B, numbers * C, size, size)``.

        Arguments:
            x: Images, of shape ``(B, C, size, size)``.
            time: The time of each, of shape ``(B,)``.
            labels: The class of each, of shape ``(B,)``; the number ``classes``, or None for the
                whole batch, is no class.
        """
        if self.classes:
            labels = or_no_class(labels, time, self.classes)
        out: Tensor = self.unet(x, time, class_labels=labels, return_dict=False)[0]
        return out


def packed_unet(
    network: UNet, weights: Mapping[str, Tensor], own: Parameterization, notes: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the bytes of the files of a folder of diffusers, by their names.

    Arguments:
        weights: Written in the place of the network's own.
        own: How it was trained, for the config of a scheduler.
        notes: Further entries of the config.
    """
    config = {"_class_name": "UNet2DModel", **network.unet.config}
    config = {k: v for k, v in config.items() if k in notes or k == "_class_name" or k[0] != "_"}
    if network.classes:
        config["_null_label"] = network.classes
    tensors = {k.removeprefix("unet."): v.contiguous() for k, v in weights.items()}
    return {
        CONFIG: json_bytes(config | dict(notes)),
        SCHEDULER: json_bytes(scheduler_config(own, network.numbers)),
        WEIGHTS: save(tensors, metadata={"format": "pt"}),
    }


def scheduler_config(own: Parameterization, numbers: int) -> dict[str, Any]:
    """Return the config of the scheduler of diffusers that says how a network was trained.

    Arguments:
        own: How it was trained.
        numbers: Its outputs for each number of an image.

    Raises:
        UnsuitedError: If diffusers has no scheduler that says it.
    """
    if isinstance(own, Discrete) and not isinstance(own, Mean):
        products = own.schedule.alphas_cumprod.double()  # type: ignore[attr-defined]
        betas = 1 - products / products.roll(1).index_fill(0, products.new_zeros(1).long(), 1.0)
        return {
            "_class_name": "DDPMScheduler",
            "num_train_timesteps": own.steps,
            "trained_betas": betas.tolist(),
            "prediction_type": own.kind,
            "variance_type": "learned_range" if numbers == 2 else "fixed_small",
        }
    if isinstance(own, Flow):
        name = "FlowMatchEulerDiscreteScheduler"
        return {"_class_name": name, "num_train_timesteps": own.steps, "shift": 1.0}
    if isinstance(own, Score):
        low, high = own.levels
        return {"_class_name": "ScoreSdeVeScheduler", "sigma_min": low, "sigma_max": high}
    if isinstance(own, Karras):
        schedule: Any = own.schedule
        return {
            "_class_name": "EDMEulerScheduler",
            "sigma_min": schedule.sigma_min,
            "sigma_max": schedule.sigma_max,
            "sigma_data": own.sigma_data,
        }
    raise UnsuitedError(
        f"unet is saved for diffusers, which has no networks that say {_said(own)}: use nafunet or "
        "dit"
    )


def _said(own: Parameterization) -> str:
    """Return what a network says for which diffusers has no scheduler, in words."""
    if isinstance(own, Mean):
        return "mu"
    if own.draws:
        return "a draw"
    return "the end of the flow" if own.consistency else "the odds of bits"
