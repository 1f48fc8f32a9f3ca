"""A canvas in a notebook, to paint a mask on an image: ``diffprior.widget``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExtraError

if TYPE_CHECKING:
    from .canvas import MaskCanvas

__all__ = ["widget"]


def widget(image: Any, mask: Any = None) -> "MaskCanvas":
    """Return a canvas for a notebook, to paint a mask on an image with the mouse or a pen.

    It needs ``pip install 'diffprior[notebook]'``.

    Arguments:
        image: The path of an image file; or a PIL image, a numpy array or a tensor, as a task takes
            it. A large one is shown reduced; the mask has its own size.
        mask: What is painted from the start, of the size of the image: a path or a mask as a task
            takes it, such as that of ``diffprior.masks.scratches``. What is gray in it is painted
            from one half on.

    Returns:
        The canvas; its ``mask`` is True where it is painted, a bool array ``(H, W)``.

    Raises:
        ExtraError: If anywidget is not installed.
        ImageError: If the image or the mask cannot be used.

    Example::

        canvas = diffprior.widget("photo.jpg")
        canvas  # the last line of a cell shows it
        diffprior.inpaint(Image.open("photo.jpg"), canvas.mask)
    """
    try:
        import anywidget  # noqa: F401 (only whether it is there)
    except ImportError as error:
        raise ExtraError("widget needs anywidget: pip install 'diffprior[notebook]'") from error
    from .canvas import MaskCanvas

    return MaskCanvas(_opened(image), None if mask is None else _opened(mask))


def _opened(image: Any) -> Any:
    """Return what is at a path, anything else as it is."""
    if not isinstance(image, str | os.PathLike):
        return image
    from ..io import files

    return files.read(Path(image)).images
