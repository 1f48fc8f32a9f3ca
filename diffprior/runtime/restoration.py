"""The decorator of restoring tasks: a page that states a problem becomes a public function."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..io.arrays import Images, as_images
from .boxes import InBoxes
from .parameters import RESTORATION
from .problem import Stated
from .results import Result
from .settings import Settings
from .signature import TaskFunction, keywords, public_function
from .solve import solve
from .task import Task

__all__ = ["restoration"]

Page = Callable[..., Stated | InBoxes]


def restoration(
    *,
    past: str,
    command: str | None = None,
    input: Literal["image", "numbers"] = "image",
    jpeg_coding: bool = False,
) -> Callable[[Page], TaskFunction]:
    """Make a public function of one that states a problem.

    The public function has the parameters of the page, and those that all restoring tasks share:
    see ``runtime.parameters``. It opens the prior, solves the problem, and gives back a ``Result``
    with images of the kind that came in. Its record is ``function.task``.

    A page gets its image as ``Images``. With ``jpeg_coding``, or with numbers for input, it gets
    its first argument as the caller gave it.

    Arguments:
        past: Word in the names of result files, as in ``photo.denoised.png``.
        command: Name of the command; by default that of the function.
        input: Kind of the first argument.
        jpeg_coding: Whether the page takes the JPEG coding of a file, as ``coding``.

    Example::

        @restoration(past="denoised")
        def denoise(image: Images, *, sigma: float | str = "auto") -> Problem:
            return Problem(operator=Identity(), sigma=sigma, one="dpir", several="mmps")
    """

    def decorate(page: Page) -> TaskFunction:
        task = Task(
            name=page.__name__,
            command=command or page.__name__,
            past=past,
            group="restore",
            input=input,
            keywords=keywords(page),
            jpeg_coding=jpeg_coding,
        )

        def run(values: Mapping[str, Any], settings: Settings) -> Result[Any]:
            (name, first), *rest = values.items()
            images = as_images(first) if input == "image" else None
            argument: Images | Any = first if jpeg_coding or images is None else images
            return solve(task.name, images, page(**{name: argument}, **dict(rest)), settings)

        return public_function(page, task, RESTORATION, run)

    return decorate
