"""Priors: the expected clean image E[x_0 | x_t] of a noisy one, exact or by a network."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
