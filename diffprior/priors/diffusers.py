"""Unconditional networks of diffusers, each on the schedule that it was trained with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..diffusions import GaussianDiffusion
from ..schedules import Tabulated
from .base import Prior

__all__ = ["DiffusersPrior"]

HEADS = ("epsilon", "v_prediction", "sample")


class DiffusersPrior(Prior):
    """A ``UNet2DModel`` with an epsilon, v_prediction or sample head; learned variance is cut off.

    Arguments:
        unet: The network; called with states and step indices, which may be fractions.
        alphas_cumprod: The products of 1 - beta at its steps, of shape ``(N,)``.
        head: What it predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1]; theory has no clipping.
    """

    def __init__(
        self, unet: nn.Module, alphas_cumprod: Tensor, head: str = "epsilon", clip: bool = False
    ) -> None:
        super().__init__()
        if head not in HEADS:
            raise ValueError(f"no head {head!r}; there are {', '.join(HEADS)}")
        self.unet = unet.requires_grad_(False).eval()
        config: Mapping[str, Any] = unet.config  # type: ignore[assignment]
        size = config["sample_size"]
        sides = (size, size) if isinstance(size, int) else tuple(size)
        self.shape = (config["in_channels"], *sides)
        self.diffusion = GaussianDiffusion(Tabulated(alphas_cumprod=alphas_cumprod))
        self.head, self.clip, self.steps = head, clip, len(alphas_cumprod)

    @classmethod
    def load(cls, folder: Path, clip: bool = False) -> "DiffusersPrior":
        """Open a pipeline folder: ``unet/`` (or the folder itself) and its scheduler's config."""
        from diffusers import DDPMScheduler, UNet2DModel

        unet = UNet2DModel.from_pretrained(
            folder / "unet" if (folder / "unet").is_dir() else folder
        )
        places = (folder / "scheduler", folder)
        place = next((p for p in places if (p / "scheduler_config.json").exists()), None)
        if place is None:
            raise FileNotFoundError(
                f"{folder} has no scheduler_config.json, which says how its network was trained"
            )
        config = DDPMScheduler.load_config(place)
        scheduler = DDPMScheduler.from_config(config)
        return cls(unet, scheduler.alphas_cumprod, config.get("prediction_type", "epsilon"), clip)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        step = (t * self.steps - 1).clamp_min(0).to(x_t)
        out: Tensor = self.unet(x_t, step.expand(len(x_t))).sample[:, : x_t.shape[1]]
        if self.head == "epsilon":
            x_0 = (x_t - sigma_t * out) / alpha_t
        elif self.head == "v_prediction":
            x_0 = (alpha_t * x_t - sigma_t * out) / (alpha_t**2 + sigma_t**2)
        else:
            x_0 = out
        return x_0.clamp(-1, 1) if self.clip else x_0
