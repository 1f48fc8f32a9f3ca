"""How likely a prior takes states to be: exact densities, bounds, and the price in bits."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
