"""Finding and opening a pretrained prior: the shipped default, a folder, a file or a hub id."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ..errors import PriorError
from ..networks.nafunet import load_network
from ..priors.adm import ADMPrior
from ..priors.base import Prior
from ..priors.diffusers import DiffusersPrior
from ..priors.edm import EDMPrior, is_edm
from ..priors.network import NetworkPrior
from .checkpoints import SUFFIXES, settings_beside
from .components import INDEX, download, is_latent, parts
from .pipelines import load_pipeline

__all__ = ["load_prior", "sha256", "shipped"]

WEIGHTS = Path(__file__).parent.parent / "priors" / "weights"
DEFAULT = "photo"
HUB_ID = r"[\w.-]+/[\w.-]+"
CONFIGS = ("config.json", "unet/config.json", INDEX)
ADDED = ("lora", "controlnet")  # settings that are weights, too
FAULTS = (OSError, KeyError, RuntimeError, TypeError, ValueError, SafetensorError)


def load_prior(
    source: str | Path | None = None,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype | None = None,
    **settings: Any,
) -> Prior:
    """Open a prior.

    Arguments:
        source: The name of a shipped prior (the default where not given), a folder that diffusers
            or this library wrote, a weights file in one, a guided-diffusion (ADM) file, or a hub id
            ``owner/name`` of any of these.
        device: Where it is to live.
        dtype: What the weights of a latent pipeline are held in; those of others are of float32.
        settings: What the files do not say, such as ``label=3`` for a network with classes (see
            ``load`` of its class in ``diffprior.priors``, or ``diffprior.pretrained.pipelines``). A
            JSON file of a weights file's own name beside it says them as well.

    Returns:
        A prior of [-1, 1] images, of float32 states, with its ``name`` and its weights'
        ``sha256``.
    """
    place = _place(DEFAULT if source is None else str(source))
    added = {k: _added(str(settings[k])) for k in ADDED if settings.get(k)}
    try:
        prior = _open(place, dtype, settings | added)
    except PriorError:
        raise
    except FAULTS as error:
        said = " ".join(str(error).split()).partition(" If you want to instead")[0]
        reason = said[:600]  # what diffusers advises next would draw the weights anew
        name = source or DEFAULT
        raise PriorError(f"{name} does not hold a prior that can be opened: {reason}") from error
    known = source is None or not Path(source).exists()
    prior.name = str(source or DEFAULT) if known else place.name  # type: ignore[assignment]
    prior.sha256 = sha256(place, *added.values())  # type: ignore[assignment]
    return prior.to(device)


def shipped() -> dict[str, Path]:
    """Return the folders of the priors that come with the package, by name."""
    return {p.parent.name: p.parent for p in sorted(WEIGHTS.glob("*/config.json"))}


def sha256(*places: Path) -> str:
    """Return the SHA-256 of weights files, or of those in folders, in hexadecimal."""
    digest = hashlib.sha256()
    for file in chain(*([place] if place.is_file() else _weights(place) for place in places)):
        with file.open("rb") as data:
            while piece := data.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()


def _open(place: Path, dtype: torch.dtype | None, settings: dict[str, Any]) -> Prior:
    load: Callable[..., Prior]
    given: dict[str, Any]
    if place.is_file() and is_edm(beside := settings_beside(place)):
        load, given = EDMPrior.load, {k: beside[k] for k in ("label", "clip") if k in beside}
    elif place.is_file():
        load, given = ADMPrior.load, beside
    elif is_latent(place):
        load, given = load_pipeline, {"dtype": dtype or torch.float32}
    else:
        kind = _config(place).get("_class_name", "UNet2DModel")
        if kind not in FOLDERS:
            kinds = ", ".join(FOLDERS)
            raise ValueError(
                f"it holds a {kind}; a folder holds one of {kinds}, or a pipeline ({INDEX}) with "
                "an autoencoder"
            )
        load, given = FOLDERS[kind], {}
    given |= settings
    known = [*signature(load).parameters][1:]
    for setting in given:
        if setting not in known:
            raise ValueError(f"it has no setting {setting!r}; it has {', '.join(known) or 'none'}")
    return load(place, **given)


def _native(folder: Path, label: int | None = None) -> Prior:
    return NetworkPrior.of(load_network(folder), label)


FOLDERS: dict[str, Callable[..., Prior]] = {"NAFUNet": _native, "UNet2DModel": DiffusersPrior.load}


def _weights(folder: Path) -> Iterator[Path]:
    if is_latent(folder):
        for part in parts(folder):
            yield from _weights(folder / part)
        return
    for pattern in ("*.safetensors", "unet/*.safetensors", "*.bin", "unet/*.bin"):
        files = sorted(folder.glob(pattern))
        yield from files
        if files:
            return


def _place(source: str) -> Path:
    """Return the folder with a config, or else the weights file, that is meant."""
    path = Path(source)
    if source in shipped():
        return shipped()[source]
    if path.is_file() and _is_of_a_folder(path):
        return path.parent
    if path.is_file() and path.suffix in SUFFIXES:
        return path
    if source and path.is_dir():
        return _inside(path)
    if re.fullmatch(HUB_ID, source) and not path.parent.is_dir():
        return _inside(_download(source))
    raise PriorError(
        f"no prior {source!r}; give one of {', '.join(shipped())}, "
        f"a folder, a weights file ({', '.join(SUFFIXES)}), or a hub id owner/name"
    )


def _added(source: str) -> Path:
    """Return where weights are that are added to a pipeline's, on disk or from the hub."""
    if Path(source).exists() or not re.fullmatch(HUB_ID, source) or Path(source).parent.is_dir():
        return Path(source)
    return _download(source)


def _is_of_a_folder(file: Path) -> bool:
    """Return whether a file is what diffusers, or this library, calls its weights."""
    return any((file.parent / name).exists() for name in CONFIGS) and file.stem.startswith(
        ("diffusion_pytorch_model", "config", "scheduler_config", "model_index")
    )


def _inside(folder: Path) -> Path:
    """Return a folder with a config as it is, and of another its one weights file."""
    if any((folder / name).exists() for name in CONFIGS):
        return folder
    files = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
    if len(files) == 1:
        return files[0]
    names = ", ".join(p.name for p in files[:5])
    raise PriorError(
        f"{folder} holds no config.json, so it is no model folder of diffusers or diffprior, and "
        + (f"several weights files ({names}): give one of them" if files else "no weights file")
    )


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        folder = Path(snapshot_download(name, allow_patterns=["*.json"]))
        if is_latent(folder):
            return download(name)
        folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.bin"]))
        if not any((folder / config).exists() for config in CONFIGS):
            folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.pt", "*.pth"]))
        return folder
    except (OSError, HfHubHTTPError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PriorError(
            f"no prior {name!r} on disk, nor to be had from the hub: {reason}"
        ) from error


def _config(folder: Path) -> dict[str, str]:
    file = next(folder / name for name in CONFIGS if (folder / name).exists())
    try:
        config = json.loads(file.read_text())
    except ValueError:
        config = None
    if isinstance(config, dict):
        return config
    raise PriorError(f"{file} is no model config: it does not hold a JSON object")
