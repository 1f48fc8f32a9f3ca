"""Reports of how an image was made: their keys, the counts of network calls, the JSON."""

import json
import math
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

from torch.utils.hooks import RemovableHandle

from .. import __version__
from ..io.arrays import as_images, digest
from ..priors.base import Prior, Wrapper
from ..priors.tiled import TiledPrior
from ..validation import shown
from .settings import Settings

__all__ = ["Meter", "Report", "as_json", "guidance_entry", "join_reports", "report_header"]


class Report(TypedDict, total=False):
    """How a result was made; a plain dict, in which a task leaves out the keys it has no use for.

    Attributes:
        task: Name of the task.
        diffprior: Version of the library.
        prior: Name of the prior, or of its class.
        prior_sha256: SHA-256 of the prior's weights; None where it has none.
        device: Device that the network ran on.
        precision: Number format of the network, such as "bfloat16".
        backend: What computed the network: "torch" or "openvino".
        method: Method with its settings; several, by "; ", where images had different ones; None
            where there was nothing to do.
        sampler: Sampler with its settings, of ``generate``.
        inversion: Inversion with its settings, of ``invert`` and ``edit``.
        attention: Attention edit with its settings, of ``edit``.
        samples: Number of different results that the method gave for each image.
        seed: Seed of the random numbers.
        sigma: Noise level of each image, in the unit that ``sigma_unit`` says.
        sigma_unit: Unit of ``sigma``: the range [0, 1] of an image, or that of y.
        chi2: ||y - A x||^2 / (m sigma^2) of each noisy image, mean over its samples; about 1 where
            the result explains the measurement.
        network_calls: Number of calls of the network.
        network_seconds: Seconds that these took.
        seconds: Seconds that the method took.
        prompt, negative, label, guidance: The condition, and the guidance scale in use.
        source, target: The conditions of an edit, before and after.
        lora, lora_scale, controlnet: Weights that were added to the prior, and their strength.
        control: SHA-256 of the control image.
        round_trip_psnr: PSNR of each image after inversion and back, in dB.
        strength: Share of the noise that an edit began with, in (0, 1].
        repeats: Rounds of an edit.
        factor: Size of the details that ``style`` leaves free, in pixels.
        scale: Factor by which an image was enlarged.
        kernel: Kernel of a blur or of an enlargement, as text; the shape of a tensor.
        blind: Whether the kernel of the blur was estimated.
        boundary: How a blurred image goes on beyond its border.
        blur: Blur that ``restore`` undid; None for none.
        grey: Whether ``restore`` gave back colors.
        hint: Noise of the strokes of ``colorize``, in [0, 1].
        quality: JPEG quality, if one was given.
        luma_step: First quantization step of luma.
        subsampling: Chroma subsampling, such as "4:2:0".
        operator: Operator of ``reconstruct``, as text.
        fill: How holes were filled: "reference", "smooth", "texture" or "structure", or several.
        reference: What became of the further images of the scene.
        mask: How the mask was read, where it is not just black and white.
        tile: Side of the windows that the image was worked on in, in pixels, where it was cut.
        boxes: Number of boxes that were filled one after the other, where there was more than one.
        note: A remark, such as that there was nothing to do.
    """

    task: str
    diffprior: str
    prior: str
    prior_sha256: str | None
    device: str
    precision: str
    backend: str
    method: str | None
    sampler: str
    inversion: str
    attention: str
    samples: int
    seed: int
    sigma: Any
    sigma_unit: str
    chi2: list[float]
    network_calls: int
    network_seconds: float
    seconds: float
    prompt: str
    negative: str
    label: int
    guidance: float
    source: dict[str, Any]
    target: dict[str, Any]
    lora: str
    lora_scale: float
    controlnet: str
    control: str
    round_trip_psnr: list[float]
    strength: float
    repeats: int
    factor: int
    scale: int
    kernel: str | None
    blind: bool
    boundary: str
    blur: str | None
    grey: bool
    hint: float
    quality: int | None
    luma_step: float
    subsampling: str
    operator: str
    fill: str | None
    reference: str
    mask: str
    tile: int
    boxes: int
    note: str


@dataclass
class _Watch:
    """The hooks on a prior, and how many chains want them."""

    hooks: tuple[RemovableHandle, RemovableHandle]
    count: int = 0


@dataclass
class Meter:
    """Counts the calls of a prior and their seconds, and the seconds since it was built.

    Calls that are under way at once, in several threads, count their seconds once.
    """

    calls: int = 0
    seconds: float = 0.0
    _open: set[int] = field(default_factory=set, repr=False)  # threads that are in a call
    _start: float = field(default=0.0, repr=False)
    _watched: dict[int, "_Watch"] = field(default_factory=dict, repr=False)
    _built: float = field(default_factory=time.perf_counter, repr=False)

    @contextmanager
    def on(self, prior: Prior) -> Iterator[None]:
        """Watch a prior for a while; one that is watched already is counted once."""
        if id(prior) not in self._watched:
            before = prior.register_forward_pre_hook(self._before)
            after = prior.register_forward_hook(self._after)
            self._watched[id(prior)] = _Watch((before, after))
        watch = self._watched[id(prior)]
        watch.count += 1
        try:
            yield
        finally:
            watch.count -= 1
            if not watch.count:
                del self._watched[id(prior)]
                for hook in watch.hooks:
                    hook.remove()

    def report(self) -> dict[str, Any]:
        """Return what was counted, for a result's report."""
        return {
            "network_calls": self.calls,
            "network_seconds": round(self.seconds, 2),
            "seconds": round(time.perf_counter() - self._built, 2),
        }

    def _before(self, *_: Any) -> None:
        if not self._open:
            self._start = time.perf_counter()
        self._open.add(threading.get_ident())

    def _after(self, *_: Any) -> None:
        self.calls += 1
        self._open.discard(threading.get_ident())
        if not self._open:
            self.seconds += time.perf_counter() - self._start


def report_header(
    task: str, prior: Prior, settings: Settings, *, condition: bool = True
) -> dict[str, Any]:
    """Return the first keys of a report: the task, the prior and what was added to it.

    Arguments:
        condition: Whether the prior is under the condition of the call.
    """
    added = settings.loading | (settings.condition if condition else {})
    added.pop("offload", None)
    texts = {k: str(v) if isinstance(v, Path) else v for k, v in added.items()}
    if settings.control_image is not None:
        texts["control"] = digest(as_images(settings.control_image))
    return {
        "diffprior": __version__,
        "prior": prior.name,
        "prior_sha256": prior.sha256,
        "sigma_unit": "the range [0, 1]; in [-1, 1] it is twice as much",
        "device": str(prior.like.device),
        "precision": str(prior.dtype).removeprefix("torch."),
        "backend": prior.backend,
        "task": task,
        **texts,
        **(guidance_entry(prior, settings.condition) if condition else {}),
        **_windows(prior),
    }


def _windows(prior: Prior) -> dict[str, int]:
    """Return the side of the windows of a prior, where it has more than one."""
    at: Any = prior
    while isinstance(at, Wrapper) and not isinstance(at, TiledPrior):
        at = at.inner
    if not isinstance(at, TiledPrior):
        return {}
    windows = list(islice(at.windows(*at.shape[-2:]), 2))
    return {"tile": at.tile * prior.stride} if len(windows) > 1 else {}


def join_reports(reports: Sequence[Mapping[str, Any]], order: Sequence[int]) -> dict[str, Any]:
    """Return the report of a batch whose parts have reports of their own.

    Arguments:
        order: The place of each image of the batch among the images of the parts, one after the
            other.
    """
    joined: dict[str, Any] = {}
    for report in reports:
        joined |= report
    for key in ("network_calls", "network_seconds", "seconds"):
        joined[key] = round(sum(report.get(key, 0) for report in reports), 2)
    for key in ("sigma", "chi2"):
        if key in joined:
            values = [value for report in reports for value in report[key]]
            joined[key] = [values[i] for i in order]
    for key in ("method", "fill", "reference"):
        texts = [t for report in reports for t in (report.get(key) or "").split("; ") if t]
        if key in joined:
            joined[key] = "; ".join(dict.fromkeys(texts)) or None
    if not all("note" in report for report in reports):
        joined.pop("note", None)
    return joined


def guidance_entry(prior: Prior, condition: Mapping[str, Any]) -> dict[str, float]:
    """Return the guidance scale of a prior for a report, if there is a condition."""
    return {"guidance": prior.guidance_scale} if condition else {}


def as_json(report: dict[str, Any], indent: int | None = None) -> str:
    """Return a report as JSON: null for what is not finite, escapes for bytes that are no text."""
    return json.dumps(_plain(report), allow_nan=False, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", lambda byte: shown(byte[0]), value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
