"""Results: what a task gives back, and the report of how it was made."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..bands import bands, is_large
from ..io.arrays import Images
from ..io.previews import as_uri, heat_map, preview
from ..phases import phase
from .report import Report, as_json

__all__ = ["Result", "join_samples", "make_result"]

T = TypeVar("T")  # the kind of the image: PIL image, numpy array or tensor
PREVIEW = 512  # pixels; the longest side of one image in a notebook,
SMALL = 320  # pixels; and that of each where there are more than two
SHOWN = 4  # samples in a notebook
BAND = 2**20  # pixels of which the deviation is computed at a time
PAGE = (  # of a result in a notebook; styles stand on each element, as some notebooks drop sheets
    '<div style="display:flex;flex-wrap:{wrap};gap:12px">{panels}</div>'
    '<details style="margin:8px 0"><summary style="font-size:90%">{line}</summary>'
    '<pre style="white-space:pre-wrap;font-size:85%">{report}</pre></details>'
)
PANEL = (
    '<figure style="margin:0;min-width:0"><img src="{uri}" alt="{name}" width="{width}" '
    'style="display:block;max-width:100%;height:auto;image-rendering:{drawn}">'
    '<figcaption style="font-size:90%">{name}</figcaption></figure>'
)


@dataclass(frozen=True, kw_only=True, repr=False)
class Result(Generic[T]):
    """What a task gives back; images are of the kind of the one that it was called with.

    Attributes:
        image: The result; of several samples the first.
        samples: All samples, each like ``image``.
        mean: Mean of the samples.
        std: Standard deviation of the samples in [0, 1] units, a float array or tensor with the
            axes of ``image``; None for a single sample.
        report: How it was made: version, prior, method, seed, seconds and more; see ``Report``.
        cover: Weight of the result over the image, ``(B, 1, H, W)`` in [0, 1]; 0 where a pixel is
            that of the image.
        before: A small copy of the image before, of the first one in a batch: RGB, at most 512
            pixels a side, so less than 0.8 MB. None for a task that was given no image.
    """

    image: T
    samples: list[T]
    mean: T
    std: Any
    report: Report
    cover: Tensor
    before: Image.Image | None = field(default=None, compare=False)

    @property
    def line(self) -> str:
        """The report in one line: what was done, with what, and how long it took."""
        report = self.report
        way = report.get("method") or report.get("sampler") or report.get("inversion")
        count = len(self.cover)
        parts = [
            str(report.get("task", "result")),
            "" if count == 1 else f"the first of {count} images",
            str(way or "no method"),
            f"prior {report['prior']}" if "prior" in report else "",
            f"seed {report['seed']}" if "seed" in report else "",
            f"{report['seconds']:g} s" if "seconds" in report else "",
            str(report.get("note", "")),
        ]
        return " · ".join(part for part in parts if part)

    def __repr__(self) -> str:
        height, width = self.cover.shape[-2:]
        count = len(self.samples)
        parts = [
            self.report.get("task", "result"),
            f"{width}x{height}",
            f"{count} sample{'' if count == 1 else 's'}",
            str(self.report.get("method") or self.report.get("sampler") or "no method"),
        ]
        if "seconds" in self.report:
            parts.append(f"{self.report['seconds']:g} s")
        return f"<{type(self).__name__}: {', '.join(parts)}>"

    def _repr_png_(self) -> bytes:
        """Return a small picture for notebooks: the image, or some samples side by side."""
        panels = [np.asarray(preview(sample, PREVIEW)) for sample in self.samples[:SHOWN]]
        data = io.BytesIO()
        Image.fromarray(np.concatenate(panels, 1)).save(data, "PNG")
        return data.getvalue()

    def _repr_html_(self) -> str:
        """Return a page for notebooks: before and after, samples, deviation, and the report.

        It holds its images itself, and neither a script nor a style sheet.
        """
        panels = list(self._panels())
        width = max(panel.image.width for panel in panels if panel.is_result)
        return PAGE.format(
            wrap="nowrap" if len(panels) <= 2 else "wrap",
            panels="".join(panel.html(width) for panel in panels),
            line=escape(self.line),
            report=escape(as_json(dict(self.report), indent=1)),
        )

    def _panels(self) -> "Iterator[_Panel]":
        """Yield the images of the page."""
        several = len(self.samples) > 1
        side = SMALL if several else PREVIEW
        if self.before is not None:
            yield _Panel("before", preview(self.before, side), False)
        for k, sample in enumerate(self.samples[:SHOWN], 1):
            name = f"sample {k} of {len(self.samples)}" if several else "after"
            yield _Panel(name, preview(sample, side), True)
        if several:
            std = _plane(self.std)
            name = f"standard deviation, up to {float(std.max()):.2g}"
            yield _Panel(name, preview(heat_map(std), side), False)


class _Panel(NamedTuple):
    """An image of the page of a result, with its name."""

    name: str
    image: Image.Image
    is_result: bool

    def html(self, width: int) -> str:
        """Return the panel, as wide as a result: that may be larger than what it is made from."""
        drawn = "pixelated" if self.image.width < width else "auto"
        return PANEL.format(
            name=escape(self.name), uri=as_uri(self.image), width=width, drawn=drawn
        )


def make_result(
    images: Images,
    x: Tensor,
    cover: Tensor | None,
    samples: int,
    report: dict[str, Any],
    opaque: bool = False,
    before: Images | None = None,
) -> Result[Any]:
    """Return samples ``(B * n, C, H, W)``, clipped and laid over images, in the kind of those.

    Arguments:
        cover: Weight of x, ``(B, 1, H, W)`` in [0, 1]; None is 1, and then x may be of another
            size than the images.
        samples: Number of samples of the result; a method that gives one has it repeated.
        opaque: Whether transparency was what was filled, and is gone.
        before: The images that the task was given; None where it was given none.
    """
    phase("finishing")
    x = x.expand(-1, 3, -1, -1)
    count = len(x) // len(images)
    alpha = None if opaque else images.opacity(x.shape[-2:])
    weight = cover if opaque else _seen(images, x, cover)
    values = images.blend(x, weight, clip=True)
    values = values.reshape(len(images), count, *values.shape[1:])
    shown = [images.restore_kind(values[:, j % count], alpha) for j in range(samples)]
    own = torch.ones(len(images), 1, *x.shape[-2:]) if cover is None else cover
    if samples == 1:
        return _finished(before, shown, own, report)
    states = x.reshape(len(images), count, *x.shape[1:])
    middle, spread = _mean_and_deviation(states)
    mean = images.restore_kind(images.blend(middle, weight), alpha)
    spread = spread if cover is None else spread * cover.to(x)
    return _finished(before, shown, own, report, mean, spread)


def join_samples(
    images: Images,
    values: np.ndarray[Any, Any],
    cover: Tensor,
    report: dict[str, Any],
    opaque: bool,
) -> Result[Any]:
    """Return finished samples of images, in the kind of those.

    Arguments:
        values: The samples ``(B * n, H, W, C)`` in the dtype of the images, those of the first
            image first.
        cover: Weight of what was filled, ``(B, 1, H, W)`` in [0, 1].
        opaque: As of `make_result`.
    """
    alpha = None if opaque else images.alpha
    each = values.reshape(len(images), -1, *values.shape[1:])
    shown = [images.restore_kind(each[:, j], alpha) for j in range(each.shape[1])]
    if len(shown) == 1:
        return _finished(images, shown, cover, report)
    middle, spread = _moments(each)
    mean = images.restore_kind(middle, alpha)
    spread /= 255 * images.level  # in place, as large images fill the memory
    std = torch.from_numpy(spread).movedim(-1, 1).expand(-1, 3, -1, -1)
    return _finished(images, shown, cover, report, mean, std)


def _finished(
    before: Images | None,
    shown: list[Any],
    cover: Tensor,
    report: dict[str, Any],
    mean: Any = None,
    std: Tensor | None = None,
) -> Result[Any]:
    """Return the result of samples, which are in the kind of the images.

    Arguments:
        before: The images that the task was given; None where it was given none.
        mean: Their mean, in this kind; by default the only sample.
        std: Their deviation, ``(B, 3, H, W)``; None for a single sample.
    """
    return Result(
        image=shown[0],
        samples=shown,
        mean=shown[0] if mean is None else mean,
        std=None if std is None else _like_image(std, shown[0]),
        report=cast(Report, report),
        cover=cover,
        before=None if before is None else preview(before, PREVIEW),
    )


def _moments(samples: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return mean and deviation of samples ``(B, n, H, W, C)``: the mean in their dtype."""
    whole = samples.dtype.kind != "f"
    work = np.result_type(samples, np.float32)
    mean = np.empty_like(samples[:, 0])
    std = np.empty(mean.shape, work)
    step = max(1, BAND // samples.shape[3])
    for top in range(0, samples.shape[2], step):  # all at once would take several times the image
        rows = slice(top, top + step)
        band = samples[:, :, rows].astype(work)
        middle = band.mean(1)
        mean[:, rows] = np.rint(middle) if whole else middle
        std[:, rows] = band.std(1, ddof=1)
    return mean, std


def _mean_and_deviation(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation, in [0, 1] units, of clipped samples ``(B, n, C, H, W)``."""
    first = states[:, 0]
    mean, std = torch.empty_like(first), torch.empty_like(first)
    for rows in bands(first) if is_large(first) else [slice(None)]:
        band = states[..., rows, :].clamp(-1, 1)
        mean[..., rows, :] = band.mean(1)
        std[..., rows, :] = band.std(1, correction=1 if states.shape[1] > 1 else 0) / 2
    return mean, std


def _seen(images: Images, x: Tensor, cover: Tensor | None) -> Tensor | None:
    """Return the weight of x, which is 0 where nothing is seen: such pixels stay as they are."""
    lost = images.invisible()
    if x.shape[-2:] != lost.shape[-2:] or not lost.any():
        return cover
    return (~lost).float() if cover is None else cover * ~lost


def _like_image(std: Tensor, like: Any) -> Any:
    """Return deviations ``(B, 3, H, W)`` as a float array or tensor with the axes of an image.

    The deviation of alpha, which is no result, is 0.
    """
    if isinstance(like, Tensor):
        std = _channels(std, like.shape[-3])
        return (std if like.ndim == 4 else std[0]).to(like.device)
    if isinstance(like, np.ndarray) and like.ndim == 3:
        return _channels(std, like.shape[2])[0].movedim(0, -1).cpu().numpy()
    return std[0].mean(0).cpu().numpy()


def _channels(std: Tensor, count: int) -> Tensor:
    """Return deviations of colors ``(B, 3, H, W)`` with as many channels as an image."""
    values = std if count > 2 else std.mean(1, keepdim=True)
    return values if count % 2 else torch.cat([values, torch.zeros_like(values[:, :1])], 1)


def _plane(std: Any) -> Tensor:
    """Return the deviations of the first image, mean over its channels, ``(H, W)``."""
    if isinstance(std, Tensor):
        return (std if std.ndim == 3 else std[0]).mean(0).cpu()
    plane = torch.from_numpy(np.asarray(std))
    return plane if plane.ndim == 2 else plane.mean(-1)
