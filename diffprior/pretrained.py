"""Finding and opening a pretrained prior: the shipped default, a folder, a file or a hub id."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError

from .networks import load_network
from .priors.base import Prior
from .priors.diffusers import DiffusersPrior
from .priors.network import NetworkPrior

__all__ = ["PriorError", "load_prior", "sha256", "shipped"]

WEIGHTS = Path(__file__).parent / "priors" / "weights"
DEFAULT = "photo"
FAULTS = (OSError, KeyError, RuntimeError, TypeError, ValueError, SafetensorError)


class PriorError(ValueError):
    """A prior that cannot be opened, in one sentence."""


def load_prior(source: str | Path | None = None, device: str | torch.device = "cpu") -> Prior:
    """Open a prior.

    Arguments:
        source: The name of a shipped prior (the default where not given), a folder that diffusers
            or this library wrote, a ``.safetensors`` file in one, or a hub id ``owner/name``.
        device: Where it is to live.

    Returns:
        A prior of [-1, 1] pictures, in float32, with its ``name`` and its weights' ``sha256``.
    """
    folder = _folder(str(source or DEFAULT))
    config = _config(folder)
    kind = config.get("_class_name", "")
    try:
        native = kind == "NAFUNet"
        prior = NetworkPrior.of(load_network(folder)) if native else DiffusersPrior.load(folder)
    except FAULTS as error:
        reason = " ".join(str(error).split())[:300]
        raise PriorError(f"{folder} does not hold a prior that can be opened: {reason}") from error
    known = source is None or not Path(source).exists()
    prior.name = str(source or DEFAULT) if known else folder.name  # type: ignore[assignment]
    prior.sha256 = sha256(folder)  # type: ignore[assignment]
    return prior.to(device)


def shipped() -> dict[str, Path]:
    """Return the folders of the priors that come with the package, by name."""
    return {p.parent.name: p.parent for p in sorted(WEIGHTS.glob("*/config.json"))}


def sha256(folder: Path) -> str:
    """Return the SHA-256 of the weights in a folder, in hexadecimal."""
    digest = hashlib.sha256()
    for file in _weights(folder):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _weights(folder: Path) -> Iterator[Path]:
    for pattern in ("*.safetensors", "unet/*.safetensors", "*.bin", "unet/*.bin"):
        files = sorted(folder.glob(pattern))
        yield from files
        if files:
            return


def _folder(source: str) -> Path:
    path = Path(source)
    if source in shipped():
        return shipped()[source]
    if path.is_dir():
        return path
    if path.is_file():
        return path.parent
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not path.parent.is_dir():
        return _download(source)
    raise PriorError(
        f"no prior {source!r}; give one of {', '.join(shipped())}, "
        "a folder, a .safetensors file in one, or a hub id owner/name"
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        wanted = ["*.json", "*.safetensors", "*.bin"]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (OSError, HfHubHTTPError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PriorError(
            f"no prior {name!r} on disk, nor to be had from the hub: {reason}"
        ) from error


def _config(folder: Path) -> dict[str, str]:
    for name in ("config.json", "unet/config.json"):
        if (folder / name).exists():
            try:
                config = json.loads((folder / name).read_text())
            except ValueError:
                config = None
            if isinstance(config, dict):
                return config
            raise PriorError(f"{folder / name} is no model config: it does not hold a JSON object")
    raise PriorError(
        f"{folder} holds no config.json, so it is no model folder of diffusers or diffprior"
    )
