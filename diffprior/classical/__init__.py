"""Classical methods that need no prior: fills, mask edges, color propagation, baselines."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
