"""Pretrained priors: from a name, a folder, a file or a hub id."""

import lazy_loader

from ..errors import PriorError as PriorError

__getattr__, _, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*_names, "PriorError"])


def __dir__() -> list[str]:
    return list(__all__)
