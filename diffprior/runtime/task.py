"""What a task is to those who list it or run it over files: its command, its inputs, its outputs.

This module imports nothing heavy, so that a help text needs no torch.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Task"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """The record of a task; the function of a task carries it as ``function.task``.

    Attributes:
        name: Name of the function, as in ``diffprior.inpaint``.
        command: Name of the command, as in ``diffprior inpaint``.
        past: Word in the names of result files, as in ``photo.inpainted.png``.
        group: "restore" for tasks that undo a degradation, "edit" for those that change an image.
        input: Kind of the first argument: "image"; "numbers" for a file of measurements; None for
            a task that reads nothing.
        suffix: Suffix of result files that are no images, with its dot; None for images.
        animated: Whether several samples may be the frames of one animation.
        keywords: Words that may stand in the place of an image, such as "auto".
        samples: Whether the task draws several samples of a result.
        ids: Whether each input has a noise stream of its own, named by the ``ids`` argument.
        jpeg_coding: Whether the task takes the JPEG coding of its input file, as ``coding``.
    """

    name: str
    command: str
    past: str
    group: Literal["restore", "edit"]
    input: Literal["image", "numbers"] | None = "image"
    suffix: str | None = None
    animated: bool = False
    keywords: tuple[str, ...] = ()
    samples: bool = True
    ids: bool = True
    jpeg_coding: bool = False
