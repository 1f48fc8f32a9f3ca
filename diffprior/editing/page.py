"""The decorator of editing tasks: a page that states an edit becomes a public function."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from ..io.arrays import Images, as_images
from ..priors.base import Prior
from ..random import Noise, stream_ids
from ..runtime.limits import check_result
from ..runtime.parameters import EDITING, FULL_PRECISION, SOURCE, Parameter
from ..runtime.placement import fit_prior, place_prior
from ..runtime.report import report_header
from ..runtime.results import Result, make_result
from ..runtime.settings import Settings
from ..runtime.signature import TaskFunction, keywords, public_function
from ..runtime.task import Task
from .chains import Chain, Rows, run_chain
from .trajectory import InversionResult, Trajectory

__all__ = ["Edit", "Edited", "Session", "editing"]


@dataclass(frozen=True, kw_only=True)
class Edited:
    """The images that an edit drew.

    Attributes:
        x: Samples ``(B * n, C, H, W)`` in [-1, 1], those of the first image first.
        report: Keys of the report that the drawing adds.
        cover: Weight of x, where only the drawing knows it; None is that of the edit.
        trajectory: What an inversion keeps.
    """

    x: Tensor
    report: Mapping[str, Any]
    cover: Tensor | None = None
    trajectory: Trajectory | None = None


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open prior, the images, and the settings of the call.

    Attributes:
        prior: The prior, on its device, for images of this size.
        images: The images; None where the task reads none.
        settings: The shared settings of the call.
        report: The first keys of the report, which name the prior.
    """

    prior: Prior
    images: Images | None
    settings: Settings
    report: Mapping[str, Any]

    def pixels(self, index: Tensor) -> Tensor:
        """Return the images of the samples of these numbers, ``(b, 3, H, W)``."""
        assert self.images is not None
        rows = (index // self.settings.samples).tolist()
        return self.images.select(rows).tensor().to(self.prior.like)

    @property
    def ids(self) -> Sequence[int | str]:
        """The name of the noise stream of each image."""
        assert self.images is not None
        return stream_ids(self.settings.ids, len(self.images))

    @property
    def noise(self) -> Noise:
        """New streams of noise, one for each sample."""
        return Noise(self.settings.seed, self.ids, self.settings.samples)

    def run(self, chain: Chain, x: Rows, method: object, noise: Noise | None = None) -> Edited:
        """Return what a chain makes of images or states, as many at a time as memory holds.

        Arguments:
            chain: As of ``run_chain``.
            x: Makes its images of the numbers of samples.
            method: What the report names as the method.
            noise: The streams of the rows; by default those of the samples.
        """
        streams = self.noise if noise is None else noise
        done, counts = run_chain(self.prior, x, chain, streams, self.settings.callback)
        return Edited(x=done, report={"method": repr(method), **counts})


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """An edit of images, as a page states it.

    Attributes:
        draw: Draws the images, once the prior is open.
        images: Images that the result takes its kind from, where they are not those of the call.
        size: Size ``(H, W)`` of the result in pixels, where the task reads no image; a None in it
            is that of the prior's own images.
        cover: Weight of the result over the image, ``(B, 1, H, W)`` in [0, 1]; None is 1.
        prior: Name of the prior, where the call names none.
        report: Further keys of the report.
        conditioned: Whether the prior is opened under the condition of the call.
    """

    draw: Callable[[Session], Edited]
    images: Images | None = None
    size: tuple[int | None, int | None] | None = None
    cover: Tensor | None = None
    prior: str | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    conditioned: bool = True


Page = Callable[..., Edit | Callable[[Settings], Edit]]


def editing(
    *,
    past: str,
    input: Literal["image"] | None = "image",
    suffix: str | None = None,
    animated: bool = False,
    without: tuple[str, ...] = (),
    source: bool = False,
    full_precision: bool = False,
) -> Callable[[Page], TaskFunction]:
    """Make a public function of one that states an edit.

    The public function has the parameters of the page, and those that all editing tasks share: see
    ``runtime.parameters``. It opens the prior, has the edit drawn, and gives back a ``Result`` with
    images of the kind that came in. Its record is ``function.task``. A page gets its image as
    ``Images``, or None where its default is None and none came in. One that needs the shared
    settings before the prior is open returns a function of them that states the edit.

    Arguments:
        past: Word in the names of result files, as in ``photo.blended.png``.
        input: Kind of the first argument; None for a task that reads no image.
        suffix: Suffix of result files that are no images.
        animated: Whether the samples may be the frames of an animation.
        without: Shared parameters that the task does not have.
        source: Whether the task has the parameters of the condition before the edit.
        full_precision: Whether the network computes in float32 by default.
    """

    def decorate(page: Page) -> TaskFunction:
        task = Task(
            name=page.__name__,
            command=page.__name__,
            past=past,
            group="edit",
            input=input,
            suffix=suffix,
            animated=animated,
            keywords=keywords(page),
            samples="samples" not in without,
            ids="ids" not in without,
        )
        optional = next(iter(signature(page).parameters.values())).default is None

        def run(values: Mapping[str, Any], settings: Settings) -> Result[Any]:
            if input is None:
                return _result(task, None, page(**values), settings)
            (name, image), *rest = values.items()
            images = None if image is None and optional else as_images(image)
            return _result(task, images, page(**{name: images}, **dict(rest)), settings)

        return public_function(page, task, _shared(without, source, full_precision), run)

    return decorate


def _shared(without: Sequence[str], source: bool, full_precision: bool) -> list[Parameter]:
    """Return the shared parameters of a task."""
    shared = [p for p in (*EDITING, *(SOURCE if source else ())) if p.name not in without]
    return [FULL_PRECISION if full_precision and p.name == "dtype" else p for p in shared]


def _result(
    task: Task,
    images: Images | None,
    stated: Edit | Callable[[Settings], Edit],
    settings: Settings,
) -> Result[Any]:
    """Return the result of an edit: its prior is opened, its images are drawn."""
    edit = stated if isinstance(stated, Edit) else stated(settings)
    like = images if edit.images is None else edit.images
    size = edit.size
    if size is None:
        assert like is not None, "an edit without images says its size"
        size = like.size
    check_result(size, like, settings.samples)
    name = edit.prior if settings.prior is None else settings.prior
    prior = place_prior(name, settings.device, settings.dtype, settings.loading, settings.backend)
    prior = fit_prior(prior, (3, *size), settings, condition=edit.conditioned)
    header = report_header(task.name, prior, settings, condition=edit.conditioned)
    session = Session(prior=prior, images=like, settings=settings, report=header)
    edited = edit.draw(session)
    counts = {"samples": settings.samples} if task.samples else {}
    report = {**header, "seed": settings.seed, **edit.report, **counts, **edited.report}
    x = edited.x
    if like is None:
        like = as_images(Image.new("RGB", (x.shape[-1], x.shape[-2])))
    cover = edit.cover if edited.cover is None else edited.cover
    result = make_result(like, x, cover, settings.samples, report, before=images)
    if edited.trajectory is None:
        return result
    values = {f.name: getattr(result, f.name) for f in fields(result)}
    return InversionResult(**values, trajectory=edited.trajectory)
