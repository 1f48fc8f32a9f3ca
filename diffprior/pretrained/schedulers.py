"""Schedulers of diffusers whose configs say how a network was trained: this is their list."""

from pathlib import Path
from typing import Any

from ..validation import Positive, Within, check
from .checkpoints import read_json

__all__ = ["SCHEDULERS", "check_scheduler", "scheduler_in"]

CONFIG = "scheduler_config.json"
MOST_STEPS = 100_000

# How the network of each scheduler is read. Of its config only what the network was trained with
# counts, never how the scheduler would sample: spacing, order, Karras sigmas, the last sigma.
SCHEDULERS = {
    **dict.fromkeys(
        (
            "CogVideoXDDIMScheduler",
            "CogVideoXDPMScheduler",
            "DDIMInverseScheduler",
            "DDIMParallelScheduler",
            "DDIMScheduler",
            "DDPMParallelScheduler",
            "DDPMScheduler",
            "DEISMultistepScheduler",
            "DPMSolverMultistepInverseScheduler",
            "DPMSolverMultistepScheduler",
            "DPMSolverSDEScheduler",
            "DPMSolverSinglestepScheduler",
            "EulerAncestralDiscreteScheduler",
            "EulerDiscreteScheduler",
            "HeunDiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "LCMScheduler",
            "LMSDiscreteScheduler",
            "PNDMScheduler",
            "RePaintScheduler",
            "SASolverScheduler",
            "TCDScheduler",
            "UnCLIPScheduler",
            "UniPCMultistepScheduler",
        ),
        "a table of betas",
    ),
    "ScoreSdeVeScheduler": "scores under exploding noise",
    "EDMEulerScheduler": "the preconditioning of Karras",
    "EDMDPMSolverMultistepScheduler": "the preconditioning of Karras",
    "CMStochasticIterativeScheduler": "a consistency function",
    "FlowMatchEulerDiscreteScheduler": "a flow",
    "FlowMatchHeunDiscreteScheduler": "a flow",
    "FlowMatchLCMScheduler": "a flow",
}
# a class with the same defaults, of one that needs a package to sample
SAME = {"DPMSolverSDEScheduler": "HeunDiscreteScheduler"}


def scheduler_in(folder: Path) -> Any:
    """Return the scheduler of a config file, with the defaults of its class.

    Raises:
        ValueError: If it is none of ``SCHEDULERS``, or says nothing that a network can be read by.
    """
    import diffusers

    config = read_json(folder / CONFIG)
    name = config.get("_class_name", "DDPMScheduler")
    if not isinstance(name, str) or name not in SCHEDULERS:
        raise ValueError(
            f"its scheduler is a {name!r:.60}, by which no network can be read; docs/priors.md "
            "lists those that can"
        )
    kind = getattr(diffusers, SAME.get(name, name), None)
    if kind is None:
        raise ValueError(f"this version of diffusers has no {name}")
    if "num_train_timesteps" in config:
        steps = config["num_train_timesteps"]
        check("its num_train_timesteps", steps, int, Within(1, MOST_STEPS))
    betas = config.get("trained_betas") or []
    if len(betas) > MOST_STEPS:
        raise ValueError(f"its trained_betas are {len(betas)}, and there are {MOST_STEPS} at most")
    scheduler = kind.from_config({k: v for k, v in config.items() if not k.startswith("_")})
    check_scheduler(scheduler)
    return scheduler


def check_scheduler(scheduler: Any) -> None:
    """Refuse a scheduler whose network would be asked something else than it was trained for."""
    name = type(scheduler).__name__
    config = scheduler.config
    predicts = config.get("prediction_type", "epsilon")
    if SCHEDULERS.get(name) is None:
        raise ValueError(f"no network can be read by a {name}; docs/priors.md lists those that can")
    if config.get("timestep_type", "discrete") != "discrete":
        raise ValueError(
            f"its {name} has timestep_type={config['timestep_type']!r:.40}: its network takes the "
            "logarithm of a noise level, and only networks of discrete steps are read"
        )
    if config.get("invert_sigmas"):
        raise ValueError(f"its {name} has invert_sigmas, whose times run backward: it is not read")
    if config.get("use_flow_sigmas") and predicts != "flow_prediction":
        raise ValueError(f"its {name} has use_flow_sigmas, and predicts {predicts!r:.40}, no flow")
    for level in ("sigma_min", "sigma_max", "sigma_data", "shift", "flow_shift"):
        if config.get(level) is not None:  # None is a default of schedulers with a table
            check(f"its {level}", config[level], Positive)
    table = getattr(scheduler, "alphas_cumprod", None)
    if table is None:
        if (config.get("sigma_min") or 0) >= (config.get("sigma_max") or 1e9):
            raise ValueError(f"the sigma_min of its {name} is not below its sigma_max")
        return
    falls = bool((table[1:] <= table[:-1]).all()) and bool(table.isfinite().all())
    if not falls or not 0 < float(table[0]) < 1 or float(table[-1]) < 0:
        raise ValueError(f"the betas of its {name} are no noise schedule: each lies in (0, 1)")
