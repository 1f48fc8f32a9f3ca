"""One of everything that computes, small, and how it is run on a device."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, get_args

import torch
from torch import Tensor

import diffprior
from diffprior.catalog import build, names
from diffprior.likelihoods import noises
from diffprior.likelihoods.base import ConditionableLikelihood
from diffprior.likelihoods.bits import FlipLikelihood
from diffprior.likelihoods.data_step import Inner
from diffprior.likelihoods.data_step import draw as draw_step
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.likelihoods.jpeg import CellLikelihood, Coefficients, standard
from diffprior.likelihoods.reward import RewardLikelihood
from diffprior.methods.base import Method
from diffprior.networks.nafunet import NAFUNet
from diffprior.networks.parameterizations import Drawn
from diffprior.operators.base import LinearOperator, Operator, SVDOperator, stack
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.fourier import Fourier
from diffprior.operators.mask import Mask
from diffprior.operators.matrix import Matrix
from diffprior.priors.base import Prior, denoise_vjp
from diffprior.priors.bits import BitsPrior
from diffprior.priors.cascade import CascadePrior
from diffprior.priors.conditioned import ConditionedPrior
from diffprior.priors.counted import CountedPrior
from diffprior.priors.denoising_gan import DenoisingGANPrior
from diffprior.priors.gray import GrayPrior
from diffprior.priors.half import HalfPrior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior
from diffprior.priors.paired import PairedPrior
from diffprior.priors.patches import PatchPrior
from diffprior.priors.tiled import TiledPrior
from diffprior.priors.tilted import TiltedPrior
from diffprior.random import Noise

from support.conditions import classes
from support.exact import random

SHAPE = (3, 8, 8)
IDS = ["a", "b", "c"]
T = torch.tensor(0.4, dtype=torch.float64)

Move = Callable[[Any], Any]  # of a tensor or a module, to the device of a run
Run = Callable[[Move, int], Any]  # takes that and a number of steps; returns tensors


def rand(*shape: int, seed: int = 0) -> Tensor:
    return random(*shape, seed=seed, dtype=torch.float32)


X = (0.4 * rand(3, *SHAPE, seed=3)).clamp(-1, 1)
SKEW = torch.tensor([[0.0, 0.2, 0.1], [0.1, 0.3, 0.0], [0.05, 0.05, 0.2]])
KERNELS = torch.stack([SKEW, SKEW.T, SKEW.flip(0)])
MEANS = torch.stack([0.4 + 0.1 * rand(*SHAPE), -0.4 + 0.1 * rand(*SHAPE, seed=1)])
MIXTURE = MixturePrior(torch.ones(2), MEANS, 0.1 + 0.1 * rand(2, 192, seed=2).abs())
KEEP = Mask((rand(3, 1, 8, 8, seed=5) > 0).float(), batched=True)


# What there is


def made(words: str) -> Operator:
    found = build(words, ("operators",))
    assert isinstance(found, Operator)
    return found


OPERATORS: dict[str, Callable[[], Operator]] = {
    "average": lambda: made("average(factor=2)"),
    "bicubic": lambda: made("bicubic(factor=2)"),
    "blur": lambda: Blur(SKEW, "zero"),
    "blur, a kernel each": lambda: Blur(KERNELS),
    "blur, free": lambda: Blur(KERNELS, "free"),
    "circular_blur": lambda: CircularBlur(KERNELS),
    "compressed": lambda: made("compressed(ratio=0.25)"),
    "decimate": lambda: made("decimate(factor=2) @ average(factor=2)"),
    "fourier": lambda: Fourier((rand(3, 8, 8, seed=4) > 0).float()),
    "gamma_blur": lambda: made("gamma_blur(sigma=0.5)"),
    "gray": lambda: made("gray(weights='luminance')"),
    "hadamard": lambda: made("hadamard(ratio=0.25)"),
    "hdr": lambda: made("hdr"),
    "identity": lambda: made("identity"),
    "jpeg": lambda: made("jpeg(quality=[10, 50, 80])"),
    "mask": lambda: KEEP,
    "matrix": lambda: Matrix(rand(20, 192, seed=6) / 14, shape=SHAPE),
    "phase_retrieval": lambda: made("phase_retrieval"),
    "quantize": lambda: made("quantize(bits=3)"),
    "stack": lambda: stack(made("gray"), KEEP),
}


LIKELIHOODS: dict[str, Callable[[], Any]] = {
    "GaussianLikelihood": lambda: GaussianLikelihood(operator=KEEP, sigma=0.1),
    "LaplaceLikelihood": lambda: noises.LaplaceLikelihood(operator=KEEP, b=0.1),
    "PoissonLikelihood": lambda: noises.PoissonLikelihood(operator=KEEP, peak=30.0),
    "PoissonGaussianLikelihood": lambda: noises.PoissonGaussianLikelihood(
        operator=KEEP, a=0.05, b=0.1
    ),
    "SpeckleLikelihood": lambda: noises.SpeckleLikelihood(operator=KEEP, sigma=0.2),
    "SaltPepperLikelihood": lambda: noises.SaltPepperLikelihood(operator=KEEP, rate=0.2),
    "FlipLikelihood": lambda: FlipLikelihood(operator=KEEP, rate=0.2),
    "RewardLikelihood": lambda: RewardLikelihood(log_r=lambda x: x.flatten(1).sum(1)),
    "CellLikelihood": lambda: CellLikelihood(operator=Coefficients(SHAPE, standard(30, "4:2:0"))),
}


@lru_cache
def network(classes: int = 0) -> NetworkPrior:
    """A small network of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = NAFUNet((8, 16), (1, 1), embedding=16, classes=classes, size=32)
        torch.nn.init.normal_(made.last.weight, std=0.05)
    return NetworkPrior.of(made)


def latent() -> LatentPrior:
    """Pairs of pixels as latents, behind a turn."""
    inner = MixturePrior(torch.ones(2), rand(2, 12, 4, 4, seed=9), torch.full((2, 192), 0.3))
    return LatentPrior(inner, Turn(SHAPE, (12, 4, 4)), Turn((12, 4, 4), SHAPE), stride=2)


class Turn(torch.nn.Module):
    """A rotation of all entries, into another shape."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        self.after = after
        self.register_buffer("turn", torch.linalg.qr(rand(192, 192, seed=10))[0])

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.turn).reshape(-1, *self.after)


class ByHand(Prior):
    """A prior of a Gaussian around zero, written as a person writes one."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = SHAPE
        self.diffusion = MIXTURE.diffusion
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        return self.scale * alpha_t * x_t / (alpha_t**2 + sigma_t**2)


def full() -> MixturePrior:
    L = rand(2, 192, 192, seed=8) / 30
    return MixturePrior(torch.ones(2), MEANS, L @ L.mT + 0.1 * torch.eye(192))


def gan() -> DenoisingGANPrior:
    """Return a prior of five steps that draws; its times are 0.2, 0.4 ... 1."""
    torch.manual_seed(0)
    inner = NAFUNet(channels=(8, 8), blocks=(1, 1), image_channels=6, embedding=16, size=16)
    torch.nn.init.normal_(inner.last.weight, std=0.1)
    return DenoisingGANPrior.of(inner, Drawn(5))


class Joined(torch.nn.Module):
    """A network of states beside a small image, which mixes them first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = network().network
        self.register_buffer("mix", rand(3, 7, 1, 1, seed=12))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        mixed = torch.nn.functional.conv2d(x, self.mix.to(x.dtype))
        return self.inner(mixed, c_noise)  # type: ignore[no-any-return]


def cascade() -> Prior:
    """Return a prior under a small image."""
    shape = (3, 16, 16)
    prior = CascadePrior(MIXTURE, Joined(), network().parameterization, shape)
    return prior._show(small=rand(1, 3, 8, 8, seed=13), noise=rand(1, *shape, seed=14))


def conditioned() -> Prior:
    """Return a prior under averages of pixels."""
    shape = (3, 16, 16)
    average = made("average(factor=2)")
    prior = ConditionedPrior(average, Joined(), network().parameterization, shape)
    return prior.given(rand(1, 3, 8, 8, seed=13))


PRIORS: dict[str, Callable[[], Prior]] = {
    "bits": lambda: BitsPrior(torch.tensor([0.4, 0.6]), rand(2, *SHAPE, seed=4).sigmoid()),
    "by hand": ByHand,
    "cascade": cascade,
    "conditioned": conditioned,
    "counted": lambda: CountedPrior(MIXTURE),
    "denoising_gan": gan,
    "gray": lambda: GrayPrior(network()).for_shape((1, 16, 16)),
    "guided": lambda: classes(dtype=torch.float32).with_condition(label=1, guidance_scale=2.0),
    "half": lambda: HalfPrior(network().for_shape((3, 16, 16))),
    "latent": latent,
    "mixture": lambda: MIXTURE,
    "mixture, full": full,
    "network": lambda: network().for_shape((3, 17, 16)),
    "network of a class": lambda: network(3).for_shape((3, 16, 16)).with_label(1),
    "paired": lambda: PairedPrior(MIXTURE, ByHand()),
    "patches": lambda: PatchPrior(X[0], side=3, most=30),
    "patches, given": lambda: PatchPrior(X[0], side=3, most=30).given(X[1], KEEP.s[1] == 0),
    "tiled": lambda: TiledPrior(network(), 16, 4, (3, 24, 24)),
    "tilted": lambda: TiltedPrior(MIXTURE, lambda x, t: -x.flatten(1).square().sum(1)),
}
ELSEWHERE = {"text"}  # priors that only tests/pretrained builds: pipelines of diffusers


# Runs of them


def stay(x: Any) -> Any:
    """Return a copy of a tensor or a module, on the CPU."""
    return copy.deepcopy(x)


def mover(kind: str) -> Move:
    """Return what copies a tensor or a module to a device, in float32."""
    return lambda x: copy.deepcopy(x).to(torch.empty(0, device=kind))


def leaves(out: Any) -> list[Tensor]:
    """Return the tensors of an answer."""
    if isinstance(out, Tensor):
        return [out]
    parts = out.values() if isinstance(out, dict) else out if isinstance(out, list | tuple) else ()
    return [x for part in parts for x in leaves(part)]


def run_operator(name: str) -> Run:
    def run(move: Move, steps: int) -> list[Any]:
        A, x = move(OPERATORS[name]().for_shape(SHAPE)), move(X)
        y = A(x)
        out = [y, A.mask_unmeasured(y), A.select(torch.tensor([2, 0]))(x[[2, 0]])]
        if isinstance(A, LinearOperator):
            out += [A.adjoint(y), A.pinv(y)]
        if isinstance(A, SVDOperator):
            out += [A.from_spectrum(A.to_spectrum(x)), A.from_left(A.to_left(y))]
        return out

    return run


def run_likelihood(name: str) -> Run:
    def run(move: Move, steps: int) -> list[Any]:
        likelihood, x = LIKELIHOODS[name](), move(X)
        moved = dataclasses.replace(likelihood, operator=move(likelihood.operator))
        moved = moved.measure((x > 0).to(x) if name == "FlipLikelihood" else x, Noise(0, IDS))
        part = moved.select(torch.tensor([1, 2]))
        out = [moved.y, part.y]
        if name != "CellLikelihood":  # it has no density
            out += [moved.log_prob(x), moved.score(x), part.score(x[1:])]
        if isinstance(moved, ConditionableLikelihood):
            out += [moved.condition(x, 0.5), moved.residual(x), moved.descent(x)]
            out += [moved.measured_count()]
        if name == "GaussianLikelihood":
            var = torch.tensor(0.5, dtype=torch.float64)
            out += [moved.evidence(x, 0.5), moved.chi2(x)]
            out += [draw_step(moved, x, var, Noise(1, IDS), how, 2) for how in get_args(Inner)]
        return out

    return run


def run_prior(name: str) -> Run:
    def run(move: Move, steps: int) -> list[Any]:
        prior = move(PRIORS[name]())
        x = move(rand(2, *prior.shape, seed=6))
        noise = Noise(0, IDS[:2])
        if name == "bits":
            x = (x > 0).to(x)
            return [prior(x, T), prior.kernel(x, T, T / 2).sample(noise)]
        x_0, vjp = denoise_vjp(prior, x, T)
        for _ in range(steps):
            x_0 = prior(x_0, T)
        return [x_0, vjp(x), prior.kernel(x, T, T / 2).sample(noise)]

    return run


def run_sampler(name: str) -> Run:
    def run(move: Move, steps: int) -> Tensor:
        prior = move(MIXTURE)
        noise = Noise(0, IDS)
        x_T = prior.diffusion.terminal((3, *prior.shape)).sample(noise).to(prior.like)
        out: Tensor = build(f"{name}(steps={steps})", ("samplers",))(prior, x_T, noise)
        return out

    return run


INVERSIONS = [name for name in names("inversions") if name != "null_text"]  # which needs a prompt


def run_inversion(name: str) -> Run:
    def run(move: Move, steps: int) -> list[Any]:
        prior, inversion = move(MIXTURE), build(f"{name}(steps={steps})", ("inversions",))
        code = inversion.encode(prior, move(X), Noise(0, IDS))
        return [inversion.decode(prior, code), code]

    return run


FEWER = {
    "discrepancy": "discrepancy(rounds=3)",
    "exemplar": "exemplar(tries=1)",
    "pnp_dm": "pnp_dm(iterations=4)",
    "resample": "resample(iterations=2)",
}


def method(name: str, steps: int = 2) -> Method[Any]:
    """Return a method of few steps."""
    made = build(FEWER.get(name, name), ("methods",))
    assert isinstance(made, Method)
    return made.with_steps(steps)


def pairs() -> Iterator[tuple[str, str]]:
    """Yield each method with a mask, and with a linear operator that has no SVD if it takes one."""
    for name in names("methods"):
        for operator in ("matrix",) if name == "moment_smc" else ("mask", "compressed"):
            A = OPERATORS[operator]().for_shape(SHAPE)
            needed = SVDOperator if name == "psld" else method(name).needs.operator
            if isinstance(A, needed):
                yield name, operator


def run_method(name: str, operator: str) -> Run:
    A = OPERATORS[operator]().for_shape(SHAPE)
    likelihood = GaussianLikelihood(operator=A, sigma=0.1).measure(X, Noise(0, IDS))
    if name == "exemplar":  # one image is enough, as it takes them one by one
        likelihood = likelihood.select(torch.tensor([0]))
    guess = 0.9 * X[: len(likelihood.y)] if method(name).takes_guess else None
    n = 1 if name == "exemplar" else 2

    def run(move: Move, steps: int) -> Tensor:
        return method(name, steps)(move(MIXTURE), likelihood, n=n, seed=1, guess=guess)

    return run


BEHIND = ("psld", "resample", "daps(iterations=10)", "dps")  # a decoder


def run_behind(name: str) -> Run:
    likelihood = GaussianLikelihood(operator=OPERATORS["matrix"](), sigma=0.1)
    measured = likelihood.measure(X, Noise(0, IDS))

    def run(move: Move, steps: int) -> Tensor:
        return method(name, steps)(move(latent()), measured, n=2, seed=1)

    return run


# Tasks

IMAGES = (0.5 + 0.2 * rand(2, 3, 32, 32, seed=7)).clamp(0, 1)
HOLE = torch.zeros(32, 32)
HOLE[8:20, 10:22] = 1
EDITED = {"label": 1, "steps": 2}
FEW = {"method": "dpir(steps=3)"}
TASKS: dict[str, Callable[..., Any]] = {
    "blend": lambda **s: diffprior.blend(IMAGES, HOLE, repeats=1, **EDITED, **s),
    "colorize": lambda **s: diffprior.colorize(IMAGES, **FEW, **s),
    "deblur": lambda **s: diffprior.deblur(
        IMAGES, "gaussian:1", boundary="circular", sigma=0.02, **FEW, **s
    ),
    "dejpeg": lambda **s: diffprior.dejpeg(IMAGES, 30, **FEW, **s),
    "denoise": lambda **s: diffprior.denoise(IMAGES, sigma=0.1, **FEW, **s),
    "edit": lambda **s: diffprior.edit(IMAGES, **EDITED, **s),
    "generate": lambda **s: diffprior.generate(width=32, height=32, **EDITED, **s),
    "inpaint": lambda **s: diffprior.inpaint(IMAGES, HOLE, **s),
    "interpolate": lambda **s: diffprior.interpolate(
        IMAGES, IMAGES.flip(0), samples=3, **EDITED, **s
    ),
    "invert": lambda **s: diffprior.invert(IMAGES, **EDITED, **s),
    "reconstruct": lambda **s: diffprior.reconstruct(
        2 * IMAGES[:1].mean(1) - 1, "gray", width=32, height=32, sigma=0.02, **FEW, **s
    ),
    "restore": lambda **s: diffprior.restore(IMAGES, HOLE, **FEW, **s),
    "sdedit": lambda **s: diffprior.sdedit(IMAGES, **EDITED, **s),
    "style": lambda **s: diffprior.style(IMAGES, factor=8, **EDITED, **s),
    "super_resolve": lambda **s: diffprior.super_resolve(IMAGES[..., :16, :16], 2, **FEW, **s),
    "variations": lambda **s: diffprior.variations(IMAGES, **EDITED, **s),
}
