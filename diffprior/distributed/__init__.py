"""Many images on many machines: batches by size, a ledger of what is done, actors of Ray."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
