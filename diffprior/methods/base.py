"""The interface of methods: from a prior and a likelihood to images."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, NamedTuple, Self, TypeGuard, TypeVar, cast

import torch
from torch import Tensor

from ..bands import rows_of
from ..batching import Callback, Report, batched, chain
from ..diffusions import Diffusion
from ..errors import UnsuitedError
from ..kernels import Kernel
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import LinearOperator, Operator, SVDOperator
from ..priors.base import Prior
from ..priors.network import chains_at_once
from ..random import Noise, stream_ids
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..schedules import Grid, Schedule, grid
from ..validation import Checked, renamed

__all__ = [
    "ChainMethod",
    "ConditionedPrior",
    "GaussianPosterior",
    "Guidance",
    "KernelGuidance",
    "LinearGaussian",
    "LinearPosterior",
    "Method",
    "Needs",
    "Posterior",
    "SVDPosterior",
]

L = TypeVar("L", bound=Likelihood[Any])
L_co = TypeVar("L_co", bound=Likelihood[Any], covariant=True)


@dataclass(frozen=True)
class Posterior(Generic[L_co]):
    """p(x | y), up to a constant p(x) p(y | x): a prior and a likelihood, bound together.

    Every step of a method takes one.

    Example:
        >>> import torch
        >>> from diffprior.likelihoods import GaussianLikelihood
        >>> from diffprior.operators.mask import Mask
        >>> from diffprior.priors.mixture import MixturePrior
        >>> prior = MixturePrior(torch.ones(1), torch.tensor([[0.0, 1.0]]), torch.ones(1))
        >>> A = Mask(torch.tensor([1.0, 0.0]))
        >>> p = Posterior(prior, GaussianLikelihood(operator=A, y=torch.ones(1, 2), sigma=0.1))
        >>> p.schedule is prior.diffusion.schedule
        True
    """

    prior: Prior
    likelihood: L_co

    @property
    def diffusion(self) -> Diffusion:
        """The diffusion of the prior."""
        return self.prior.diffusion

    @property
    def schedule(self) -> Schedule:
        """The noise schedule of the prior."""
        return self.prior.diffusion.schedule

    def select(self, index: Tensor) -> Self:
        """Return the posterior of some images of the batch, in this order; they may repeat."""
        return replace(self, likelihood=self.likelihood.select(index))


LinearGaussian = GaussianLikelihood[LinearOperator]
GaussianPosterior = Posterior[GaussianLikelihood[Any]]
LinearPosterior = Posterior[LinearGaussian]
SVDPosterior = Posterior[GaussianLikelihood[SVDOperator]]


class Needs(NamedTuple):
    """The classes that a method works with."""

    diffusion: type[Any] = Diffusion
    likelihood: type[Any] = Likelihood
    operator: type[Any] = Operator


@dataclass(frozen=True, kw_only=True)
class Method(Checked, ABC, Generic[L]):
    """Draws images from p(x | y), given a prior of x and a likelihood p(y | x).

    Call it: ``method(prior, likelihood, n=4, seed=0)``. A subclass is a frozen dataclass of
    settings. It says in ``needs`` what it works with, and overrides ``run``; most methods are a
    ``Guidance`` instead, which leaves the loop to a sampler.

    Shapes: one state has ``prior.shape``, a batch of states is ``(B, *prior.shape)``.

    Arguments:
        start: Noise level sigma_t / alpha_t at which the chain starts, from a guess of the image;
            None to start from pure noise, at t = 1.

    Example:
        >>> import torch
        >>> from diffprior.likelihoods import GaussianLikelihood
        >>> from diffprior.methods.mmps import MMPS
        >>> from diffprior.operators.mask import Mask
        >>> from diffprior.priors.mixture import MixturePrior
        >>> prior = MixturePrior(torch.ones(1), torch.tensor([[0.0, 1.0]]), torch.ones(1))
        >>> A = Mask(torch.tensor([1.0, 0.0]))  # the second entry is not measured
        >>> likelihood = GaussianLikelihood(operator=A, y=torch.ones(2), sigma=0.1)
        >>> MMPS()(prior, likelihood, n=4, seed=0).shape
        torch.Size([4, 2])
    """

    start: float | None = None

    noise_levels: ClassVar[tuple[str, ...]] = ("start",)  # settings that are levels of a chain
    joint: ClassVar[bool] = False  # True where the samples of a measurement are one population

    @property
    def needs(self) -> Needs:
        """What this method works with; a class attribute of most methods."""
        return Needs()

    @property
    def starts(self) -> int:
        """How many states ``initial`` returns for each one of the chain, beside each other."""
        return 1

    @property
    def stochastic(self) -> bool:
        """False for a method whose answer does not depend on the seed."""
        return True

    @property
    def takes_guess(self) -> bool:
        """Whether the chain starts from a guess of the image rather than from pure noise."""
        return self.start is not None

    @abstractmethod
    def run(self, p: Posterior[L], x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        """Return clean states ``(B, *shape)`` from states ``x_T`` at ``start_time(p.prior)``."""

    def start_time(self, prior: Prior) -> float:
        """Return the time at which the chain starts."""
        return 1.0 if self.start is None else float(prior.diffusion.schedule.time(self.start))

    def with_steps(self, steps: int) -> Self:
        """Return the same method with a chain of ``steps`` steps."""
        if not hasattr(self, "steps"):
            raise UnsuitedError(f"{type(self).__name__} has no number of steps")
        return replace(self, **{"steps": steps})

    def at_levels(self, factor: float) -> Self:
        """Return the same method with all noise levels of its chain times a factor."""
        levels = {name: getattr(self, name) for name in self.noise_levels}
        return replace(self, **{k: factor * v for k, v in levels.items() if v is not None})

    def check(self, p: Posterior[Any]) -> None:
        """Raise an ``UnsuitedError`` where this method cannot work with a posterior."""
        parts = Needs(type(p.diffusion), type(p.likelihood), type(p.likelihood.operator))
        for needed, part in zip(self.needs, parts, strict=True):
            if not issubclass(part, needed):
                raise UnsuitedError(
                    f"{type(self).__name__} needs a {needed.__name__}, got {part.__name__}"
                )

    @renamed(names="ids", rows="batch_size", watch="callback")
    @torch.no_grad()
    def __call__(  # noqa: PLR0913 (the public call)
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        n: int = 1,
        seed: int = 0,
        *,
        guess: Tensor | Callable[[], Tensor] | None = None,
        ids: Sequence[int | str] | None = None,
        batch_size: int | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw ``n`` images from p(x | y).

        Arguments:
            n: The number of samples of each image.
            seed: Of the random numbers; the same seed gives the same samples.
            guess: First guesses of the images, of shape ``(B, *shape)``, for a chain that has a
                ``start``; by default the smallest image that explains y, for a linear operator.
                A function that returns them saves memory: they are held as long as needed.
            ids: An id for each image; images of different ids get different noise. By default
                all images share their noise, so that each one's samples are those it gets alone.
            batch_size: The most states in a batch. By default all samples of one image on a CPU,
                where sums and products round by the number of states, and all states elsewhere. A
                number above ``n`` is faster for many small problems, and changes the last digits.
            callback: Called after each step with the states and the share of the work done.

        Returns:
            Images ``(n, *shape)`` for one measurement, ``(B, n, *shape)`` for a batch of them.

        Raises:
            UnsuitedError: If the method cannot work with this prior or likelihood.
            ValueError: If a setting or a shape does not fit.
        """
        if n < 1:
            raise ValueError(f"the number of samples is at least 1, got {n}")
        p = self.bind(prior, likelihood)
        count = len(p.likelihood.y)
        noise = Noise(seed, stream_ids(ids, count), n)
        index = torch.arange(count).repeat_interleave(n)

        def draw(part: Tensor, streams: Noise, callback: Callback) -> Tensor:
            at = index[part]  # in order: the images of a part follow one another
            images = torch.arange(int(at[0]), int(at[-1]) + 1)
            each = at - at[0]
            own = p.select(images)
            first = guess() if callable(guess) else guess
            first = rows_of(first, images) if _is_for_each(first, p) else first
            start = [self.initial(own, first, each, streams)]
            del first
            return prior.decode(self.run(own.select(each), start.pop(), streams, callback))

        size = n if self.joint else batch_size or count * n
        alone = n if prior.like.device.type == "cpu" and batch_size is None else None
        together = chains_at_once(prior)
        x = batched(draw, noise, callback, size, of=alone, whole=self.joint, at_once=together)
        return x if count == 1 else x.reshape(count, n, *x.shape[1:])

    def bind(self, prior: Prior, likelihood: Likelihood[Any]) -> Posterior[L]:
        """Return the posterior of the prior's states, with y as a batch of their dtype and device.

        Behind a latent prior the likelihood is one of latents, through the decoder.
        """
        A = likelihood.operator if prior.latent else likelihood.operator.for_shape(prior.shape)
        likelihood = replace(likelihood, operator=_fit(A, prior.like))
        if prior.latent:
            likelihood = likelihood.through(prior.decode)
        self.check(Posterior(prior, likelihood))
        operator = likelihood.operator
        y = likelihood.y.to(prior.like)
        one = operator(prior.like.new_zeros(1, *prior.shape))
        y = y[None] if y.ndim < one.ndim else y
        if y.shape[1:] != one.shape[1:]:
            raise ValueError(
                f"a measurement of this operator has shape {tuple(one.shape[1:])}, "
                f"got {tuple(y.shape[1:])}"
            )
        if len(one) not in (1, len(y)):
            raise ValueError(f"an operator of {len(one)} images cannot serve {len(y)} measurements")
        return Posterior(prior, cast(L, replace(likelihood, y=y)))

    def initial(
        self, p: Posterior[Any], guess: Tensor | None, images: Tensor, noise: Noise
    ) -> Tensor:
        """Return the states that the chain starts from, ``(B, C, ...)``.

        A method made of several returns the starts of all, ``(B, starts C, ...)``.

        Arguments:
            guess: First guesses of all images of the batch, or None.
            images: The number of the image that each state belongs to.
            noise: One stream a state.
        """
        prior = p.prior
        likelihood = p.likelihood
        if self.start is None:
            terminal = p.diffusion.terminal((len(images), *prior.shape))
            return terminal.sample(noise).to(prior.like)
        if guess is not None:
            x_0 = prior.encode(guess.to(prior.like))
        elif isinstance(likelihood.operator, LinearOperator):
            x_0 = likelihood.operator.pinv(likelihood.y)
        else:
            raise ValueError(
                f"{type(self).__name__}(start={self.start}) needs a guess to start from"
            )
        x_0 = rows_of(x_0.expand(len(likelihood.y), *prior.shape), images).contiguous()
        return self.noised(prior, x_0, noise)

    def noised(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        """Return first guesses ``x_0`` noised as at ``start_time(prior)``."""
        t = torch.tensor(self.start_time(prior), dtype=torch.float64)
        return prior.diffusion.noise(x_0, t).sample(noise)


@dataclass(frozen=True, kw_only=True)
class ChainMethod(Method[L], ABC):
    """A method with its own loop over a grid of times.

    ``run`` begins ``for t, s, report in self.chain(p.prior, callback):`` and ends each step with
    ``report(x)``.

    Arguments:
        steps: Steps of the chain.
        grid: How its times are spaced: ``time``, ``logsnr``, ``karras``, ``vp`` or ``quad``.
    """

    steps: int = 200
    grid: Grid = "logsnr"

    def times(self, prior: Prior) -> Tensor:
        """Return the times of the chain, float64 of shape ``(steps + 1,)``."""
        return grid(prior.diffusion.schedule, self.grid, self.steps, self.start_time(prior))

    def chain(self, prior: Prior, callback: Callback) -> Iterator[tuple[Tensor, Tensor, Report]]:
        """Yield t, the next time s and a function that reports the states after the step."""
        return chain(self.times(prior), callback)


@dataclass(frozen=True, kw_only=True)
class Guidance(Method[L]):
    """A method that conditions the prior and leaves the loop to a sampler.

    Override ``denoise``, which returns E[x_0 | x_t, y]; the reverse kernel p(x_s | x_t, y), and
    so every sampler, follows from it. Without an override it draws from the prior alone.

    Arguments:
        sampler: The chain from noise to images.

    Example:
        >>> class Nudge(Guidance[LinearGaussian]):
        ...     def denoise(self, p: LinearPosterior, x_t: Tensor, t: Tensor) -> Tensor:
        ...         x_0 = p.prior(x_t, t)
        ...         return x_0 + 0.5 * p.likelihood.operator.pinv(p.likelihood.residual(x_0))
        >>> Nudge().sampler
        Ancestral(steps=100, grid='time', temperature=1.0, variance=0.0)
    """

    sampler: Sampler = field(default_factory=Ancestral)

    def with_steps(self, steps: int) -> Self:
        return replace(self, sampler=self.sampler.with_steps(steps))

    def denoise(self, p: Posterior[L], x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t, y], of the shape of ``x_t``."""
        return p.prior(x_t, t)

    def kernel(self, p: Posterior[L], x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        """Return p(x_s | x_t, y), for s < t; eta is the share of its deviation that is kept."""
        return p.prior.reverse(x_t, self.denoise(p, x_t, t), t, s, eta)

    def run(self, p: Posterior[L], x_T: Tensor, noise: Noise, callback: Callback) -> Tensor:
        start = self.start_time(p.prior)
        return self.sampler(ConditionedPrior(self, p), x_T, noise, start=start, callback=callback)


@dataclass(frozen=True, kw_only=True)
class KernelGuidance(Guidance[L], ABC):
    """A guidance that conditions the reverse kernels alone: override ``kernel``.

    It works with the samplers that draw kernels, ``ancestral`` and ``ddim``.

    Example:
        >>> class Plain(KernelGuidance[LinearGaussian]):
        ...     def kernel(
        ...         self, p: LinearPosterior, x_t: Tensor, t: Tensor, s: Tensor, eta: float
        ...     ) -> Kernel:
        ...         return p.prior.kernel(x_t, t, s, eta)
        >>> Plain().with_steps(5).sampler.steps
        5
    """

    @abstractmethod
    def kernel(self, p: Posterior[L], x_t: Tensor, t: Tensor, s: Tensor, eta: float) -> Kernel:
        """Return p(x_s | x_t, y), for s < t; eta is the share of its deviation that is kept."""

    def denoise(self, p: Posterior[L], x_t: Tensor, t: Tensor) -> Tensor:
        raise UnsuitedError(
            f"{type(self).__name__} conditions reverse kernels, which "
            f"{type(self.sampler).__name__} does not draw; use ancestral or ddim"
        )


class ConditionedPrior(Prior, Generic[L]):
    """The prior that a guidance makes of a posterior, for a sampler to draw from."""

    def __init__(self, guidance: Guidance[L], p: Posterior[L]) -> None:
        super().__init__()
        self.guidance = guidance
        self.p = p
        self.diffusion = p.diffusion
        self.shape = p.prior.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.guidance.denoise(self.p, x_t, t)

    def shares(self) -> Prior:
        return self.p.prior.shares()

    def kernel(self, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        return self.guidance.kernel(self.p, x_t, t, s, eta)


def _is_for_each(guess: Tensor | None, p: Posterior[Any]) -> TypeGuard[Tensor]:
    """Return whether there is a first guess for each image, rather than one for all."""
    shape = () if guess is None else tuple(guess.shape)
    return len(shape) > len(p.prior.shape) and shape[0] == len(p.likelihood.y)


def _fit(operator: Operator, like: Tensor) -> Operator:
    """Return the operator with the dtype and device of ``like``; itself where it has them."""
    kinds = {(x.dtype, x.device) for x in operator.buffers() if x.is_floating_point()}
    if kinds <= {(like.dtype, like.device)}:
        return operator
    return copy.deepcopy(operator).to(like)
