"""Inverse problems and image editing with diffusion priors.

Every task is a function of this package, as in ``diffprior.inpaint(image, mask)``. Functions and
packages are imported when they are first used, so that ``import diffprior`` is cheap. The types
are in ``__init__.pyi``.
"""

from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

import lazy_loader

__version__ = "0.2.0"

_tasks = find_spec("diffprior.tasks")
_folders = (_tasks.submodule_search_locations if _tasks else None) or []
_TASKS = sorted(module.name for module in iter_modules(_folders))
_ALIASES = {"upscale": "super_resolve"}  # the same function under its command's name
_SUBMODULES = sorted(
    {"tasks", *(m.name for m in iter_modules(__path__) if m.name not in ("__main__", "cli"))}
)
_ATTRIBUTES = {
    "pretrained.load": ["load_prior"],
    "runtime.results": ["Result"],
    "errors": ["DiffpriorError"],
    "interop.notebook": ["widget"],
    **{f"tasks.{name}": [name] for name in _TASKS},
}

_load, _, _names = lazy_loader.attach(__name__, _SUBMODULES, _ATTRIBUTES)
__all__ = sorted([*_names, *_ALIASES, "__version__"])


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name in __all__:
        return _load(_ALIASES.get(name, name))
    known = [name for names in _ATTRIBUTES.values() for name in names]
    raise AttributeError(f"module 'diffprior' has no {name!r}; it has {', '.join(known)}")


def __dir__() -> list[str]:
    return list(__all__)
