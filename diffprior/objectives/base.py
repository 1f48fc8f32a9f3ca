"""What an objective is: a law of times, a network's task at each, and a loss."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import SettingError, UnsuitedError
from ..networks.parameterizations import (
    Discrete,
    Karras,
    Parameterization,
    Score,
    cosine_table,
    linear_table,
)
from ..networks.predictions import Place, Prediction, convert
from ..schedules import Geometric, Schedule
from ..validation import Checked, Positive

__all__ = [
    "Batch",
    "Denoiser",
    "Levels",
    "Objective",
    "Steps",
    "Teacher",
    "check_levels",
    "column",
    "earlier",
    "evenly",
    "row_means",
    "second_derivatives",
    "taught_by",
]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What a step of a training is made of.

    Attributes:
        x_0: Clean states, of shape ``(B, *shape)``.
        t: What ``Objective.times`` returns for them, of shape ``(B,)``.
        noise: Standard normal numbers, of the shape of ``x_0``.
        probe: More of them, if the objective asks for them.
        draws: As many more of them as the objective asks for, each of the shape of ``x_0``.
        progress: The share of the run that is done, in [0, 1].
    """

    x_0: Tensor
    t: Tensor
    noise: Tensor
    probe: Tensor | None = None
    draws: Sequence[Tensor] = ()
    progress: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Teacher:
    """A prior that a network learns from, each row at a time of its own.

    Arguments:
        denoise: A map from states ``(B, *shape)``, times ``(B,)`` and labels ``(B,)`` or None to
            E[x_0 | x_t]. No gradient passes it.
        schedule: The schedule of the states.
        classes: Number of its classes, and the label of no class; 0 for none.
    """

    denoise: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    schedule: Schedule
    classes: int = 0

    def at_level(self, x: Tensor, sigma: Tensor, labels: Tensor | None) -> Tensor:
        """Return E[x_0 | x] of states x = x_0 + sigma eps, for noise levels ``(B,)``."""
        levels, rows = torch.unique(sigma, return_inverse=True)  # few: to find a time takes long
        t = self.schedule.time(levels).to(sigma)[rows]
        return self.denoise(column(self.schedule(t)[0], x) * x, t, labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoiser:
    """A network in training, each row at a time of its own.

    Arguments:
        network: A map from states ``(B, *shape)`` and times ``(B,)``, and from labels ``(B,)`` if
            there are any, to states, with more channels if it predicts more.
        parameterization: What the network takes, and what its output means.
        labels: The class of each row.
        teacher: What it learns from, if the objective asks for it.
        critic: A map from two states ``(B, *shape)``, times ``(B,)`` and labels to numbers ``(B,)``
            that are high for data, if the objective asks for it.
    """

    network: Callable[..., Tensor]
    parameterization: Parameterization
    labels: Tensor | None = None
    teacher: Teacher | None = None
    critic: Callable[..., Tensor] | None = None

    @property
    def schedule(self) -> Schedule:
        """The schedule of the states."""
        return self.parameterization.schedule

    def outputs(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return what the network says, ``(B, k C, ...)``, of states at times ``(B,)``."""
        x, time = self.parameterization.inputs(x_t, column(t, x_t))
        classes = () if self.labels is None else (self.labels,)
        return self.network(x, time.flatten().to(x_t), *classes).to(x_t.dtype)

    def denoised(self, x_t: Tensor, t: Tensor, outputs: Tensor) -> Tensor:
        """Return E[x_0 | x_t], of the shape of ``x_t``, from the first outputs of the network."""
        first = outputs[:, : x_t.shape[1]]
        return self.parameterization.denoised(x_t, column(t, x_t), first)

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t] for states ``(B, *shape)`` at times ``(B,)``."""
        return self.denoised(x_t, t, self.outputs(x_t, t))

    def predict(self, kind: Prediction, x_t: Tensor, t: Tensor) -> Tensor:
        """Return a prediction of any kind but ``mu``, of the shape of ``x_t``."""
        return convert(self(x_t, t), "x_0", kind, x_t, Place.at(self.schedule, column(t, x_t)))

    def noised(self, batch: Batch) -> Tensor:
        """Return x_t = alpha_t x_0 + sigma_t eps of a batch."""
        alpha_t, sigma_t = self.schedule(column(batch.t, batch.x_0))
        return alpha_t * batch.x_0 + sigma_t * batch.noise


class Objective(Checked, ABC):
    """What a network is trained to minimize, by the name of its module.

    Attributes:
        binary: Whether states are bits.
        probes: Whether it needs the second noise of a batch.
        draws: How many more noises of a batch it needs.
        inputs: States that the network takes: 2 with a noise of its own.
        taught: Whether it needs a teacher.
        copies: Whether its network begins as a copy of its teacher, and has its parameterization.
        rival: Whether it needs a critic, which is trained against the network.
    """

    binary: ClassVar[bool] = False
    probes: ClassVar[bool] = False
    draws: ClassVar[int] = 0
    inputs: ClassVar[int] = 1
    taught: ClassVar[bool] = False
    copies: ClassVar[bool] = False
    rival: ClassVar[bool] = False

    @property
    def numbers(self) -> int:
        """What the network predicts for each number of a state: 2 with its variance."""
        return 1

    @abstractmethod
    def parameterization(self, sigma_data: float) -> Parameterization:
        """Return what the network takes, and what its output means.

        Arguments:
            sigma_data: Standard deviation of the data.
        """

    def score_parameterization(self) -> Parameterization:
        """Return what a network that says the score itself takes.

        Raises:
            UnsuitedError: If the objective has no such form.
        """
        raise UnsuitedError(
            "a network that says the score itself (time='fourier') is for objectives ncsn, sliced "
            "and implicit"
        )

    @abstractmethod
    def times(self, u: Tensor) -> Tensor:
        """Return the times of a batch, ``(B,)``, from numbers that are uniform in (0, 1)."""

    @abstractmethod
    def losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Return the loss of each row, of shape ``(B,)``."""

    def noises(self, shape: Sequence[int], generator: torch.Generator) -> Iterator[Tensor]:
        """Yield the standard normal numbers that ``batch`` takes, on the device of the generator.

        Arguments:
            shape: Shape of a batch of states.
            generator: Source of randomness.
        """
        for _ in range(1 + int(self.probes) + self.draws):
            yield torch.randn(*shape, generator=generator, device=generator.device)

    def batch(
        self, x_0: Tensor, t: Tensor, noises: Iterable[Tensor], progress: float = 0.0
    ) -> Batch:
        """Return a batch of clean states ``(B, *shape)`` with all the noises that it needs.

        Arguments:
            t: What ``times`` returned for them, ``(B,)``.
            noises: Those of ``noises``.
            progress: The share of the run that is done, in [0, 1].
        """
        noise, *more = noises
        probes = int(self.probes)
        return Batch(
            x_0=x_0,
            t=t,
            noise=noise,
            probe=more[0] if probes else None,
            draws=more[probes:],
            progress=progress,
        )

    def critic_losses(self, denoiser: Denoiser, batch: Batch) -> Tensor:
        """Return the loss of the critic for each row, of shape ``(B,)``.

        Raises:
            UnsuitedError: If the objective has none.
        """
        raise UnsuitedError(f"{type(self).__name__} has no critic")


@dataclass(frozen=True, kw_only=True)
class Steps(Objective):
    """Objectives of a chain of steps: a table of betas, and times that are uniform over it.

    Arguments:
        steps: Steps of the chain.
        betas: ``linear`` is the table of DDPM, ``cosine`` that of improved DDPM.
    """

    kind: ClassVar[str] = "epsilon"

    steps: int = 1000
    betas: Literal["linear", "cosine"] = "linear"

    def parameterization(self, sigma_data: float) -> Parameterization:
        return Discrete(self.table(), self.kind)

    def table(self) -> Tensor:
        """Return the products of 1 - beta up to each step, of shape ``(steps,)``."""
        return (linear_table if self.betas == "linear" else cosine_table)(self.steps)

    def times(self, u: Tensor) -> Tensor:
        return evenly(u, self.steps)

    def own_losses(self, denoiser: Denoiser, batch: Batch, target: Tensor) -> Tensor:
        """Return the mean square error of what the network itself says."""
        outputs = denoiser.outputs(denoiser.noised(batch), batch.t)
        return row_means((outputs[:, : target.shape[1]] - target) ** 2)


@dataclass(frozen=True, kw_only=True)
class Levels(Objective):
    """Objectives of score matching: a few noise levels, evenly spaced in their logarithm.

    The network predicts E[x_0 | x_t] in the preconditioning of Karras et al. (2022); its score is
    (E[x_0 | x_t] - x_t) / sigma^2. Each level has the weight sigma^2.

    Arguments:
        levels: Number of noise levels.
        sigma_min, sigma_max: The least and the largest of them.
    """

    levels: int = 10
    sigma_min: Positive = 0.01
    sigma_max: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.sigma_min, self.sigma_max)

    def parameterization(self, sigma_data: float) -> Parameterization:
        schedule = Geometric(sigma_min=self.sigma_min, sigma_max=self.sigma_max)
        return Karras(self.sigma_min, self.sigma_max, sigma_data, schedule=schedule)

    def score_parameterization(self) -> Parameterization:
        return Score(self.sigma_min / 2, self.sigma_max / 2)

    def times(self, u: Tensor) -> Tensor:
        last = self.levels - 1
        return (u * self.levels).floor().clamp(0, last) / max(last, 1)


def evenly(u: Tensor, steps: int) -> Tensor:
    """Return the times 1 / N, 2 / N, ..., 1 of N steps from numbers that are uniform in (0, 1)."""
    return ((u * steps).floor().clamp(0, steps - 1) + 1) / steps


def earlier(t: Tensor, steps: int) -> Tensor:
    """Return the times one of N steps before times t, and 0 where there is none."""
    return (t - 1 / steps).clamp_min(0)


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Let losses be made of derivatives of a network, also where none are recorded.

    Attention is then computed in plain products: the fast kernels have one derivative alone.
    """
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        yield


def taught_by(denoiser: Denoiser) -> Teacher:
    """Return the teacher of a network.

    Raises:
        UnsuitedError: If it has none.
    """
    if denoiser.teacher is None:
        raise UnsuitedError("this objective learns from a prior, and no teacher was given")
    return denoiser.teacher


def check_levels(sigma_min: float, sigma_max: float) -> None:
    """Refuse noise levels whose least is not below the largest."""
    if not sigma_min < sigma_max:
        raise SettingError(f"sigma_min is below sigma_max, got {sigma_min} and {sigma_max}")


def column(t: Tensor, x: Tensor) -> Tensor:
    """Return numbers ``(B,)`` in a shape that broadcasts over states ``(B, *shape)``."""
    return t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def row_means(x: Tensor) -> Tensor:
    """Return the mean of each row, of shape ``(B,)``."""
    return x.flatten(1).mean(1)
