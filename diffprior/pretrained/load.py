"""Pretrained priors: shipped ones, folders, weights files and hub ids, found and opened."""

import hashlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from itertools import chain, product
from pathlib import Path
from typing import Any

import torch

from ..catalog import shipped_priors
from ..errors import PriorError
from ..priors.base import Prior, Source
from .adm import ADMSettings, load_adm
from .cascade import CascadeSettings, load_cascade
from .checkpoints import SUFFIXES, read_json, settings_beside
from .components import INDEX, download, is_latent, parts, place_of
from .conditioned import load_conditioned
from .diffusers import NetworkSettings, load_unet
from .edm import is_edm, load_edm
from .native import NATIVE, NativeSettings, load_native
from .pipelines import PipelineSettings, load_pipeline
from .settings import several

__all__ = ["load_prior", "sha256", "shipped"]

DEFAULT = "photo"
HUB_ID = r"[\w.-]+/[\w.-]+"
CONFIGS = ("config.json", "unet/config.json", INDEX)
ADDED = ("lora", "controlnet")  # settings that are weights, too
RENAMED = {"negative": "negative_prompt", "guidance": "guidance_scale"}
LONGEST = 300  # characters of a message
CLEAR = (OSError, ValueError, RuntimeError)  # errors whose words say what is wrong


def load_prior(
    source: str | Path | None = None,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype | None = None,
    backend: str = "torch",
    **settings: Any,
) -> Prior:
    """Open a pretrained prior.

    Example::

        prior = diffprior.load_prior()  # photographs
        prior = diffprior.load_prior("fashion", label=9)
        prior = diffprior.load_prior("owner/name", prompt="a red cat", device="cuda")

    Arguments:
        source: The name of a shipped prior (by default that of photographs); a folder that
            diffusers or this library wrote, or a weights file in it; a guided-diffusion (ADM) or
            converted EDM weights file; or a hub id ``owner/name`` of any of these.
        device: The device of the prior.
        dtype: Dtype of the weights of a latent pipeline; those of other priors are float32.
        backend: What computes the network: "torch", or "openvino" on a CPU; see
            ``Prior.with_backend``.
        settings: What the files do not say, such as ``label=3`` for a network with classes or
            ``prompt="a cat"`` for a text-to-image pipeline: see the settings classes in the
            modules of ``diffprior.pretrained``. A JSON file with the name of a weights file can
            hold settings as well.

    Returns:
        A prior of images in [-1, 1] with float32 states. Its ``source`` has its name and the
        SHA-256 of its weights.

    Raises:
        PriorError: If there is no such prior, or it cannot be opened.
        SettingError: If the backend does not exist, or does not compute this prior.
        ExtraError: If the package of the backend is not installed.
    """
    for old, new in RENAMED.items():
        if old in settings:
            warnings.warn(f"{old} is now {new}", DeprecationWarning, stacklevel=2)
            settings[new] = settings.pop(old)
    name = DEFAULT if source is None else str(source)
    try:
        place = _place(name)
        added = {k: [_added(str(v)) for v in several(settings.get(k))] for k in ADDED}
        settings |= {k: v if k == "lora" else v[0] for k, v in added.items() if v}
        prior, chosen = _open(place, dtype, settings)
    except PriorError:
        raise
    except Exception as error:  # a file can make three libraries raise anything
        raise PriorError(_sentence(name, error)) from error
    on_disk = source is not None and Path(source).exists()
    weights = chosen.added if isinstance(chosen, PipelineSettings) else ()
    prior.source = Source(
        name=place.name if on_disk else name,
        sha256=sha256(place, *chain(*added.values())),
        added=weights,
    )
    prior = prior.to(device)
    return prior if backend == "torch" else prior.with_backend(backend)


def shipped() -> dict[str, Path]:
    """Return the folders of the priors that come with the package, by name."""
    return shipped_priors()


def sha256(*places: Path) -> str:
    """Return the SHA-256 of weights files, or of those in folders, in hexadecimal."""
    digest = hashlib.sha256()
    for file in chain(*([place] if place.is_file() else _weights(place) for place in places)):
        with file.open("rb") as data:
            while piece := data.read(1 << 24):
                digest.update(piece)
    return digest.hexdigest()


def _sentence(name: str, error: Exception) -> str:
    """Return why a prior cannot be opened, in a line of at most ``LONGEST`` characters."""
    # what diffusers advises next would draw the missing weights at random
    reason = " ".join(str(error).split()).partition(" If you want to instead")[0]
    if not isinstance(error, CLEAR):
        reason = f"{type(error).__name__}: {reason}"
    shown = name if len(name) <= 80 else f"...{name[-77:]}"
    text = f"{shown} does not hold a prior that can be opened: {reason}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def _open(place: Path, dtype: torch.dtype | None, settings: dict[str, Any]) -> tuple[Prior, Any]:
    """Return the prior in a place, and the settings that it was opened with."""
    load: Callable[[Path, Any], Prior]
    kind: type
    own: Mapping[str, Any] = {}
    if place.is_file():
        own = settings_beside(place)
        load, kind = load_adm, ADMSettings
        if is_edm(own):
            load, kind = load_edm, NetworkSettings
            own = {k: own[k] for k in ("label", "null_label", "clip") if k in own}
    elif is_latent(place):
        load, kind = load_pipeline, PipelineSettings
        own = {"dtype": dtype or torch.float32}
    else:
        name = _config(place).get("_class_name", "UNet2DModel")
        if name not in FOLDERS:
            raise ValueError(
                f"it holds a {name}; a folder holds one of {', '.join(FOLDERS)}, or a pipeline "
                f"({INDEX}) with an autoencoder"
            )
        load, kind = FOLDERS[name]
    known = [field.name for field in fields(kind)]
    chosen = {**own, **settings}
    for setting in chosen:
        if setting not in known:
            raise ValueError(f"it has no setting {setting!r}; it has {', '.join(known)}")
    built = kind(**chosen)
    return load(place, built), built


FOLDERS: dict[str, tuple[Callable[[Path, Any], Prior], type]] = {
    **{name: (load_native, NativeSettings) for name in NATIVE},
    "UNet2DModel": (load_unet, NetworkSettings),
    "CascadePrior": (load_cascade, CascadeSettings),
    "ConditionedPrior": (load_conditioned, NetworkSettings),
}


def _weights(folder: Path) -> Iterator[Path]:
    if is_latent(folder):
        for part in parts(folder):
            yield from _weights(place_of(folder, part))
        return
    if (folder / "upsampler").is_dir():
        yield from chain(_weights(folder / "base"), _weights(folder / "upsampler"))
        return
    network = folder / "network" if (folder / "network").is_dir() else place_of(folder, "unet")
    for pattern, place in product(("*.safetensors", "*.bin"), (folder, network)):
        files = sorted(place.glob(pattern))
        yield from files
        if files:
            return


def _place(source: str) -> Path:
    """Return the folder with a config, or the weights file, of a source."""
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
    """Return where added weights are, on disk or downloaded from the hub."""
    if Path(source).exists() or not re.fullmatch(HUB_ID, source) or Path(source).parent.is_dir():
        return Path(source)
    return _download(source)


def _is_of_a_folder(file: Path) -> bool:
    """Return whether a file has a name that diffusers or this library gives to weights."""
    return any((file.parent / name).exists() for name in CONFIGS) and file.stem.startswith(
        ("diffusion_pytorch_model", "config", "scheduler_config", "model_index")
    )


def _inside(folder: Path) -> Path:
    """Return a folder if it has a config, and otherwise its only weights file."""
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
        raise PriorError(f"no prior {name!r} on disk, nor on the hub: {reason}") from error


def _config(folder: Path) -> dict[str, Any]:
    file = next(folder / name for name in CONFIGS if (folder / name).exists())
    try:
        return read_json(file)
    except ValueError:
        raise PriorError(f"{file} is no model config: it does not hold a JSON object") from None
