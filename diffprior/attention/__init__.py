"""Attention edits: how the edit of a prompt reuses the attention maps of the source prompt."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
