"""The exact log-density of states, along the probability flow of a prior."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from ..diffusions import Diffusion, GaussianDiffusion
from ..errors import UnsuitedError
from ..random import Noise
from ..validation import Checked, Whole, Within
from .ode import dormand_prince

__all__ = ["Density", "FlowSettings", "Tangent", "flow_density"]

# Takes x_t and t; returns E[x_0 | x_t], and v -> J^T v with its Jacobian J by x_t
Tangent = Callable[[Tensor, Tensor], tuple[Tensor, Callable[[Tensor], Tensor]]]


@dataclass(frozen=True, kw_only=True)
class FlowSettings(Checked):
    """How the flow is followed.

    Arguments:
        tolerance: The error of a step, relative to the states and to their number.
        probes: Random vectors that estimate the trace; their spread is the standard error.
        exact: The trace is exact for states of at most so many numbers.
    """

    tolerance: Annotated[float, Within(0, 0.1, above=True)] = 1e-5
    probes: int = 4
    exact: Whole = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Density:
    """Log-densities of states, with what is known of their error.

    Attributes:
        log_prob: In nats, float64 of shape ``(B,)``.
        standard_error: Of the estimate of the trace: 0 where it is exact, NaN for one probe;
            float64 of shape ``(B,)``.
        end: The states at t = 1 that the flow leads to, of the shape of the batch.
        calls: Calls of the prior for each row.
    """

    log_prob: Tensor
    standard_error: Tensor
    end: Tensor
    calls: tuple[int, ...]


def flow_density(
    tangent: Tangent,
    diffusion: Diffusion,
    x_t: Tensor,
    t: Tensor,
    noise: Noise,
    settings: FlowSettings | None = None,
) -> Density:
    """Return the log-density of noisy states under the probability flow of a denoiser.

    The flow is that of a sampler without noise, such as DDIM, with steps that adapt to the row. Its
    density at t = 1 is the diffusion's p(x_1), and along it log p changes by minus the divergence:
    eq. 39 of "Score-Based Generative Modeling through Stochastic Differential Equations" (Song et
    al., 2021), https://arxiv.org/abs/2011.13456. With r = sigma_t / alpha_t and
    z = x_t / (alpha_t sqrt(1 + r^2)), which is as large as the data at all times, it is

        dz / dlog r = z / (1 + r^2) - E[x_0 | x_t] / sqrt(1 + r^2).

    The trace of a Jacobian J is the mean of v^T J v over random signs v (Hutchinson), the same all
    along the flow.

    Arguments:
        tangent: The denoiser.
        diffusion: Its diffusion, a Gaussian one.
        x_t: States, of shape ``(B, *shape)``.
        t: Their time, without axes.
        noise: The streams of the rows, for the probes.
        settings: How the flow is followed.

    Raises:
        UnsuitedError: If the noise is not Gaussian.
        SettingError: If the denoiser is rougher than the tolerance.
    """
    if not isinstance(diffusion, GaussianDiffusion):
        raise UnsuitedError("a density by the flow needs a prior with Gaussian noise, not of bits")
    settings = settings or FlowSettings()
    rows = [
        _Path(tangent, diffusion, row[None], t, _probes(row[None], noise.rows([i]), settings))
        for i, row in enumerate(x_t)
    ]
    solved = [row.solve(settings.tolerance) for row in rows]
    return Density(
        log_prob=torch.stack([row.log_prob.mean() for row in solved]),
        standard_error=torch.stack([row.standard_error for row in solved]),
        end=torch.cat([row.end for row in solved]),
        calls=tuple(row.calls for row in solved),
    )


def _probes(x: Tensor, noise: Noise, settings: FlowSettings) -> Tensor | None:
    """Return random signs, of shape ``(probes, *shape)``; None where the trace is exact."""
    if x.numel() <= settings.exact:
        return None
    return torch.cat([noise.uniform(x).sub(0.5).sign() for _ in range(settings.probes)])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Solved:
    """The density of one row: an estimate by each probe."""

    log_prob: Tensor
    exact: bool
    end: Tensor
    calls: int

    @property
    def standard_error(self) -> Tensor:
        if self.exact:
            return torch.zeros_like(self.log_prob[0])
        count = len(self.log_prob)
        spread = self.log_prob.std() if count > 1 else torch.full_like(self.log_prob[0], math.nan)
        return spread / math.sqrt(count)


class _Path:
    """The flow of one state, in z, with the integral of its divergence by each probe."""

    def __init__(
        self,
        tangent: Tangent,
        diffusion: GaussianDiffusion,
        x_t: Tensor,
        t: Tensor,
        probes: Tensor | None,
    ) -> None:
        self.tangent = tangent
        self.diffusion = diffusion
        self.schedule = diffusion.schedule
        self.x_t = x_t
        self.t = t
        self.probes = probes
        self.size = x_t.numel()

    def solve(self, tolerance: float) -> _Solved:
        """Follow the flow to t = 1."""
        wide = self.x_t.dtype if self.x_t.device.type == "mps" else torch.float64
        one = torch.ones((), dtype=torch.float64)
        start, stop = (self.schedule.ratio(t).log().item() for t in (self.t, one))
        z = (self.x_t / self._scale(self.t)).to(wide).flatten()
        sums = z.new_zeros(1 if self.probes is None else len(self.probes))

        def measure(error: Tensor, before: Tensor, after: Tensor) -> float:
            allowed = tolerance * (1 + before.abs().maximum(after.abs()))[: self.size]
            states = (error[: self.size] / allowed).square().mean().sqrt()
            return max(states.item(), error[self.size :].abs().max().item() / self.size / tolerance)

        y, calls = dormand_prince(self._slope, torch.cat([z, sums]), start, stop, measure)
        end = (y[: self.size] * self._scale(one)).reshape_as(self.x_t)
        scales = self.size * (self._scale(one) / self._scale(self.t)).log()
        terminal = self.diffusion.terminal(self.x_t.shape)
        log_prob = (
            type(terminal)(terminal.loc.to(end), terminal.var).log_prob(end)
            + y[self.size :]
            + scales
        )
        return _Solved(
            log_prob=log_prob.cpu().double(),
            exact=self.probes is None,
            end=end.to(self.x_t),
            calls=calls,
        )

    def _scale(self, t: Tensor) -> Tensor:
        """Return x_t / z."""
        alpha_t, sigma_t = self.schedule(t)
        return (alpha_t**2 + sigma_t**2).sqrt()

    def _slope(self, log_r: float, y: Tensor) -> Tensor:
        """Return dz / dlog r, and the divergence of it by each probe."""
        r2 = math.exp(2 * log_r)
        t = self.schedule.time(math.exp(log_r))
        z = y[: self.size].reshape_as(self.x_t)
        mean, vjp = self.tangent((z * self._scale(t)).to(self.x_t), t)
        slope = z / (1 + r2) - mean.to(z) / math.sqrt(1 + r2)
        alpha_t = self.schedule(t)[0].item()
        divergence = self.size / (1 + r2) - alpha_t * self._traces(vjp).to(y)
        return torch.cat([slope.flatten(), divergence])

    def _traces(self, vjp: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the trace of the Jacobian by each probe, or the exact one."""
        if self.probes is not None:
            return torch.stack([(vjp(v[None]) * v).double().sum() for v in self.probes])
        basis = torch.eye(self.size).to(self.x_t).reshape(self.size, *self.x_t.shape)
        return torch.stack([(vjp(v) * v).double().sum() for v in basis]).sum(0, keepdim=True)
