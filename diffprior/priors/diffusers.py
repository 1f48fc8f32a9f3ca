"""Networks of diffusers without text, each read by the scheduler that it was trained with."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..diffusions import GaussianDiffusion
from ..networks.parameterizations import Consistency, Discrete, Flow, Head, Karras, Score
from ..pretrained.components import quiet, variant
from .labelled import LabelledPrior, checked

__all__ = ["DiffusersPrior"]


class DiffusersPrior(LabelledPrior):
    """A ``UNet2DModel`` on the noise that it was trained with; learned variances are cut off.

    Arguments:
        unet: The network; called with images, times and, where it has classes, labels.
        head: How it is asked, and read.
        label: The class, where the network has classes.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1]; theory has no clipping.
    """

    def __init__(
        self, unet: nn.Module, head: Head, label: int | None = None, clip: bool = False
    ) -> None:
        super().__init__()
        self.unet = unet.requires_grad_(False).eval()
        config: Mapping[str, Any] = unet.config  # type: ignore[assignment]
        size = config["sample_size"]
        sides = (size, size) if isinstance(size, int) else tuple(size)
        self.shape = (config["in_channels"], *sides)
        self.classes = config.get("num_class_embeds") or 0
        self.head, self.clip, self.label = head, clip, checked(label, self.classes)
        self.diffusion = GaussianDiffusion(head.schedule)

    @classmethod
    def load(
        cls, folder: Path, *, label: int | None = None, clip: bool = False
    ) -> "DiffusersPrior":
        """Open a pipeline folder: ``unet/`` (or the folder itself) and its scheduler's config."""
        places = (folder / "scheduler", folder)
        place = next((p for p in places if (p / "scheduler_config.json").exists()), None)
        if place is None:
            raise FileNotFoundError(
                f"{folder} has no scheduler_config.json, which says how its network was trained"
            )
        unet = _network(folder / "unet" if (folder / "unet").is_dir() else folder)
        return cls(unet, _head(place), label, clip)

    def estimate(self, x_t: Tensor, t: Tensor) -> Tensor:
        x, time = self.head.ask(x_t, t)
        labels = self.labels(x_t)
        given = () if labels is None else (labels,)
        out: Tensor = self.unet(x, time.to(x_t).expand(len(x_t)), *given).sample
        x_0 = self.head.mean(x_t, t, out[:, : x_t.shape[1]])
        return x_0.clamp(-1, 1) if self.clip else x_0


def _network(folder: Path) -> nn.Module:
    """Open a network, or raise a sentence of what its weights lack; diffusers would draw them."""
    from diffusers import UNet2DModel

    with quiet():
        unet, found = UNet2DModel.from_pretrained(
            folder,
            variant=variant(folder),
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    unknown = set(found["unexpected_keys"]) - {"time_proj.W"}  # twice in the files of 2022
    for what, keys in (("lacks", found["missing_keys"]), ("adds", unknown)):
        if keys:
            first = min(keys)
            raise ValueError(
                f"its weights are not those of its config: it {what} {len(keys)} tensors, first "
                f"those of {first.rpartition('.')[0]} ({first})"
            )
    network: nn.Module = unet
    return network


def _head(folder: Path) -> Head:
    """Return the convention of a scheduler's config, with the defaults of its own class."""
    import diffusers

    name = diffusers.DDPMScheduler.load_config(folder).get("_class_name", "DDPMScheduler")
    kind = getattr(diffusers, name, None)
    if kind is None or not hasattr(kind, "from_pretrained"):
        raise ValueError(f"diffusers has no scheduler {name!r}, which its network was trained with")
    return head_of(kind.from_pretrained(folder))


def head_of(scheduler: Any) -> Head:
    """Return the convention of a scheduler of diffusers."""
    config, name = scheduler.config, type(scheduler).__name__
    levels = {k: config[k] for k in ("sigma_min", "sigma_max", "sigma_data") if k in config}
    predicts = config.get("prediction_type", "epsilon")
    if name == "ScoreSdeVeScheduler":
        return Score(config.sigma_min, config.sigma_max)
    if name.startswith("EDM"):
        return Karras(**levels, kind=predicts)
    if name.startswith("CMStochastic"):
        return Consistency(**levels)
    if name.startswith("FlowMatch") or predicts == "flow_prediction":
        return _flow(config)
    if not hasattr(scheduler, "alphas_cumprod"):
        raise ValueError(f"{name} has no table of betas, so its network cannot be read")
    return Discrete(scheduler.alphas_cumprod, predicts)


def _flow(config: Mapping[str, Any]) -> Flow:
    """Return a flow; where the shift of its times grows with the image, that of the largest.

    mu is linear in the tokens between the two sizes that the config names, and beyond.
    """
    steps, shift = config["num_train_timesteps"], config.get("shift", config.get("flow_shift", 1))
    if not config.get("use_dynamic_shifting"):
        return Flow(steps, float(shift))
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)

    def growth(tokens: int) -> float:
        mu: float = low + (high - low) * (tokens - few) / (many - few)
        return mu if config.get("time_shift_type") == "linear" else math.exp(mu)

    return Flow(steps, growth(many), growth)
