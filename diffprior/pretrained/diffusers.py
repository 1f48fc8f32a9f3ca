"""Networks of diffusers without text; their scheduler says how they were trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..networks.parameterizations import (
    Consistency,
    Discrete,
    Flow,
    Karras,
    Parameterization,
    Score,
)
from ..priors.network import NetworkPrior
from .checkpoints import read_json
from .components import network_in_folder, place_of, quiet, tell_average
from .schedulers import CONFIG, check_scheduler, scheduler_in
from .settings import LabelSettings, P, check_channels, check_side

__all__ = [
    "NetworkSettings",
    "as_trained",
    "load_unet",
    "opened_unet",
    "parameterization_of",
    "unet_prior",
]


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(LabelSettings):
    """What the files of a network do not say.

    Attributes:
        label: The class, for a network with classes.
        null_label: The class that stands for no class, if the network was trained with one.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1].
    """

    clip: bool = False

    def of(self, prior: P) -> P:
        return super().of(prior._replace(clip=self.clip))


def load_unet(folder: Path, settings: NetworkSettings) -> NetworkPrior:
    """Open a folder with a ``UNet2DModel``, or with ``unet/``, and its scheduler's config."""
    unet, parameterization = opened_unet(folder)
    check_channels(unet.config.in_channels, unet.config.out_channels)
    return as_trained(unet_prior(unet, parameterization), _home(folder), settings)


def as_trained(prior: P, folder: Path, settings: NetworkSettings) -> P:
    """Return a prior with what the config of a network that was trained here says, and settings.

    Arguments:
        prior: The prior of the network.
        folder: Folder of the network; its config may name an objective and a class of no class.
        settings: Those of the user, which come first.
    """
    config = read_json(folder / "config.json")
    null = config.get("_null_label") if settings.null_label is None else settings.null_label
    prior = replace(settings, null_label=null).of(prior)
    objective = config.get("_objective")
    return prior._replace(objective=objective) if isinstance(objective, str) else prior


def opened_unet(folder: Path) -> tuple[Any, Parameterization]:
    """Return the network of such a folder, and how it was trained; its channels are not checked."""
    places = (folder / "scheduler", folder)
    place = next((p for p in places if (p / CONFIG).exists()), None)
    if place is None:
        raise FileNotFoundError(
            f"{folder} has no scheduler_config.json, which says how its network was trained"
        )
    with quiet():
        scheduler = scheduler_in(place)
    parameterization = parameterization_of(scheduler)
    unet = _network(_home(folder))
    tell_average(folder, "unet")
    return unet, parameterization


def _home(folder: Path) -> Path:
    """Return the folder of the network itself."""
    return place_of(folder, "unet") if (folder / "unet").is_dir() else folder


def unet_prior(
    unet: nn.Module,
    parameterization: Parameterization,
    settings: NetworkSettings = NetworkSettings(),  # noqa: B008
) -> NetworkPrior:
    """Return the prior of a ``UNet2DModel``, of the size in its config.

    Learned variances are ignored.
    """
    config: Mapping[str, Any] = unet.config  # type: ignore[assignment]
    size = config["sample_size"]
    sides = (size, size) if isinstance(size, int) else tuple(size)
    for side in sides:
        check_side(side)
    if (embedded := config.get("class_embed_type")) is not None:
        raise ValueError(f"its classes are embedded by {embedded!r:.40}, and not by their number")
    prior = NetworkPrior(
        unet,
        parameterization,
        (config["in_channels"], *sides),
        classes=config.get("num_class_embeds") or 0,
        multiple=None,
    )
    return settings.of(prior)


def _network(folder: Path) -> Any:
    """Open a network, or say which weights are missing; diffusers would draw them at random."""
    from diffusers import UNet2DModel

    with quiet():
        unet, info = network_in_folder(folder, UNet2DModel, torch.float32)
    unknown = set(info["unexpected_keys"]) - {"time_proj.W"}  # twice in the files of 2022
    for what, keys in (("lacks", info["missing_keys"]), ("adds", unknown)):
        if keys:
            first = min(keys)
            raise ValueError(
                f"its weights are not those of its config: it {what} {len(keys)} tensors, first "
                f"those of {first.rpartition('.')[0]} ({first})"
            )
    return unet


def parameterization_of(scheduler: Any) -> Parameterization:
    """Return the parameterization of a scheduler of diffusers.

    Raises:
        ValueError: If its network cannot be read by it.
    """
    check_scheduler(scheduler)
    config = scheduler.config
    name = type(scheduler).__name__
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
    distilled = name in ("LCMScheduler", "TCDScheduler")
    return Discrete(scheduler.alphas_cumprod, predicts, consistency=distilled)


def _flow(config: Mapping[str, Any]) -> Flow:
    """Return a flow; if its shift grows with the image size, with that of the largest size.

    mu is linear in the number of tokens, through the two sizes that the config names.
    """
    steps = config["num_train_timesteps"]
    shift = config.get("shift", config.get("flow_shift", 1))
    if not config.get("use_dynamic_shifting"):
        return Flow(steps, float(shift))
    few, many = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)

    def growth(tokens: int) -> float:
        mu: float = low + (high - low) * (tokens - few) / (many - few)
        return mu if config.get("time_shift_type") == "linear" else math.exp(mu)

    return Flow(steps, growth(many), growth)
