"""The Swiss roll and the heartbeat of 2015: a network that trains on points, or on bits."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffprior.architectures import MLP
from diffprior.architectures.base import Demand
from diffprior.catalog import build
from diffprior.densities.nonequilibrium import nonequilibrium_bound
from diffprior.diffusions import Diffusion
from diffprior.objectives.base import Objective
from diffprior.priors.network import NetworkPrior
from diffprior.random import Noise
from diffprior.schedules import grid
from diffprior.training.points import Points
from diffprior.training.trainer import Trainer, TrainingConfig

PERIOD = 5  # of the heartbeat: one bit in five is 1
BITS = 20  # of a sequence
SIZE = 6.6  # the deviation of the spiral, which is divided by it
NOISE = 0.04  # of the points of the roll
Data = np.ndarray[Any, Any]


def spiral(share: Data) -> Data:
    """Return points of a spiral of about unit deviation, ``(N, 2)``, at shares of its angle."""
    angle = 1.5 * math.pi * (1 + 2 * share)
    return np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) / SIZE


def swiss_roll(count: int, rng: np.random.Generator) -> Data:
    """Return points of a spiral with a little noise."""
    x = spiral(rng.random(count))
    return np.asarray(x + NOISE * rng.standard_normal(x.shape))


def roll_log_prob(x: Tensor) -> Tensor:
    """Return the log-density of the Swiss roll in bits, by a sum over its angles."""
    centers = torch.from_numpy(spiral((np.arange(4000) + 0.5) / 4000)).to(x)
    squares = torch.cdist(x, centers) ** 2 / (2 * NOISE**2)
    nats = (-squares).logsumexp(1) - math.log(len(centers) * 2 * math.pi * NOISE**2)
    return nats / math.log(2)


def bits_of_phases() -> Data:
    """Return the five sequences of bits that are heartbeats, ``(5, 20)``: each fifth bit is 1."""
    return np.asarray((np.arange(BITS) + np.arange(PERIOD)[:, None]) % PERIOD == 0)


def heartbeat(count: int, rng: np.random.Generator) -> Data:
    """Return heartbeats, each at one of five phases."""
    return np.asarray(bits_of_phases()[rng.integers(PERIOD, size=count)])


def trained(x: Data, objective: str, width: int, minutes: float, seed: int) -> NetworkPrior:
    """Return the prior of a network that was trained on points or bits for some minutes."""
    torch.manual_seed(seed)
    config = TrainingConfig(objective=objective, batch=256, adam_rate=3e-3, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        np.save(file := Path(folder) / "x.npy", x)
        points = Points(file)
        task: Objective = build(objective, ("objectives",))
        deviation = float(points.pixels.std())
        demand = Demand(
            shape=x.shape[1:],
            sigma_data=deviation,
            classes=0,
            numbers=1,
            parameterization=task.parameterization(deviation),
        )
        trainer = Trainer(MLP(width=width).build(demand), points, config, Path(folder))
        trainer.run(minutes=minutes, every=minutes)
        return trainer.prior(trainer.averaged())


@dataclass(frozen=True)
class Together:
    """A prior that asks its network for all rows at once, where it would for each by itself."""

    prior: NetworkPrior

    @property
    def diffusion(self) -> Diffusion:
        """Return how noise is added to states."""
        return self.prior.diffusion

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t]."""
        own = self.prior.parameterization
        x, time = own.inputs(x_t, t)
        return own.denoised(x_t, t, self.prior.network(x, time.to(x_t).expand(len(x_t))))


def bound(prior: NetworkPrior, x_0: Tensor, kind: str, steps: int) -> Tensor:
    """Return K of each row, in bits."""
    times = grid(prior.diffusion.schedule, kind, steps)[:-1]  # type: ignore[arg-type]
    noise = Noise(seed=1, ids=range(len(x_0)))
    return nonequilibrium_bound(Together(prior), x_0, times, noise) / math.log(2)


def roll_row(minutes: float, count: int, seed: int) -> list[str]:
    """Return the row of the Swiss roll."""
    rng = np.random.default_rng(seed)
    x = swiss_roll(20_000, rng).astype(np.float32)
    law = "edm(p_mean=-2.0, sigma_min=0.002, sigma_max=50)"
    prior = trained(x, law, 256, minutes, seed)
    fresh = torch.from_numpy(swiss_roll(count, rng).astype(np.float32))
    null = -math.log2(2 * math.pi * math.e)
    k, truth = bound(prior, fresh, "logsnr", 1000), float(roll_log_prob(fresh.double()).mean())
    return row("Swiss roll, 2 numbers", k, (truth, null), "2.35", "6.45")


def beat_row(minutes: float, count: int, seed: int) -> list[str]:
    """Return the row of the heartbeat."""
    rng = np.random.default_rng(seed)
    prior = trained(heartbeat(20_000, rng), "bits(steps=2000)", 256, minutes, seed)
    fresh = torch.from_numpy(heartbeat(count, rng).astype(np.float32))
    share = 1 / PERIOD
    null = BITS * (share * math.log2(share) + (1 - share) * math.log2(1 - share))
    k = bound(prior, fresh, "time", 2000)
    return row(f"Heartbeat, {BITS} bits", k, (-math.log2(PERIOD), null), "-2.414", "12.024")


def row(
    name: str, k: Tensor, known: tuple[float | None, float], theirs: str, gain: str
) -> list[str]:
    """Return a row: K with its standard error, the truth, K - L_null, and what was published.

    Arguments:
        known: The mean of log2 p(x_0), if it is known, and L_null.
    """
    error = float(k.std()) / math.sqrt(len(k))
    mean = float(k.mean())
    truth, null = known
    exact = "" if truth is None else f"{truth:.3f}"
    return [name, f"{mean:.3f} ({error:.3f})", exact, f"{mean - null:.3f}", theirs, gain]
