"""Attention edits: what an edit of a prompt keeps of the attention maps of the source."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
