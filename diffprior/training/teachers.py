"""Teachers: a prior that a network learns from, and the network that begins as a copy of it."""

from typing import Any

import torch
from torch import Tensor

from ..errors import UnsuitedError
from ..networks.dit import DiT
from ..networks.mlp import MLP
from ..networks.nafunet import NAFUNet
from ..networks.padding import pad_to_multiple
from ..networks.parameterizations import Karras
from ..objectives.base import Denoiser, Objective, Teacher
from ..priors.base import Prior
from ..priors.network import NetworkPrior

__all__ = ["as_teacher", "check_teacher", "copy_of"]

Copied = NAFUNet | DiT | MLP


def as_teacher(prior: Prior) -> Teacher:
    """Return a prior as a teacher.

    A network is asked for all rows at once, in bfloat16 for images, and any other prior for the
    rows of one time and one class together.
    """
    schedule = prior.diffusion.schedule
    ask = _Network(prior) if type(prior) is NetworkPrior else _Groups(prior)
    return Teacher(denoise=ask, schedule=schedule, classes=prior.classes)


def check_teacher(objective: Objective, prior: Prior | None) -> None:
    """Refuse a teacher that an objective has no use for, and none where it needs one.

    Raises:
        UnsuitedError: If they do not go together.
    """
    name = type(objective).__name__
    if objective.taught and prior is None:
        raise UnsuitedError(f"{name} learns from a prior: give one as a teacher (--teacher)")
    if prior is None:
        return
    if not objective.taught:
        raise UnsuitedError(
            f"{name} learns from data alone; teachers are for consistency_distillation, guided and "
            "progressive"
        )
    own: Any = getattr(prior, "parameterization", None)
    if prior.consistency or prior.latent or getattr(own, "draws", False):
        raise UnsuitedError(
            f"a teacher knows E[x_0 | x_t] of images or points; {prior.name} doesn't"
        )
    if prior.needs_label:
        raise UnsuitedError(
            f"{name} hides a part of the labels, and {prior.name} knows images of its classes "
            "alone: a teacher knows images of any class, too"
        )
    if getattr(own, "binary", False):
        raise UnsuitedError(f"{name} is for Gaussian noise, and {prior.name} has bits for states")


def copy_of(prior: Prior, objective: Objective) -> Copied | None:
    """Return the network that a run begins with, a copy of that of its teacher.

    Returns:
        None if the run begins with a new network, which is for objectives that allow it.

    Raises:
        UnsuitedError: If there is no copy, and the objective needs one.
    """
    network = getattr(prior, "network", None)
    own: Any = getattr(prior, "parameterization", None)
    ours = type(prior) is NetworkPrior and isinstance(network, Copied)
    if not ours and objective.copies:
        raise UnsuitedError(
            f"the network of {type(objective).__name__} begins as a copy of that of its teacher, "
            f"which has to be a nafunet, a dit or an mlp of this library; {prior.name} has none"
        )
    if not ours or not (objective.copies or type(own) is Karras):
        return None
    assert isinstance(network, Copied)
    made: Copied = type(network)(**network.settings)
    made.load_state_dict(network.state_dict())
    return made


class _Network:
    """The network of a prior, each row at a time of its own; ``classes`` is the label of none."""

    def __init__(self, prior: Prior) -> None:
        assert isinstance(prior, NetworkPrior)
        self.prior = prior

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        prior = self.prior
        known = labels if prior.classes else None
        if known is not None and prior.null_label is not None:
            known = torch.where(known == prior.classes, prior.null_label, known)
        ask = Denoiser(network=self._forward, parameterization=prior.parameterization, labels=known)
        x_0 = ask(x_t, t)
        return x_0.clamp(-1, 1) if prior.clip else x_0

    def _forward(self, x: Tensor, *inputs: Tensor) -> Tensor:
        if x.ndim < 4:
            return self.prior.network(x, *inputs)  # type: ignore[no-any-return]
        height, width = x.shape[2:]
        padded = pad_to_multiple(x, self.prior.multiple or 1)
        with torch.autocast(x.device.type, torch.bfloat16):
            out = self.prior.network(padded, *inputs)
        out = out if isinstance(out, Tensor) else out.sample
        return out[..., :height, :width]


class _Groups:
    """Any prior, asked for the rows of one time and one class together."""

    def __init__(self, prior: Prior) -> None:
        self.prior = prior

    @torch.no_grad()
    def __call__(self, x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        out = torch.empty_like(x_t)
        none = torch.full_like(t, self.prior.classes, dtype=torch.long)
        classes = none if labels is None or not self.prior.classes else labels
        for time in torch.unique(t):
            for label in torch.unique(classes[t == time]):
                rows = (t == time) & (classes == label)
                chosen = int(label)
                known = chosen < self.prior.classes
                prior = self.prior.for_label(chosen) if known else self.prior
                out[rows] = prior(x_t[rows], time.double()).to(x_t)
        return out
