"""Inverse problems and image editing with diffusion priors."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Load ``load_prior`` and the tasks on first use, so that ``import diffprior`` stays cheap."""
    if name.startswith("_"):
        raise AttributeError(name)
    if find_spec(f"diffprior.{name}"):  # asked for before it was imported, as by a task in turn
        return import_module(f"diffprior.{name}")
    if name == "load_prior":
        return import_module("diffprior.pretrained.load").load_prior
    functions = import_module("diffprior.catalog").functions()
    if name in functions:
        return functions[name]
    known = ", ".join(["load_prior", *sorted(functions)])
    raise AttributeError(f"module 'diffprior' has no {name!r}; it has {known}")
