"""Networks: any pretrained denoiser of images, with classes or without."""

import math
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..batching import row_by_row
from ..diffusions import BernoulliDiffusion, GaussianDiffusion
from ..errors import ImageError, PriorError, SettingError
from ..networks.backends import BACKENDS, OpenVINONetwork, check_backend, in_torch, on_openvino
from ..networks.dit import DiT
from ..networks.mlp import MLP
from ..networks.nafunet import NAFUNet, save_network
from ..networks.padding import pad_to_multiple
from ..networks.parameterizations import Karras, Parameterization
from ..schedules import EDM
from ..turns import aside
from ._conditions import ConditionalPrior
from .base import Prior

__all__ = ["NetworkPrior", "chains_at_once"]

TOGETHER = 1536**2  # pixels of the chains that are under way at once on a CPU


def chains_at_once(prior: Prior, size: Sequence[int] | None = None) -> int:
    """Return how many chains of a prior are under way at a time, each on a core of its own.

    Arguments:
        size: Size ``(H, W)`` of its images; by default that of the prior.
    """
    inner = prior.innermost
    half = prior.dtype in (torch.bfloat16, torch.float16)
    if not (half and isinstance(inner, NetworkPrior) and inner.takes_turns):
        return 1
    return max(1, min(torch.get_num_threads(), TOGETHER // math.prod(size or prior.shape[1:])))


class NetworkPrior(ConditionalPrior):
    """E[x_0 | x_t] of a network, by its parameterization.

    With x, time = parameterization.inputs(x_t, t), the mean is
    parameterization.denoised(x_t, t, network(x, time)). A prior of one channel encodes color images
    as the mean of their channels.

    Example::

        prior = NetworkPrior(network, Karras(sigma_data=0.5), (3, 64, 64))

    Arguments:
        network: A map from images ``(B, C, H, W)`` and times ``(B,)``, and from classes ``(B,)`` if
            it has any, to images: a tensor, or an object of diffusers with a ``sample``. Channels
            after the first C are learned variances, which ``shares`` reads.
        parameterization: What the network takes, and what its output means.
        shape: Shape of one image, ``(C, H, W)``; ``for_shape`` returns the prior of another size.
        classes: Number of classes of the network; 0 for none. ``for_label`` chooses one; until then
            a network that knows images of its classes alone does not answer.
        unconditional: Whether a network with classes also knows images of any class. Without a
            class it is called without one; see ``with_null_label``.
        multiple: The network takes images of any size whose sides are multiples of it; others are
            padded by reflection, and cropped again. None if it takes images of ``shape`` only.
        clip: Whether E[x_0 | x_t] is clipped to [-1, 1]. Clipping biases posteriors.
    """

    def __init__(
        self,
        network: nn.Module,
        parameterization: Parameterization,
        shape: Sequence[int] = (3, 256, 256),
        *,
        classes: int = 0,
        unconditional: bool = False,
        multiple: int | None = 1,
        clip: bool = False,
    ) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        self.parameterization = parameterization
        self.shape = tuple(shape)
        kind = BernoulliDiffusion if parameterization.binary else GaussianDiffusion
        self.diffusion = kind(parameterization.schedule)
        self.local = bool(getattr(network, "local", False))
        self.consistency = parameterization.consistency
        self.classes = classes
        self.unconditional = unconditional
        self.needs_label = bool(classes) and not unconditional
        self.null_label: int | None = None
        self.multiple = multiple
        self.clip = clip
        self.answers_shares = False
        self.objective: str | None = None
        self.few_steps: int | None = None
        self.folded_guidance: float | None = None
        if parameterization.consistency or parameterization.draws:
            self.label_guidance = 1.0  # a sample is not extrapolated as a mean is

    @classmethod
    def of(
        cls,
        network: Any,
        parameterization: Parameterization | None = None,
        objective: str | None = None,
    ) -> Self:
        """Return the prior of a network of this library, which knows its shape and classes.

        Arguments:
            network: A ``NAFUNet``, ``UNet``, ``DiT`` or ``MLP``.
            parameterization: What it takes and says; by default that of a ``NAFUNet``.
            objective: The text of what it was trained by, which ``save_pretrained`` keeps.
        """
        prior = cls(
            network,
            parameterization or Karras(network.sigma_min, network.sigma_max, network.sigma_data),
            network.shape,
            classes=network.classes,
            unconditional=True,
            multiple=network.stride,
        )
        prior.objective = objective
        return prior

    def distilled(self, steps: int | None, guidance_scale: float | None) -> Self:
        """Return this prior as one whose network was distilled, which it then says of itself.

        Arguments:
            steps: The steps of DDIM that it was distilled to; None if to no number of them.
            guidance_scale: The guidance of classes that its network has learned; None for none.
        """
        changes: dict[str, Any] = {"few_steps": steps, "folded_guidance": guidance_scale}
        if steps is not None:
            changes["usual_sampler"] = f"ddim(steps={steps})"
        if guidance_scale is not None:
            changes["label_guidance"] = 1.0
        return self._replace(**changes)

    @property
    def notes(self) -> dict[str, Any]:
        """Return what a config has to say of how the network was trained."""
        notes = {
            "_objective": self.objective,
            "_steps": self.few_steps,
            "_guidance_scale": self.folded_guidance,
        }
        return {name: value for name, value in notes.items() if value is not None}

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return row_by_row(lambda row: self._denoise(row, t), x_t)

    def _denoise(self, x_t: Tensor, t: Tensor, seen: Tensor | None = None) -> Tensor:
        """Return E[x_0 | x_t]; the network takes the channels of ``seen`` after those of x_t."""
        channels, *sides = x_t.shape[1:]
        x, time = self.parameterization.inputs(x_t, t)
        if seen is not None:
            x = torch.cat([x, seen.to(x)], 1)
        if sides:
            x = pad_to_multiple(x, self.multiple or 1)
        # the time is a number of the host: it goes along with the call, and is not copied first
        times = x_t.new_full((len(x_t),), float(time))
        inputs = (x, times, *self._labels(x_t))
        if self.takes_turns and torch.is_autocast_enabled("cpu"):
            with aside():
                out = self.network(*inputs)
        else:
            out = self.network(*inputs)
        out = out if isinstance(out, Tensor) else out.sample
        if sides:
            out = out[..., : sides[0], : sides[1]]
        if self.answers_shares:
            return self._shares_of(out, channels).to(x_t.dtype)
        out = out[:, :channels]
        x_0 = self.parameterization.denoised(x_t, t, out.to(x_t.dtype))
        return x_0.clamp(-1, 1) if self.clip else x_0

    @property
    def takes_turns(self) -> bool:
        """Whether calls can be under way at once, each on one core of a CPU.

        In half precision such a call has the same bits on any number of threads. In float32 the
        products of matrices round by that number, and a call keeps all threads to itself.
        """
        return isinstance(self.network, NAFUNet) and self.like.device.type == "cpu"

    @property
    def backend(self) -> str:
        return BACKENDS[isinstance(self.network, OpenVINONetwork)]

    def _computed_by(self, backend: str) -> Prior:
        if check_backend(backend) == "torch":
            return self._replace(network=in_torch(self.network))
        if type(self) is not NetworkPrior:
            return super()._computed_by(backend)
        return self._replace(network=on_openvino(self.network))

    def shares(self) -> Self:
        return self._replace(answers_shares=True)

    def _shares_of(self, out: Tensor, channels: int) -> Tensor:
        """Return v of improved diffusion, (out + 1) / 2, from the channels after those of x_0."""
        if out.shape[1] < 2 * channels:
            super().shares()  # which says that there is none
        return (out[:, channels : 2 * channels] + 1) / 2

    def _labels(self, x_t: Tensor) -> tuple[Tensor, ...]:
        """Return the class of each row of a batch, if the prior has one."""
        label = self.null_label if self.label is None else self.label
        if label is None:
            self._check(None)
            return ()
        return (torch.full((len(x_t),), label, device=x_t.device),)

    def _check(self, label: int | None) -> None:
        """Refuse a class that the network does not have."""
        if label is None and (self.unconditional or not self.classes):
            return
        if not self.classes:
            raise SettingError(f"this network has no classes, so there is no label={label!r}")
        whole = isinstance(label, Integral) and not isinstance(label, bool)
        if not whole or not 0 <= int(label) < self.classes:  # type: ignore[arg-type]
            raise SettingError(
                f"this network has {self.classes} classes: label is one of 0 ... "
                f"{self.classes - 1}, got {label!r}"
            )

    def for_label(self, label: int | None) -> Self:
        self._check(label)
        return self._replace(label=None if label is None else int(label))

    def with_null_label(self, label: int) -> Self:
        """Return this prior with a class that stands for no class, as it was trained with one.

        It then knows images of any class, too, and a label can be guided. Where it is the last of
        the classes, it does not count as one. "Classifier-Free Diffusion Guidance" (Ho and
        Salimans, 2021), https://arxiv.org/abs/2207.12598.
        """
        self._check(label)
        classes = self.classes - 1 if label == self.classes - 1 else self.classes
        return self._replace(
            null_label=int(label), classes=classes, unconditional=True, needs_label=False
        )

    def encode(self, image: Tensor) -> Tensor:
        return image.mean(1, keepdim=True) if self.shape[0] == 1 else image

    def for_shape(self, shape: Sequence[int]) -> Prior:
        if self.multiple is None:
            return super().for_shape(shape)
        if shape[0] != self.shape[0]:
            raise ImageError(f"this prior is one of {self.shape[0]} channels, not {shape[0]}")
        return self._replace(shape=tuple(shape))

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the network to a folder that ``from_pretrained`` reads.

        Diffusers reads that of a ``NAFUNet``, too.

        The weights keep their dtype. A label and ``clip`` are not saved.

        Raises:
            PriorError: If the network is none of this library: others stay in their own formats.
                Or if the folder could not say how it was trained.
        """
        network = in_torch(self.network)
        if not isinstance(network, NAFUNet | DiT | MLP):
            raise PriorError(
                "save_pretrained writes a NAFUNet, a DiT or an MLP, and this network is a "
                f"{type(network).__name__}; keep it in the format that it was opened from"
            )
        if self.objective is None and not _is_plain(network, self.parameterization):
            raise PriorError(
                "a folder says by an objective how its network was trained, and this prior has "
                "none: NetworkPrior.of(network, parameterization, objective='v')"
            )
        save_network(network, Path(folder), dtype=None, notes=self.notes)


def _is_plain(network: Any, own: Parameterization) -> bool:
    """Return whether a network is used as a folder without an objective says."""
    if not isinstance(network, NAFUNet) or not isinstance(own, Karras):
        return False
    schedule = own.schedule
    return isinstance(schedule, EDM) and (
        (schedule.sigma_min, schedule.sigma_max, own.sigma_data, own.sign)
        == (network.sigma_min, network.sigma_max, network.sigma_data, 1)
    )
