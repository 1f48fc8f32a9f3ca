"""Distributions that are multiplied: denoising and missing values by perturbed reverse kernels.

Section 2.5 of "Deep Unsupervised Learning using Nonequilibrium Thermodynamics" (Sohl-Dickstein et
al., 2015), on laws that can be written down: the posterior is known, and so is how far draws are
from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from experiment_points import NOISE, bits_of_phases, spiral
from torch import Tensor

from diffprior.evaluation import tables
from diffprior.likelihoods.base import Likelihood
from diffprior.likelihoods.bits import FlipLikelihood
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.methods.base import Method
from diffprior.methods.smc import TwistedSMC
from diffprior.methods.tilt import Tilt
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.priors.bits import BitsPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.samplers.ancestral import Ancestral

CENTERS, ARCS = 400, 20  # of the roll
DRAWN = 20_000  # of an exact posterior


def methods(steps: int) -> dict[str, Method[Any]]:
    """Return the ways to multiply, by the function r of the steps that each takes."""
    sampler = Ancestral(steps=steps)
    return {
        "r at every step": Tilt(r="constant", sampler=sampler),
        "r^(1 - t)": Tilt(r="annealed", sampler=sampler),
        "r_t of the moments": Tilt(sampler=sampler),
        "particles": TwistedSMC(proposal=Tilt(), steps=steps),
    }


@dataclass(frozen=True, kw_only=True)
class Product:
    """A prior times a likelihood whose product is known.

    Arguments:
        prior, likelihood: The two.
        parts: Into which states fall: from states ``(N, D)`` to numbers ``(N,)``.
        exact: From the likelihood of one measurement to the probability of each part.
    """

    prior: Any
    likelihood: Likelihood[Any]
    parts: Callable[[Tensor], Tensor]
    exact: Callable[[Any], Tensor]

    def row(self, name: str, sizes: tuple[int, int, int]) -> list[str]:
        """Return a row: the total variation between draws and the product, by each method.

        Arguments:
            sizes: Draws, measurements, and steps of the chains.
        """
        count, seeds, steps = sizes
        ways = methods(steps)
        errors: dict[str, list[Tensor]] = {}
        for seed in range(seeds):
            streams = Noise(seed, ["truth"])
            seen = self.likelihood.measure(self.truth(streams), streams)
            law = self.exact(seen)
            drawn = torch.multinomial(law, count, replacement=True)
            errors.setdefault("chance", []).append(variation(drawn, law))
            for method, make in ways.items():
                x = make(self.prior, seen, n=count, seed=seed)
                errors.setdefault(method, []).append(variation(self.parts(x), law))
        means = [torch.stack(errors[key]).mean().item() for key in (*ways, "chance")]
        return [name, *(f"{mean:.3f}" for mean in means)]

    def truth(self, noise: Noise) -> Tensor:
        """Return a state of the prior, ``(1, D)``."""
        if isinstance(self.prior, MixturePrior):
            return self.prior.sample(noise)
        phase = (noise.uniform(torch.empty(1, 1)) * len(self.prior.probs)).long().flatten()
        state: Tensor = self.prior.probs[phase]
        return state.round()


def variation(parts: Tensor, law: Tensor) -> Tensor:
    """Return the total variation between the parts that were drawn and their law."""
    return (torch.bincount(parts, minlength=len(law)) / len(parts) - law).abs().sum() / 2


def roll(likelihood: GaussianLikelihood[Any]) -> Product:
    """Return the Swiss roll times a measurement with Gaussian noise; its parts are arcs."""
    shares = (torch.arange(CENTERS, dtype=torch.float64) + 0.5) / CENTERS
    centers = torch.from_numpy(spiral(shares.numpy()))
    variances = torch.full((CENTERS,), NOISE**2, dtype=torch.float64)
    prior = MixturePrior(torch.ones(CENTERS, dtype=torch.float64), centers, variances)

    def arcs(x: Tensor) -> Tensor:
        return torch.cdist(x.double(), centers).argmin(1) * ARCS // CENTERS

    def exact(seen: GaussianLikelihood[Any]) -> Tensor:
        posterior, generator = prior.posterior(seen), torch.Generator().manual_seed(0)
        weights = posterior.log_weights.exp()
        which = torch.multinomial(weights, DRAWN, replacement=True, generator=generator)
        z = torch.randn(len(which), 2, 1, generator=generator, dtype=torch.float64)
        roots = torch.linalg.cholesky(posterior.covs())[which]
        x = posterior.means[which] + (roots @ z)[..., 0]
        return torch.bincount(arcs(x), minlength=ARCS) / len(x)

    return Product(prior=prior, likelihood=likelihood, parts=arcs, exact=exact)


def beat(likelihood: FlipLikelihood[Any]) -> Product:
    """Return the heartbeat times bits that were seen; its parts are phases, and all else."""
    states = torch.from_numpy(bits_of_phases()).double()
    prior = BitsPrior(torch.ones(len(states), dtype=torch.float64), states.clamp(1e-6, 1 - 1e-6))

    def phases(x: Tensor) -> Tensor:
        same = (x[:, None] == states).all(2)
        return torch.where(same.any(1), same.double().argmax(1), len(states))

    def exact(seen: FlipLikelihood[Any]) -> Tensor:
        all_of_it = seen.select(torch.zeros(len(states), dtype=torch.long))
        return torch.cat([all_of_it.log_prob(states).softmax(0), torch.zeros(1).double()])

    return Product(prior=prior, likelihood=likelihood, parts=phases, exact=exact)


def products_table(sizes: tuple[int, int, int]) -> str:
    """Return the table: how far draws are from the product of two distributions.

    Arguments:
        sizes: Draws, measurements, and steps of the chains.
    """
    first = torch.tensor([1.0, 0.0], dtype=torch.float64)
    few = (torch.arange(20) < 3).double()
    problems = {
        "Swiss roll, noise of 0.3 removed": roll(
            GaussianLikelihood(operator=Identity(), sigma=0.3)
        ),
        "Swiss roll, one number of two missing": roll(
            GaussianLikelihood(operator=Mask(first), sigma=0.1)
        ),
        "heartbeat, 20% of the bits flipped": beat(FlipLikelihood(operator=Identity(), rate=0.2)),
        "heartbeat, 17 bits of 20 missing": beat(FlipLikelihood(operator=Mask(few), rate=0.02)),
    }
    lines = [problem.row(name, sizes) for name, problem in problems.items()]
    return tables.markdown(["product", *methods(1), "chance alone"], lines)
