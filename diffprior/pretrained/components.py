"""The components of a pipeline folder, opened one by one with all of their weights."""

import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = [
    "CODERS",
    "INDEX",
    "download",
    "index",
    "is_latent",
    "opened",
    "parts",
    "quiet",
    "variant",
]

INDEX = "model_index.json"
CODERS = ("vae", "vqvae")
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
DTYPE = {"diffusers": "torch_dtype", "transformers": "dtype"}  # names of the argument


def is_latent(folder: Path) -> bool:
    """Return whether a folder holds a pipeline with an autoencoder."""
    return (folder / INDEX).is_file() and any(name in index(folder) for name in CODERS)


def download(name: str) -> Path:
    """Return the folder of a pipeline of the hub, downloaded with one variant of its weights."""
    from diffusers import DiffusionPipeline

    skipped = dict.fromkeys(UNUSED)
    try:
        return Path(DiffusionPipeline.download(name, **skipped))
    except (OSError, ValueError):
        return Path(DiffusionPipeline.download(name, variant="fp16", **skipped))


def index(folder: Path) -> dict[str, Any]:
    """Return the index of a pipeline: its components by name, and some settings."""
    content = json.loads((folder / INDEX).read_text())
    return content if isinstance(content, dict) else {}


def parts(folder: Path) -> dict[str, tuple[str, str]]:
    """Return library and class of each component that makes images, by name."""
    pairs = {k: v for k, v in index(folder).items() if isinstance(v, list) and k not in UNUSED}
    return {k: (v[0], v[1]) for k, v in pairs.items() if len(v) == 2 and v[1] is not None}


def opened(folder: Path, name: str, library: str, kind: str, dtype: torch.dtype) -> Any:
    """Open one component, or say which of its weights is missing or has a wrong shape."""
    try:
        loader = getattr(import_module(library), kind, None) if library in DTYPE else None
    except ImportError as error:
        raise ValueError(
            f"its {name} is a {kind} of {library}, which is not installed: "
            "pip install 'diffprior[latent]'"
        ) from error
    if loader is None:
        raise ValueError(f"its {name} is a {kind}, which {library} does not know")
    if not (folder / name).is_dir():
        raise ValueError(f"it has no folder {name}, where a {kind} is expected")
    try:
        with quiet():
            if not issubclass(loader, nn.Module):
                return loader.from_pretrained(folder / name)
            return _weights(folder / name, loader, library, dtype)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"its {name}, a {kind}, cannot be opened: {error}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Turn off the messages and progress bars of both libraries for a while."""
    names = ("diffusers.utils.logging", "transformers.utils.logging")
    logs = [(log, log.get_verbosity()) for name in names if (log := sys.modules.get(name))]
    bars = [log for log, _ in logs if log.is_progress_bar_enabled()]
    try:
        for log, _ in logs:
            log.disable_progress_bar()
            log.set_verbosity(log.CRITICAL)
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for log, level in logs:
            log.set_verbosity(level)
        for log in bars:
            log.enable_progress_bar()


def variant(folder: Path) -> str | None:
    """Return the variant of the weights of a network; None is the plain one, which is preferred."""
    files = [file.name for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")]
    return "fp16" if files and all(re.search(r"\.fp16[.-]", name) for name in files) else None


def _weights(folder: Path, loader: Any, library: str, dtype: torch.dtype) -> Any:
    """Open a network with all of its weights; the libraries would draw missing ones at random."""
    network, info = loader.from_pretrained(
        folder,
        variant=variant(folder),
        output_loading_info=True,
        **{DTYPE[library]: dtype},
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"its weights lack {len(missing)} tensors, first those of "
            f"{missing[0].rpartition('.')[0]} ({missing[0]})"
        )
    if dtype == torch.float16 and getattr(network.config, "force_upcast", False):
        network.float()  # an autoencoder that overflows in half
    return network.requires_grad_(False).eval()
