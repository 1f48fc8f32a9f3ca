"""What a prior is: a diffusion and its denoiser, E[x_0 | x_t]."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from ..densities.flow import Density, FlowSettings, flow_density
from ..diffusions import Diffusion, GaussianDiffusion
from ..errors import ImageError, PriorError, SettingError, UnsuitedError
from ..kernels import Kernel
from ..networks.backends import check_backend
from ..random import Noise, stream_ids
from ..validation import literal, shown

__all__ = [
    "AddedWeights",
    "Condition",
    "Prior",
    "Source",
    "Wrapper",
    "denoise_vjp",
    "flow_settings",
    "show_image",
]


@dataclass(frozen=True)
class AddedWeights:
    """Weights that were added to a model when it was opened.

    Attributes:
        kind: ``lora`` or ``controlnet``.
        name: Name of their file or folder, or their hub id.
        scale: What they are multiplied by.
    """

    kind: str
    name: str
    scale: float = 1.0


@dataclass(frozen=True)
class Source:
    """Where a prior comes from.

    Attributes:
        name: Name of a shipped prior, of a file or folder, or a hub id.
        sha256: SHA-256 of all its weights, in hexadecimal.
        added: The weights that were added to its own.
    """

    name: str
    sha256: str
    added: tuple[AddedWeights, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What the images of a prior show; None is not set.

    Attributes:
        prompt: A text, for text-to-image models.
        negative_prompt: A text to move away from; by default the empty text.
        label: A class, for class-conditional models.
        guidance_scale: w of ``GuidedPrior``; 1 is the condition alone.
    """

    prompt: str | None = None
    negative_prompt: str | None = None
    label: int | None = None
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        if self.guidance_scale is not None and not math.isfinite(self.guidance_scale):
            raise SettingError(f"guidance_scale is a finite number, got {self.guidance_scale}")
        if self.texts and self.label is not None:
            raise SettingError(
                f"a prior has texts or classes, not both; got {self.texts} and label={self.label}"
            )

    @property
    def texts(self) -> dict[str, str]:
        """Return the texts that are set."""
        texts = {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        return {k: v for k, v in texts.items() if v is not None}


class Prior(nn.Module, ABC):
    """What images look like, as a diffusion and its denoiser.

    The diffusion adds noise to a clean state x_0, which is an image or its latents, until nothing
    is left of it: x_t = alpha_t x_0 + sigma_t eps, with eps standard normal and t from 0 (clean)
    to 1 (noise). A prior answers one question: which x_0 is behind x_t, on average?

        prior(x_t, t) = E[x_0 | x_t]

    Everything else follows from this mean. The score of the noisy states is
    (alpha_t E[x_0 | x_t] - x_t) / sigma_t^2 (Tweedie's formula), and each step of a sampler draws
    x_s from ``prior.kernel(x_t, t, s)``, at an earlier time s < t.

    Images are tensors ``(B, C, H, W)`` with values in [-1, 1], and states are tensors
    ``(B, *shape)``. For priors of images the two are the same; a latent prior converts them with
    ``encode`` and ``decode``. A time is a tensor without axes, one for the whole batch.

    A prior never changes. Methods that begin with ``with_`` or ``for_`` return a changed copy,
    which shares the network.

    Example::

        prior = diffprior.load_prior()  # the shipped prior of photographs
        prior = prior.for_shape((3, 128, 128))
        x = prior.encode(image)  # (B, 3, 128, 128), in [-1, 1]
        t = torch.tensor(0.5, dtype=torch.float64)
        alpha_t, sigma_t = prior.diffusion.schedule(t)
        x_t = (alpha_t * x + sigma_t * torch.randn_like(x)).to(x)
        x_0 = prior.decode(prior(x_t, t))  # the denoised image

    To write a prior, set ``diffusion`` and ``shape`` and define ``forward``.

    Attributes:
        diffusion: How noise is added to states.
        shape: Shape of one state, without the batch.
        latent: Whether states are latents, which ``decode`` turns into images.
        stride: Pixels per element of a state, along each side; 1 for priors of images.
        source: The model that the prior was opened from; None if it was built in Python.
        classes: Number of classes that the prior distinguishes; 0 for none.
        label: The class of its images, from 0; None for any.
        needs_label: Whether it knows images of its classes alone, so that a label has to be set.
        reads_text: Whether a prompt can describe its images.
        text: The prompt of its images; None for no prompt.
        sees_image: Whether the network takes an image in addition to the state (``with_image``).
            Such a prior is for one image at a time.
        edits_image: Whether the network edits the image that it sees. Otherwise it fills a hole.
        takes_control: Whether a ControlNet follows a control image (``with_control``).
        local: Whether the mean of a pixel depends on what is near it alone, so that the prior knows
            textures and edges but not what belongs into a wide hole.
        consistency: Whether ``forward`` returns the end of the flow from x_t, which is a sample,
            in place of the mean: "Consistency Models" (Song et al., 2023),
            https://arxiv.org/abs/2303.01469. Its kernels are then those of the multistep sampling
            of that paper, and samplers that walk the flow do not suit it.
        usual_sampler: The text of the sampler that its network was trained for, if for one alone.
    """

    diffusion: Diffusion
    shape: tuple[int, ...]
    latent: ClassVar[bool] = False
    stride: int = 1
    source: Source | None = None
    classes: int = 0
    label: int | None = None
    needs_label: bool = False
    reads_text: bool = False
    text: str | None = None
    sees_image: bool = False
    edits_image: bool = False
    takes_control: bool = False
    local: bool = False
    consistency: bool = False
    usual_sampler: str | None = None

    @classmethod
    def from_pretrained(cls, source: str | Path | None = None, **settings: Any) -> Self:
        """Open a pretrained prior of this class; on ``Prior``, the same as ``load_prior``.

        Arguments:
            source: A name, folder, weights file or hub id, as in ``diffprior.load_prior``.
            settings: The other arguments of ``diffprior.load_prior``.

        Raises:
            PriorError: If it cannot be opened, or is of another class.
        """
        from .. import load_prior  # the public one: loading stands above the priors

        prior = load_prior(source, **settings)
        if not isinstance(prior, cls):
            raise PriorError(
                f"{prior.name} holds a {type(prior).__name__}, not a {cls.__name__}: "
                "use Prior.from_pretrained"
            )
        return prior

    def save_pretrained(self, folder: Path | str) -> None:
        """Write this prior to a folder that ``from_pretrained`` and diffusers read.

        Raises:
            PriorError: If this kind of prior has no file format of ours.
        """
        raise PriorError(f"save_pretrained writes network priors, not a {type(self).__name__}")

    def push_to_hub(self, repo_id: str, *, token: str | None = None, private: bool = False) -> str:
        """Upload this prior to the Hugging Face hub, and return the address of the upload.

        Arguments:
            repo_id: Hub id ``owner/name``; the repository is created if it does not exist.
            token: Access token; by default that of ``hf auth login``.
            private: Whether a new repository is private.

        Raises:
            PriorError: If this kind of prior has no file format of ours.
        """
        from huggingface_hub import HfApi

        hub = HfApi(token=token)
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            hub.create_repo(repo_id, private=private, exist_ok=True)
            return str(
                hub.upload_folder(
                    repo_id=repo_id, folder_path=folder, commit_message="Upload a prior"
                )
            )

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """Return E[x_0 | x_t], of the shape of ``x_t``.

        Arguments:
            x_t: Noisy states, of shape ``(B, *shape)``.
            t: Their time in [0, 1], without axes.
        """

    def __call__(self, x_t: Tensor, t: Tensor) -> Tensor:
        x_0: Tensor = super().__call__(x_t, t)
        return x_0.contiguous()  # a network may have the channels last, and sums round by layout

    def kernel(self, x_t: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        """Return p(x_s | x_t), for s < t; ``eta`` is the share of fresh noise, in [0, 1]."""
        return self.reverse(x_t, self(x_t, t), t, s, eta)

    def reverse(self, x_t: Tensor, x_0: Tensor, t: Tensor, s: Tensor, eta: float = 1.0) -> Kernel:
        """Return p(x_s | x_t) for s < t, given what ``forward`` returns, or a change of it.

        It is the bridge q(x_s | x_t, x_0). For a consistency function at eta = 1 it is
        q(x_s | x_0), as x_0 is a sample and x_s has no need of x_t.
        """
        if self.consistency:
            return self.diffusion.renoise(x_t, x_0, t, s, eta)
        return self.diffusion.bridge(x_t, x_0, t, s, eta)

    def shares(self) -> "Prior":
        """Return a prior whose answer is the share v of the variance that its network has learned.

        A kernel has the variance beta_tilde^(1 - v) beta^v, element by element.

        Raises:
            SettingError: If the network has learned none.
        """
        raise SettingError(f"{self.name} has learned no variances: variance is a number in [0, 1]")

    def score(
        self, x: Tensor, t: Tensor | None = None, *, sigma: Tensor | float | None = None
    ) -> Tensor:
        """Return the gradient of the log-density of noisy states, of the shape of ``x``.

        (alpha_t E[x_0 | x_t] - x_t) / sigma_t^2, Tweedie's formula.

        Arguments:
            x: x_t, of shape ``(B, *shape)``; with ``sigma``, x_0 + sigma eps.
            t: Their time in [0, 1], without axes.
            sigma: Their noise level, in place of the time, in the units of the states.

        Raises:
            SettingError: If there is no such noise level.
            UnsuitedError: If the noise is not Gaussian, or ``forward`` is not the mean.
        """
        t, scale = self._time(t, sigma)
        return -scale / self.diffusion.schedule(t)[1] * self.eps(scale * x, t)

    def eps(
        self, x: Tensor, t: Tensor | None = None, *, sigma: Tensor | float | None = None
    ) -> Tensor:
        """Return the mean of the noise in noisy states: (x_t - alpha_t E[x_0 | x_t]) / sigma_t.

        Arguments and errors are those of ``score``.
        """
        t, scale = self._time(t, sigma)
        alpha_t, sigma_t = self.diffusion.schedule(t)
        x_t = scale * x
        return (x_t - alpha_t * self(x_t, t)) / sigma_t

    def _time(self, t: Tensor | None, sigma: Tensor | float | None) -> tuple[Tensor, Tensor]:
        """Return the time of a time or a noise level, and the factor that makes x of it x_t."""
        self._check_mean()
        one = torch.ones((), dtype=torch.float64)
        if t is not None and sigma is None:
            return t, one
        if t is not None or sigma is None:
            raise SettingError("a noise level is a time t in [0, 1] or a sigma, one of the two")
        schedule = self.diffusion.schedule
        low, high = (schedule.ratio(end).item() for end in (0 * one, one))
        if not low <= float(sigma) <= high:
            raise SettingError(
                f"sigma lies in [{low:.3g}, {high:.4g}], the noise levels of this prior; "
                f"got {float(sigma):g}"
            )
        t = schedule.time(sigma)
        return t, schedule(t)[0]

    def _check_mean(self) -> None:
        """Refuse what follows from E[x_0 | x_t] and Gaussian noise, where there are not both."""
        if not isinstance(self.diffusion, GaussianDiffusion):
            raise UnsuitedError(f"{self.name} has bits for states, and no score or noise of them")
        if self.consistency:
            raise UnsuitedError(f"{self.name} is a consistency model: it has no E[x_0 | x_t]")

    def log_prob(self, x: Tensor, t: Tensor | None = None, **settings: Any) -> Tensor:
        """Return the log-density of states in nats, float64 of shape ``(B,)``.

        The arguments are those of ``density``, which also tells the standard error.
        """
        return self.density(x, t, **settings).log_prob

    def density(
        self,
        x: Tensor,
        t: Tensor | None = None,
        *,
        seed: int = 0,
        ids: Sequence[int | str] | None = None,
        **settings: Any,
    ) -> Density:
        """Return the log-density of states by the probability flow, with its standard error.

        It is that of the states that a sampler without noise, such as DDIM, draws in very small
        steps. See ``diffprior.densities.flow``.

        Arguments:
            x: States, of shape ``(B, *shape)``.
            t: Their time in [0, 1]; by default 0, where they have the least noise of the schedule.
            seed: Seed of the probes.
            ids: Names of the streams of the probes; by default all rows share one.
            settings: ``tolerance``, ``probes`` and ``exact``, as of
                ``diffprior.densities.FlowSettings``.

        Raises:
            SettingError: If a setting cannot be used.
            UnsuitedError: If the noise is not Gaussian, or ``forward`` is not the mean.
        """
        self._check_mean()
        flow = flow_settings(settings)
        time = torch.zeros((), dtype=torch.float64) if t is None else t
        noise = Noise(seed, stream_ids(ids, len(x)))
        return flow_density(
            lambda x_t, t: denoise_vjp(self, x_t, t), self.diffusion, x, time, noise, flow
        )

    def encode(self, image: Tensor) -> Tensor:
        """Return the states of images ``(B, C, H, W)`` in [-1, 1]."""
        return image

    def decode(self, state: Tensor) -> Tensor:
        """Return the images of states."""
        return state

    def for_shape(self, shape: Sequence[int]) -> "Prior":
        """Return this prior for images of shape ``(C, H, W)``.

        Raises:
            ImageError: If the prior has one size only.
        """
        if tuple(shape) != self.shape:
            raise ImageError(
                f"{type(self).__name__} is a prior of states of shape {self.shape}, "
                f"not {tuple(shape)}; tiled priors take any size"
            )
        return self

    def with_time_shift(self, shape: Sequence[int]) -> "Prior":
        """Return this prior with the times of a network that sees states of this shape.

        Flows such as Flux and Stable Diffusion 3 spend more time at high noise on larger images.
        """
        return self

    @property
    def like(self) -> Tensor:
        """Return an empty tensor of the dtype and device that states should have."""
        for tensor in chain(self.parameters(), self.buffers()):
            if tensor.is_floating_point():
                return tensor.new_empty(0)
        return torch.empty(0)

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype that the network computes in."""
        return self.like.dtype

    @property
    def name(self) -> str:
        """Return the name of the prior's source, or that of its class if it has none."""
        return type(self).__name__ if self.source is None else self.source.name

    @property
    def sha256(self) -> str | None:
        """Return the SHA-256 of the prior's weights, or None if it has no source."""
        return None if self.source is None else self.source.sha256

    @property
    def guidance_scale(self) -> float:
        """Return w of its guidance; 1 is the condition alone."""
        return 1.0

    @property
    def embedding(self) -> Tensor | None:
        """Return the embedding of the prompt, ``(1, tokens, D)``, or None without one."""
        return None

    def _describe_as(self, prior: "Prior") -> None:
        """Take over what another prior says about itself: diffusion, shape, source, condition."""
        self.diffusion = prior.diffusion
        self.shape = prior.shape
        self.stride = prior.stride
        self.source = prior.source
        self.classes = prior.classes
        self.label = prior.label
        self.needs_label = prior.needs_label
        self.reads_text = prior.reads_text
        self.text = prior.text
        self.sees_image = prior.sees_image
        self.edits_image = prior.edits_image
        self.takes_control = prior.takes_control
        self.local = prior.local
        self.consistency = prior.consistency
        self.usual_sampler = prior.usual_sampler

    @property
    def innermost(self) -> "Prior":
        """Return the prior inside all wrappers."""
        return self

    @property
    def first(self) -> "Prior | None":
        """Return the prior of what is drawn before this one's images; None if nothing is.

        ``_show(small=..., noise=...)`` then sets what was drawn.
        """
        return None

    def map_inner(self, change: Callable[["Prior"], "Prior"]) -> "Prior":
        """Return this prior with its innermost one changed; wrappers and source stay."""
        return self._keep_source(change(self))

    def with_condition(
        self,
        *,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        label: int | None = None,
        guidance_scale: float | None = None,
    ) -> "Prior":
        """Return this prior for images that a prompt or a class describes.

        Without any setting the prior is returned as it is.

        Arguments:
            prompt: What the images show, for a text-to-image prior. By default its own prompt.
            negative_prompt: What to move away from. By default the empty text, or the negative
                prompt that the prior has, if the prompt does not change either.
            label: The class of the images, for a class-conditional prior. By default its own.
            guidance_scale: w of ``GuidedPrior``; 1 is the condition alone. For prompts it is by
                default the model's own or 7.5. For classes it is 3, or 1 if the network was only
                trained with classes. Networks that take the guidance as an input (Flux dev, latent
                consistency models) get it so, unless there is a ``negative_prompt``.

        Raises:
            SettingError: If the prior cannot do what is asked.
        """
        condition = Condition(
            prompt=prompt,
            negative_prompt=negative_prompt,
            label=label,
            guidance_scale=guidance_scale,
        )
        if not condition.texts and label is None and guidance_scale in (None, 1):
            return self if guidance_scale is None else self.without_guidance()
        return self.map_inner(lambda prior: prior._under(condition, self.name))

    def with_prompt(self, prompt: str, negative_prompt: str | None = None) -> "Prior":
        """Return this prior for images that a prompt describes; see ``with_condition``."""
        return self.with_condition(prompt=prompt, negative_prompt=negative_prompt)

    def with_label(self, label: int) -> "Prior":
        """Return this prior for images of one class; see ``with_condition``."""
        return self.with_condition(label=label)

    def with_guidance(self, scale: float) -> "Prior":
        """Return this prior with its prompt or class at another guidance scale.

        A scale of 1 is the condition alone. See ``with_condition``.
        """
        return self.with_condition(guidance_scale=scale)

    def without_guidance(self) -> "Prior":
        """Return this prior under its condition alone, which is guidance at a scale of 1."""
        return self.map_inner(lambda prior: prior._alone())

    def with_negative(self, other: "Prior") -> "Prior":
        """Return this prior guided away from the condition of another.

        A prior without guidance is returned as it is.
        """
        away = other.without_guidance().innermost
        return self.map_inner(lambda prior: prior._away_from(away))

    def for_text(self, text: str | None, negative: bool = False) -> "Prior":
        """Return the prior of another prompt, without guidance; None is no prompt.

        Arguments:
            text: The prompt.
            negative: Whether guidance moves away from it.
        """
        raise UnsuitedError(
            f"text={literal(text)} needs a prior of a text-to-image model, not {self.name}"
        )

    def for_label(self, label: int | None) -> "Prior":
        """Return the prior of another class, without guidance; None is any class."""
        raise UnsuitedError(
            f"label={literal(label)} needs a class-conditional prior, not {self.name}"
        )

    @property
    def backend(self) -> str:
        """Return the name of what computes the network, as ``with_backend`` takes it."""
        return "torch"

    def with_backend(self, backend: str) -> "Prior":
        """Return this prior with its network computed by a backend.

        "openvino" is for a ``NAFUNet`` on a CPU, in bfloat16, and needs the extra ``openvino``.
        Calls that ask for derivatives are computed by torch, with a warning.

        Arguments:
            backend: "torch" or "openvino".

        Raises:
            SettingError: If there is no such backend, or it does not compute this prior.
            ExtraError: If its package is not installed.
        """
        return self.map_inner(lambda prior: prior._computed_by(backend))

    def _computed_by(self, backend: str) -> "Prior":
        """Return this prior computed by a backend; only networks can be by another than torch."""
        if check_backend(backend) == "torch":
            return self
        raise SettingError(
            f"the backend {backend} computes the NAFUNet of a prior, and "
            f"{self.name} is a {type(self).__name__}: use the backend torch"
        )

    def with_embedding(self, embedding: Tensor) -> "Prior":
        """Return this prior with an embedding in the place of that of its prompt.

        Arguments:
            embedding: Of shape ``(1, tokens, D)``.
        """
        raise UnsuitedError(f"an embedding needs a prior of a text-to-image model, not {self.name}")

    def with_image(self, image: Tensor | None = None, hole: Tensor | None = None) -> "Prior":
        """Return this prior with its network shown an image, or all of it but a hole.

        A network with twice the channels edits the image: "InstructPix2Pix" (Brooks et al., 2023),
        https://arxiv.org/abs/2211.09800. Under guidance w, the image has a guidance of its own:
        x_0 = x_0() + 1.5 (x_0(image) - x_0()) + w (x_0(image, text) - x_0(image)).
        A network with the channels of a mask more fills the hole: "High-Resolution Image Synthesis
        with Latent Diffusion Models" (Rombach et al., 2022), https://arxiv.org/abs/2112.10752.

        Arguments:
            image: Of shape ``(1, 3, H, W)``, in [-1, 1]; None is a blank image, all of it a hole.
            hole: Of shape ``(1, 1, H, W)``, 1 in the pixels to hide; None hides all.

        Raises:
            UnsuitedError: If ``sees_image`` is False, or the network edits an image and there is
                none.
        """
        raise UnsuitedError(f"{self.name} does not take an image: its network has no input for one")

    def with_control(self, image: Tensor) -> "Prior":
        """Return this prior with its ControlNet following an image.

        "Adding Conditional Control to Text-to-Image Diffusion Models" (Zhang et al., 2023),
        https://arxiv.org/abs/2302.05543.

        Arguments:
            image: Edges, depths or what the ControlNet was trained on, of shape ``(1, 3, H, W)``
                in [-1, 1].

        Raises:
            UnsuitedError: If the prior has no ControlNet.
            ImageError: If the image has another size than the prior.
        """
        raise UnsuitedError("a control image needs a prior with a ControlNet (controlnet=...)")

    def _under(self, condition: Condition, name: str) -> "Prior":
        """Return this prior under a condition, or refuse by the name that the user knows."""
        if condition.texts:
            key, text = next(iter(condition.texts.items()))
            raise UnsuitedError(
                f"{key}={literal(text)} needs a prior of a text-to-image model, and {name} knows "
                "no text"
            )
        if condition.label is not None:
            raise UnsuitedError(
                f"label={condition.label} needs a class-conditional prior, and {name} has no "
                "classes"
            )
        raise UnsuitedError(
            f"guidance_scale={condition.guidance_scale} needs a prior with a prompt or a label, "
            f"and {name} has neither"
        )

    def _alone(self) -> "Prior":
        """Return this prior without its guidance."""
        return self

    def _away_from(self, free: "Prior") -> "Prior":
        """Return this prior with its guidance, if any, away from another prior."""
        return self

    def _show(self, **inputs: Tensor) -> "Prior":
        """Return this prior with more inputs of its network set, if it has any."""
        return self

    def _edit(self, z: Tensor) -> "Prior":
        """Return this prior with its network shown the latents of an image to edit."""
        return self

    def _keep_source(self, changed: "Prior") -> "Prior":
        """Return a changed prior with the source of this one."""
        if changed is self or self.source is None:
            return changed
        return changed._replace(source=self.source)

    def _replace(self, **changes: object) -> Self:
        """Return a copy with other attributes; networks and forward hooks are shared."""
        prior = copy.copy(self)
        for registry in ("_parameters", "_buffers", "_modules"):
            prior.__dict__[registry] = dict(self.__dict__[registry])
        for name, value in changes.items():
            setattr(prior, name, value)
        return prior


class Wrapper(Prior, ABC):
    """A prior around another; everything but the denoising is the inner one's.

    Arguments:
        inner: The prior inside.
    """

    def __init__(self, inner: Prior) -> None:
        super().__init__()
        self._adopt(inner)

    def _adopt(self, inner: Prior) -> None:
        """Take the attributes of the prior inside."""
        self.inner = inner
        self._describe_as(inner)

    @abstractmethod
    def with_inner(self, inner: Prior) -> Self:
        """Return the same wrapper around another prior."""

    def map_inner(self, change: Callable[[Prior], Prior]) -> Prior:
        inner = self.inner.map_inner(change)
        return self if inner is self.inner else self._keep_source(self.with_inner(inner))

    @property
    def like(self) -> Tensor:
        return self.inner.like

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def backend(self) -> str:
        return self.inner.backend

    @property
    def name(self) -> str:
        return self.inner.name if self.source is None else self.source.name

    @property
    def guidance_scale(self) -> float:
        return self.inner.guidance_scale

    @property
    def embedding(self) -> Tensor | None:
        return self.inner.embedding

    @property
    def innermost(self) -> Prior:
        return self.inner.innermost

    @property
    def first(self) -> Prior | None:
        return self.inner.first

    def shares(self) -> Prior:
        return self.with_inner(self.inner.shares())

    def encode(self, image: Tensor) -> Tensor:
        return self.inner.encode(image)

    def decode(self, state: Tensor) -> Tensor:
        return self.inner.decode(state)

    def for_shape(self, shape: Sequence[int]) -> Prior:
        return self.with_inner(self.inner.for_shape(shape))

    def with_time_shift(self, shape: Sequence[int]) -> Prior:
        inner = self.inner.with_time_shift(shape)
        return self if inner is self.inner else self.with_inner(inner)

    def for_text(self, text: str | None, negative: bool = False) -> Prior:
        return self.map_inner(lambda prior: prior.for_text(text, negative))

    def for_label(self, label: int | None) -> Prior:
        return self.map_inner(lambda prior: prior.for_label(label))

    def with_embedding(self, embedding: Tensor) -> Prior:
        return self.map_inner(lambda prior: prior.with_embedding(embedding))

    def with_image(self, image: Tensor | None = None, hole: Tensor | None = None) -> Prior:
        return self.with_inner(self.inner.with_image(image, hole))

    def with_control(self, image: Tensor) -> Prior:
        return self.with_inner(self.inner.with_control(image))


def flow_settings(settings: Mapping[str, Any]) -> FlowSettings:
    """Return the settings of a density; ``seed`` and ``ids`` are among those that are known.

    Raises:
        SettingError: If there is no such setting, or one cannot be used.
    """
    own = {k: v for k, v in settings.items() if k not in ("seed", "ids")}
    try:
        return FlowSettings(**own)
    except TypeError:
        known = "seed, ids, tolerance, probes and exact"
        raise SettingError(
            f"a density has the settings {known}, got {shown(', '.join(own))}"
        ) from None


def show_image(prior: Prior, image: Tensor | None = None, hole: Tensor | None = None) -> Prior:
    """Return a prior that is shown an image if its network takes one, and others as they are.

    Arguments:
        image, hole: As in ``Prior.with_image``.
    """
    return prior.with_image(image, hole) if prior.sees_image else prior


def denoise_vjp(prior: Prior, x_t: Tensor, t: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return E[x_0 | x_t] and the map v -> J^T v, where J is its Jacobian by x_t.

    This is the one place where gradients through a prior are computed.
    """
    with torch.enable_grad():
        leaf = x_t.detach().requires_grad_()
        x_0 = prior(leaf, t)

    def vjp(v: Tensor) -> Tensor:
        return torch.autograd.grad(x_0, leaf, v.to(x_0), retain_graph=True)[0].contiguous()

    return x_0.detach(), vjp
