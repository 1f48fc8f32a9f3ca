"""Image files and arrays, read and written without loss."""

import lazy_loader

from ..errors import ImageError as ImageError

__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "ImageError"])


def __dir__() -> list[str]:
    return list(__all__)
