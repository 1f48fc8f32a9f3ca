"""run(batch)[i] == run([i]) on a CPU, to the last bit: methods, operators, priors, threads.

Each method meets three kinds of operators: one that is diagonal, one whose y has other axes than a
state, and one that is linear and no more. Each operator meets a method that takes any map, and one
that takes linear ones.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from diffprior.catalog import build, names
from diffprior.likelihoods.base import Likelihood
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.likelihoods.noises import LaplaceLikelihood
from diffprior.methods.base import Method
from diffprior.operators.average import Average
from diffprior.operators.base import Operator, SVDOperator, stack
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.compressed import Compressed
from diffprior.operators.decimate import Decimate
from diffprior.operators.fourier import Fourier
from diffprior.operators.gamma_blur import GammaBlur
from diffprior.operators.gray import Gray
from diffprior.operators.hadamard import Hadamard
from diffprior.operators.hdr import HDR
from diffprior.operators.identity import Identity
from diffprior.operators.jpeg import JPEG
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.operators.phase_retrieval import PhaseRetrieval
from diffprior.operators.quantize import Quantize
from diffprior.priors.base import Prior, Wrapper
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.tiled import TiledPrior
from diffprior.priors.tilted import TiltedPrior
from diffprior.random import Noise

from support.conditions import classes
from support.exact import random

SHAPE = (3, 8, 8)
ORDERS = [0, 1, 2], [2, 0]


def rand(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


SKEW = torch.tensor([[0.0, 0.2, 0.1], [0.1, 0.3, 0.0], [0.05, 0.05, 0.2]])
KERNELS = torch.stack([SKEW, SKEW.T, SKEW.flip(0)])
OPERATORS: dict[str, Operator] = {
    "average": Average(2),
    "bicubic": Bicubic(2),
    "blur": Blur(SKEW, "zero"),
    "blur, a kernel each": Blur(KERNELS),
    "circular_blur": CircularBlur(KERNELS),
    "compressed": Compressed(0.25),
    "decimate": Decimate(2),
    "decimate of a blur": Decimate(2) @ Blur(SKEW),
    "fourier": Fourier((rand(3, 8, 8, seed=4) > 0).float()),
    "gamma_blur": GammaBlur(0.5),
    "gray": Gray(),
    "hadamard": Hadamard(0.25),
    "hdr": HDR(),
    "identity": Identity(),
    "jpeg": JPEG([10, 50, 80]),
    "mask": Mask((rand(3, 1, 8, 8, seed=5) > 0).float(), batched=True),
    "matrix": Matrix(rand(20, 192, seed=6) / 14, shape=SHAPE),
    "phase_retrieval": PhaseRetrieval(),
    "quantize": Quantize(3),
    "stack": stack(Gray(), Mask((rand(1, 8, 8, seed=7) > 0).float())),
}
KINDS = ("mask", "matrix", "compressed")
ANY_MAP = "dps"
LINEAR = "mmps"


class ChannelsLast(Wrapper):
    """A prior that returns its images as many networks do."""

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.inner(x_t, t).contiguous(memory_format=torch.channels_last)

    def with_inner(self, inner: Prior) -> "ChannelsLast":
        return ChannelsLast(inner)


MEANS = torch.stack([0.4 + 0.1 * rand(*SHAPE), -0.4 + 0.1 * rand(*SHAPE, seed=1)])
MIXTURE = MixturePrior(torch.ones(2), MEANS, 0.1 + 0.1 * rand(2, 192, seed=2).abs())
X = (0.4 * rand(3, *SHAPE, seed=3)).clamp(-1, 1)


def full() -> MixturePrior:
    L = rand(2, 192, 192, seed=8) / 30
    return MixturePrior(torch.ones(2), MEANS, L @ L.mT + 0.1 * torch.eye(192))


def latent() -> LatentPrior:
    """Pairs of pixels as latents, behind layers that round by the batch."""
    means = rand(2, 12, 4, 4, seed=9)
    inner = MixturePrior(torch.ones(2), means, torch.full((2, 192), 0.3))
    turn = torch.linalg.qr(rand(192, 192, seed=10))[0]

    def encoder(x: Tensor) -> Tensor:
        return (x.flatten(1) @ turn).reshape(-1, 12, 4, 4)

    def decoder(z: Tensor) -> Tensor:
        return (z.flatten(1) @ turn.mT).reshape(-1, *SHAPE).tanh()

    prior = LatentPrior(inner, encoder, decoder, stride=2)
    assert prior.size == SHAPE[1:]
    return prior


def quick(name: str) -> Method[Any]:
    method: Method[Any] = build(name)
    return method.with_steps(2)


def measured(A: Operator, x: Tensor = X) -> GaussianLikelihood[Any]:
    A = A.for_shape(x.shape[1:])
    return GaussianLikelihood(operator=A, sigma=0.1).measure(x, Noise(0, ["a", "b", "c"]))


def accepts(name: str, A: Operator) -> bool:
    """Whether a method is made for an operator, and a y of its size."""
    needed = SVDOperator if name == "psld" else build(name).needs.operator
    few = name != "moment_smc" or measured(A).y[0].numel() <= 64
    return isinstance(A, needed) and few


def check(
    method: Method[Any], prior: Prior, likelihood: Likelihood[Any], x: Tensor = X, n: int = 2
) -> None:
    """Every image gets the bits in the batch, in any order, that it gets alone."""

    def run(rows: list[int]) -> Tensor:
        guess = 0.9 * x[rows] if method.takes_guess else None
        part = likelihood.select(torch.tensor(rows))
        drawn = method(prior, part, n=n, seed=1, guess=guess)
        return drawn.reshape(len(rows), n, *drawn.shape[-3:])

    alone = [run([i])[0] for i in range(3)]
    for order in ORDERS:
        batch = run(order)
        assert batch.isfinite().all()
        for got, i in zip(batch, order, strict=True):
            assert torch.equal(got, alone[i])


METHODS = [(m, A) for m in names("methods") for A in KINDS if accepts(m, OPERATORS[A])]


@pytest.mark.parametrize("name, operator", METHODS)
def test_a_method_gives_an_image_the_same_in_any_company(name: str, operator: str) -> None:
    check(quick(name), ChannelsLast(MIXTURE), measured(OPERATORS[operator]))


def test_every_method_meets_all_kinds_of_operators_that_it_takes() -> None:
    met = {name: {A for m, A in METHODS if m == name} for name in names("methods")}
    once = {name for name, kinds in met.items() if len(kinds) == 1}
    assert once == {"by_depth", "exemplar", "repaint", "textured"}  # made for masks
    assert all(kinds for kinds in met.values())


PAIRS = [(A, m) for A in OPERATORS for m in (ANY_MAP, LINEAR) if accepts(m, OPERATORS[A])]


@pytest.mark.parametrize("operator, name", PAIRS)
def test_an_operator_gives_an_image_the_same_in_any_company(operator: str, name: str) -> None:
    check(quick(name), ChannelsLast(MIXTURE), measured(OPERATORS[operator]), n=1)


def test_every_operator_of_the_catalog_is_here() -> None:
    wrapped = {"physics"}  # what deepinv has
    assert set(names("operators")) - wrapped <= set(OPERATORS)


PRIORS: list[tuple[Callable[[], Prior], str]] = [
    (full, "mmps"),
    (full, "dps"),
    (full, "smc"),
    (lambda: TiledPrior(MIXTURE, 8, 2), "dpir"),
    (lambda: classes(dtype=torch.float32).with_condition(label=1, guidance_scale=2.0), "dps"),
    (lambda: TiltedPrior(MIXTURE, lambda x, t: -x.flatten(1).square().sum(1)), "ddnm"),
    (latent, "psld"),
    (latent, "resample"),
    (latent, "daps(iterations=10)"),
]


@pytest.mark.parametrize("make, name", PRIORS)
def test_a_prior_gives_an_image_the_same_in_any_company(
    make: Callable[[], Prior], name: str
) -> None:
    check(quick(name), make(), measured(OPERATORS["matrix"]))


def test_noise_that_is_not_gaussian() -> None:
    likelihood = LaplaceLikelihood(operator=OPERATORS["mask"], b=0.1)
    check(quick("daps(iterations=10)"), MIXTURE, likelihood.measure(X, Noise(0, ["a", "b", "c"])))


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    "name, A",
    [
        ("mmps(iterations=2)", Mask((rand(3, 1, 113, 113, seed=12) > 0).float(), batched=True)),
        ("dps", Blur(KERNELS)),
        ("dpir", Fourier("radial:9")),
        ("dps", PhaseRetrieval()),
    ],
)
def test_two_threads_share_an_image_as_they_do_alone(name: str, A: Operator) -> None:
    """Images of more numbers than one thread takes; 113 leaves a rest in every vector."""
    shape = (3, 113, 113)
    x = (0.4 * rand(3, *shape, seed=11)).clamp(-1, 1)
    prior = MixturePrior(torch.ones(1), 0.1 * rand(1, *shape, seed=13), torch.full((1,), 0.2))
    check(quick(name), ChannelsLast(prior), measured(A, x), x=x, n=1)
