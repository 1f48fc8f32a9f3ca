"""Generators of blur kernels, pixel masks and frequency masks."""
