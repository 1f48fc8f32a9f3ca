"""Error against calls, of every sampler, on a mixture whose law is exact and on a network.

    python scripts/tables/samplers.py
    python scripts/tables/samplers.py --prior fashion --samples 4

On the mixture the error is the distance of the law of the draws: the mean 1-Wasserstein distance
to exact draws along 16 directions, in units of their deviation. The last row is the floor, that
of other exact draws. Of a sampler that draws no noise there is the distance of its states from
those of the flow, too, which a fine solver gives. On a network there is only that: the flow is
not known there in another way, and a draw has no exact answer. A slope is that of the logarithms,
over the two largest numbers of calls.
"""

import math
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

import diffprior
from diffprior.catalog import build, names
from diffprior.cli.scripts import run
from diffprior.evaluation import tables
from diffprior.priors.base import Prior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.samplers.rk45 import RK45

TEXTS = {  # settings and calls of a step, where a row is not the sampler as it is by default
    "ancestral": [("", 1), ("variance=1.0", 1)],
    "ddim": [("", 1), ("eta=0.85", 1)],
    "deis": [("order=2", 1), ("order=3", 1)],
    "dpm": [("", 1), ("order=3", 1), ("eta=1.0", 1)],
    "dpm_solver": [("order=2", 2), ("order=3", 3)],
    "heun": [("", 2), ("churn=20.0", 2)],
    "langevin": [("repeats=5", 5)],
    "predictor_corrector": [("", 2), ("predictor=ancestral", 2)],
    "restart": [("", 2)],
    "unipc": [("order=2", 1), ("order=3", 1)],
}
TOLERANCES = {"rk45": (0.3, 0.03, 1e-3, 1e-5), "adaptive_sde": (1.0, 0.3, 0.1, 0.03)}


class Counted(Prior):
    """A prior that counts its calls."""

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self.inner, self.calls = inner, 0
        self.diffusion, self.shape = inner.diffusion, inner.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x_t, t)


class Row(Prior):
    """Many states of a mixture as one, so that one stream draws for all of them."""

    def __init__(self, inner: MixturePrior, count: int) -> None:
        super().__init__()
        self.inner, self.diffusion = inner, inner.diffusion
        self.shape = (count, *inner.shape)

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t[0], t)[None]


def mixture() -> MixturePrior:
    """Return three correlated components in two dimensions."""
    generator = torch.Generator().manual_seed(0)
    roots = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64) / 4
    covs = roots @ roots.mT + 0.02 * torch.eye(2, dtype=torch.float64)
    means = torch.tensor([[-1.0, 0.3], [0.8, 0.9], [0.3, -1.0]], dtype=torch.float64)
    return MixturePrior(torch.tensor([0.5, 0.3, 0.2]).double(), means, covs)


def law_distance(x: Tensor, exact: Tensor) -> float:
    """Return the mean 1-Wasserstein distance along 16 directions, in units of a deviation."""
    angles = math.pi * torch.arange(16, dtype=torch.float64) / 16
    lines = torch.stack([angles.cos(), angles.sin()])
    a, b = ((z @ lines).sort(0).values for z in (x, exact))
    return float(((a - b).abs().mean(0) / b.std(0)).mean())


def ways(name: str, budgets: list[int]) -> list[tuple[str, list[str]]]:
    """Return the rows of a sampler: a title, and its text for each budget of calls."""
    if name in TOLERANCES:
        return [(name, [f"{name}(rtol={r}, atol={r / 10})" for r in TOLERANCES[name]])]
    rows = []
    for settings, calls in TEXTS.get(name, [("", 1)]):
        comma = ", " if settings else ""
        texts = [f"{name}(steps={max(b // calls, 1)}{comma}{settings})" for b in budgets]
        rows.append((f"{name}({settings})" if settings else name, texts))
    return rows


def slope(calls: list[int], errors: list[float]) -> str:
    """Return the slope of the logarithms over the last two numbers of calls."""
    (n, m), (a, b) = calls[-2:], errors[-2:]
    return f"{math.log(a / b) / math.log(m / n):.1f}" if n != m and min(a, b) > 0 else "–"


def measure(prior: Prior, text: str, x_T: Tensor, seed: int) -> tuple[int, Tensor]:
    """Return the calls of a chain, and where it ends."""
    counted = Counted(prior)
    x = build(text, ("samplers",))(counted, x_T, Noise(seed, samples=len(x_T)))
    return counted.calls, x


def line(title: str, calls: list[int], errors: list[float]) -> list[str]:
    """Return a row of the table."""
    cells = [f"{n}: {e:.2g}" for n, e in zip(calls, errors, strict=True)]
    return [f"`{title}`", *cells, slope(calls, errors)]


def main(
    prior: Annotated[str | None, typer.Option(help="A prior; default: the mixture.")] = None,
    calls: Annotated[list[int], typer.Option(help="Calls of a chain.")] = [16, 32, 64, 128],  # noqa: B006
    samples: Annotated[int, typer.Option(help="Number of draws.")] = 20_000,
    sampler: Annotated[list[str], typer.Option(help="Samplers; default: all.")] = [],  # noqa: B006
) -> None:
    """Print the table."""
    chosen = sampler or names("samplers")
    heads = ["sampler", *(f"calls: error {i + 1}" for i in range(len(calls))), "slope"]
    model = mixture() if prior is None else diffprior.load_prior(prior)
    if isinstance(model, MixturePrior):
        rows = on_mixture(model, samples, chosen, calls)
    else:
        rows = on_network(model, samples, chosen, calls)
    print(tables.markdown(heads, rows))


def on_mixture(
    prior: MixturePrior, samples: int, chosen: list[str], calls: list[int]
) -> list[list[str]]:
    """Return the rows of a mixture: the distance of the law, and that from the flow."""
    row = Row(prior, samples)
    x_T = row.diffusion.terminal((1, *row.shape)).sample(Noise(0)).double()
    exact = prior.sample(Noise(1, samples=samples))
    few = x_T[0, :1000]
    end = RK45(steps=60, rtol=1e9)(prior, few)
    lines = []
    for name in chosen:
        for title, texts in ways(name, calls):
            law: list[tuple[int, float]] = []
            path: list[tuple[int, float]] = []
            for text in texts:
                count, x = measure(row, text, x_T, 2)
                law.append((count, law_distance(x[0], exact)))
                if not build(text, ("samplers",)).draws:
                    path.append((count, float((x[0, :1000] - end).square().mean().sqrt())))
            lines.append(line(title, *split(law)))
            if path:
                lines.append(line(f"{title}, from the flow", *split(path)))
    other = law_distance(prior.sample(Noise(3, samples=samples)), exact)
    return [*lines, ["exact draws", *[f"{other:.2g}"] * len(calls), ""]]


def on_network(prior: Prior, samples: int, chosen: list[str], calls: list[int]) -> list[list[str]]:
    """Return the rows of a network: the distance from the flow."""
    x_T = prior.diffusion.terminal((samples, *prior.shape)).sample(Noise(0, samples=samples))
    x_T = x_T.to(prior.like)
    end = RK45(steps=16, rtol=1e-4, atol=1e-4)(prior, x_T)
    lines = []
    for name in chosen:
        for title, texts in ways(name, calls):
            if build(texts[0], ("samplers",)).draws:
                continue
            path = []
            for text in texts:
                count, x = measure(prior, text, x_T, 2)
                path.append((count, float((x - end).square().mean().sqrt())))
            lines.append(line(title, *split(path)))
    return lines


def split(pairs: list[tuple[int, float]]) -> tuple[Any, Any]:
    """Return the numbers of calls, and the errors."""
    calls, errors = np.array(pairs).T.tolist()
    return [int(n) for n in calls], errors


if __name__ == "__main__":
    run(main)
