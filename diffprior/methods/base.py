"""A method turns a prior and a likelihood into images; a guidance makes a better prior."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
from torch import Tensor

from ..batching import Callback, batched
from ..diffusions import Diffusion
from ..errors import UnsuitedError
from ..kernels import Kernel
from ..likelihoods.base import Likelihood
from ..operators.base import LinearOperator, Operator
from ..priors.base import Prior
from ..random import Noise, stream_ids
from ..samplers.ancestral import Ancestral
from ..samplers.base import Sampler
from ..validation import Checked

__all__ = ["Guidance", "KernelGuidance", "Method"]

L = TypeVar("L", bound=Likelihood[Any])


@dataclass(frozen=True, kw_only=True)
class Method(Checked, ABC, Generic[L]):
    """A way to p(x | y).

    Arguments:
        start: Noise level sigma_t / alpha_t at which the chain begins, from a guess of the image;
            None for pure noise at t = 1.
    """

    start: float | None = None

    stochastic: ClassVar[bool] = True  # False for a method that gives one answer, whatever the seed
    joint: ClassVar[bool] = False  # True where the samples of a measurement are one population

    @property
    def needs(self) -> tuple[type, type, type]:
        """Return the diffusion, the likelihood and the operator that this method can work with."""
        return Diffusion, Likelihood, Operator

    @abstractmethod
    def run(
        self,
        prior: Prior,
        likelihood: L,
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        """Return clean states from states at ``self.start_time(prior)``."""

    def start_time(self, prior: Prior) -> float:
        """Return the time at which the chain begins."""
        return 1.0 if self.start is None else float(prior.diffusion.schedule.time(self.start))

    def with_steps(self, steps: int) -> Self:
        """Return the same method with a chain of this many steps."""
        if not hasattr(self, "steps"):
            raise UnsuitedError(f"{type(self).__name__} has no number of steps")
        return replace(self, **{"steps": steps})

    def check(self, prior: Prior, likelihood: Likelihood[Any]) -> None:
        """Refuse, in one sentence, what this method cannot work with."""
        given = prior.diffusion, likelihood, likelihood.operator
        for needed, have in zip(self.needs, given, strict=True):
            if not isinstance(have, needed):
                raise UnsuitedError(
                    f"{type(self).__name__} needs a {needed.__name__}, got {type(have).__name__}"
                )

    @torch.no_grad()
    def __call__(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        n: int = 1,
        seed: int = 0,
        *,
        guess: Tensor | None = None,
        ids: Sequence[int | str] | None = None,
        batch_size: int | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw ``n`` images from p(x | y): ``(n, *shape)``, or ``(B, n, *shape)`` for a batch.

        Arguments:
            guess: First guesses of the images, of shape ``(B, *shape)``, for a chain that has a
                ``start``; the least image that explains y where not given.
            ids: What tells the streams of one image from another's. Without, all images of
                the batch share theirs, so that an image's result is the one it has alone.
            batch_size: How many states to run at a time; all where not given.
            callback: Called after each step with the states and the share of all that is done.
        """
        if n < 1:
            raise ValueError(f"the number of samples is at least 1, got {n}")
        likelihood = self.bind(prior, likelihood)
        count = len(likelihood.y)
        noise = Noise(seed, stream_ids(ids, count), n)
        index = torch.arange(count).repeat_interleave(n)

        def draw(part: Tensor, streams: Noise, callback: Callback | None) -> Tensor:
            x_T = self.initial(prior, likelihood, guess, index[part], streams)
            given = cast(L, likelihood.select(index[part]))
            return prior.decode(self.run(prior, given, x_T, streams, callback))

        size = n if self.joint else batch_size or count * n
        x = batched(draw, noise, callback, size, whole=self.joint)
        return x if count == 1 else x.reshape(count, n, *x.shape[1:])

    def bind(self, prior: Prior, likelihood: Likelihood[Any]) -> Likelihood[Any]:
        """Return the likelihood as one of a batch of y, of the prior's states, dtype and device."""
        A = likelihood.operator if prior.latent else likelihood.operator.for_shape(prior.shape)
        likelihood = replace(likelihood, operator=_fit(A, prior.like))
        if prior.latent:
            likelihood = likelihood.through(prior.decode)
        self.check(prior, likelihood)
        operator, y = likelihood.operator, likelihood.y.to(prior.like)
        one = operator(prior.like.new_zeros(1, *prior.shape))
        y = y[None] if y.ndim < one.ndim else y
        if y.shape[1:] != one.shape[1:]:
            raise ValueError(
                f"a measurement of this operator has shape {tuple(one.shape[1:])}, "
                f"got {tuple(y.shape[1:])}"
            )
        if len(one) not in (1, len(y)):
            raise ValueError(f"an operator of {len(one)} images cannot serve {len(y)} measurements")
        return replace(likelihood, operator=operator, y=y)

    def initial(
        self,
        prior: Prior,
        likelihood: Likelihood[Any],
        guess: Tensor | None,
        images: Tensor,
        noise: Noise,
    ) -> Tensor:
        """Return the states that the chain begins with."""
        terminal = prior.diffusion.terminal((len(images), *prior.shape))
        if self.start is None:
            return terminal.sample(noise).to(prior.like)
        if guess is not None:
            x_0 = prior.encode(guess.to(prior.like))
        elif isinstance(likelihood.operator, LinearOperator):
            x_0 = likelihood.operator.pinv(likelihood.y)
        else:
            raise ValueError(
                f"{type(self).__name__}(start={self.start}) needs a guess to start from"
            )
        x_0 = x_0.expand(len(likelihood.y), *prior.shape)[images]
        return self.noised(prior, x_0, noise)

    def noised(self, prior: Prior, x_0: Tensor, noise: Noise) -> Tensor:
        """Return the states at ``self.start_time(prior)`` of these first guesses."""
        t = torch.tensor(self.start_time(prior), dtype=torch.float64)
        return prior.diffusion.noise(x_0, t).sample(noise)


@dataclass(frozen=True, kw_only=True)
class Guidance(Method[L]):
    """Conditions the prior: override ``denoise``, or ``kernel``, and every sampler follows.

    Arguments:
        sampler: The way down the time grid.
    """

    sampler: Sampler = field(default_factory=Ancestral)

    def with_steps(self, steps: int) -> Self:
        return replace(self, sampler=self.sampler.with_steps(steps))

    def denoise(self, prior: Prior, likelihood: L, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t, y]."""
        return prior(x_t, t)

    def kernel(
        self, prior: Prior, likelihood: L, x_t: Tensor, t: Tensor, s: Tensor, eta: float
    ) -> Kernel:
        """Return p(x_s | x_t, y)."""
        x_0 = self.denoise(prior, likelihood, x_t, t)
        return prior.diffusion.bridge(x_t, x_0, t, s, eta)

    def run(
        self,
        prior: Prior,
        likelihood: L,
        x_T: Tensor,
        noise: Noise,
        callback: Callback | None = None,
    ) -> Tensor:
        posterior = _Posterior(self, prior, likelihood)
        return self.sampler(posterior, x_T, noise, start=self.start_time(prior), callback=callback)


@dataclass(frozen=True, kw_only=True)
class KernelGuidance(Guidance[L], ABC):
    """Conditions the reverse kernels alone: for the samplers that draw them."""

    @abstractmethod
    def kernel(
        self, prior: Prior, likelihood: L, x_t: Tensor, t: Tensor, s: Tensor, eta: float
    ) -> Kernel:
        """Return p(x_s | x_t, y)."""

    def denoise(self, prior: Prior, likelihood: L, x_t: Tensor, t: Tensor) -> Tensor:
        raise UnsuitedError(
            f"{type(self).__name__} conditions reverse kernels, which "
            f"{type(self.sampler).__name__} does not draw; use ancestral or ddim"
        )


class _Posterior(Prior, Generic[L]):
    """A conditioned prior is a prior."""

    def __init__(self, guidance: Guidance[L], prior: Prior, likelihood: L) -> None:
        super().__init__()
        self.guidance, self.prior, self.likelihood = guidance, prior, likelihood
        self.diffusion, self.shape = prior.diffusion, prior.shape

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.guidance.denoise(self.prior, self.likelihood, x_t, t)

    def kernel(self, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        return self.guidance.kernel(self.prior, self.likelihood, x_t, t, s, eta)


def _fit(operator: Operator, like: Tensor) -> Operator:
    """Return the operator with the dtype and device of ``like``; itself where it has them."""
    kinds = {(x.dtype, x.device) for x in operator.buffers() if x.is_floating_point()}
    if kinds <= {(like.dtype, like.device)}:
        return operator
    return copy.deepcopy(operator).to(like)
