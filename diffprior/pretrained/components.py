"""The parts of a pipeline folder, opened one by one with all of their weights.

A folder never runs code. Only the parts that make images are opened, and each by a class of
``PARTS``; whatever else a folder names or holds is left alone.
"""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..validation import warn
from .checkpoints import read, read_json, room, tensors_in
from .schedulers import SCHEDULERS, scheduler_in

__all__ = [
    "CODERS",
    "INDEX",
    "NETWORKS",
    "download",
    "index",
    "is_latent",
    "network_in_folder",
    "opened",
    "parts",
    "place_of",
    "quiet",
    "tell_average",
]

INDEX = "model_index.json"
CODERS = ("vae", "vqvae")
NETWORKS = ("unet", "transformer")
_CODERS = ("diffusers", ("AutoencoderKL", "AutoencoderTiny", "VQModel"))
_TOKENIZERS = (
    "transformers",
    ("CLIPTokenizer", "CLIPTokenizerFast", "T5Tokenizer", "T5TokenizerFast"),
)
_READERS = ("transformers", ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"))
# the library and the classes of each part that is opened, by its name in the index
PARTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "scheduler": ("diffusers", tuple(SCHEDULERS)),
    "unet": ("diffusers", ("UNet2DModel", "UNet2DConditionModel")),
    "transformer": ("diffusers", ("SD3Transformer2DModel", "FluxTransformer2DModel")),
    "controlnet": ("diffusers", ("ControlNetModel",)),
    **dict.fromkeys(CODERS, _CODERS),
    **dict.fromkeys(("tokenizer", "tokenizer_2", "tokenizer_3"), _TOKENIZERS),
    **dict.fromkeys(("text_encoder", "text_encoder_2", "text_encoder_3"), _READERS),
}
# entries of a config that would have the libraries import, download or run something
CODE = ("auto_map", "attn_implementation", "_attn_implementation", "quantization_config")
LONGEST = 100_000  # tokens of a prompt; a tokenizer fills every prompt up to its own number
FILE = re.compile(
    r"(?:diffusion_pytorch_model|model|pytorch_model)(?P<half>\.fp16)?(?:-\d+-of-\d+)?"
    r"(?P<late>\.fp16)?\.(?P<kind>safetensors|bin)"
)


def is_latent(folder: Path) -> bool:
    """Return whether a folder holds a pipeline with an autoencoder."""
    return (folder / INDEX).is_file() and any(name in index(folder) for name in CODERS)


def download(name: str) -> Path:
    """Return the folder of a pipeline of the hub, downloaded with one variant of its weights.

    Nothing but configs, vocabularies and weights of the parts that are opened is downloaded.
    """
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(name, allow_patterns=["*.json"]))
    named = parts(folder)
    texts = [f"{part}/{file}" for part in named for file in ("*.json", "*.txt", "*.model")]
    wanted = [part for part in named if part.startswith((*CODERS, "unet", "trans", "text_", "con"))]
    for weights, skipped in (
        ("*.safetensors", ["*.fp16*", "*.bf16*", "*.non_ema*"]),
        ("*.fp16*safetensors", ["*.non_ema*"]),
        ("*.bin", ["*.fp16*", "*.non_ema*"]),
    ):
        patterns = [INDEX, *texts, *(f"{part}/{weights}" for part in wanted)]
        folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=skipped))
        wanted = [part for part in wanted if not _files(folder / part)]
        if not wanted:
            break
    return folder


def index(folder: Path) -> dict[str, Any]:
    """Return the index of a pipeline: its components by name, and some settings."""
    try:
        return read_json(folder / INDEX)
    except ValueError:
        return {}


def parts(folder: Path) -> dict[str, tuple[str, str]]:
    """Return library and class of each part that is opened, by name."""
    pairs = {k: v for k, v in index(folder).items() if k in PARTS and isinstance(v, list)}
    return {
        k: (v[0], v[1])
        for k, v in pairs.items()
        if len(v) == 2 and all(isinstance(w, str) for w in v)
    }


def opened(folder: Path, part: str, library: str, kind: str, dtype: torch.dtype) -> Any:
    """Open one part, or say what is wrong with it.

    Arguments:
        folder: The folder of the part.
        part: Its name in the index, which says what it may be.
        library, kind: Its class, as the index says it.
        dtype: Dtype of its weights.

    Raises:
        ValueError: If its class is none of ``PARTS``, or a weight is missing or has a wrong shape.
    """
    home, classes = PARTS[part]
    if library != home or kind not in classes:
        raise ValueError(
            f"its {part} is a {kind:.60} of {library:.60}; it is to be one of "
            f"{', '.join(classes) if len(classes) < 5 else 'the list in docs/priors.md'}"
        )
    if not folder.is_dir():
        raise ValueError(f"it has no folder {part}, where a {kind} is expected")
    try:
        if part == "scheduler":
            return _scheduler(folder, kind)
        loader = getattr(import_module(library), kind, None)
    except ImportError as error:
        raise ValueError(
            f"its {part} is a {kind} of {library}, which is not installed: "
            "pip install 'diffprior[latent]'"
        ) from error
    if loader is None:
        raise ValueError(f"its {part} is a {kind}, which this version of {library} does not know")
    try:
        with quiet():
            if part.startswith("tokenizer"):
                return _tokenizer(folder, loader)
            if library == "transformers":
                network, info = _reader_in(folder, loader, dtype)
            else:
                network, info = network_in_folder(folder, loader, dtype)
    except Exception as error:  # the libraries raise what the bytes of a folder make them raise
        raise ValueError(f"its {part}, a {kind}, cannot be opened: {error}") from error
    if missing := sorted(info["missing_keys"]):
        raise ValueError(
            f"its {part}, a {kind}, cannot be opened: its weights lack {len(missing)} tensors, "
            f"first those of {missing[0].rpartition('.')[0]} ({missing[0]})"
        )
    if dtype == torch.float16 and getattr(network.config, "force_upcast", False):
        network.float()  # an autoencoder that overflows in half
    return network.requires_grad_(False).eval()


def _scheduler(folder: Path, kind: str) -> Any:
    with quiet():
        scheduler = scheduler_in(folder)
    return scheduler


def _tokenizer(folder: Path, loader: Any) -> Any:
    tokenizer = loader.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if loader.__name__.startswith("CLIP") and not 0 < tokenizer.model_max_length <= LONGEST:
        raise ValueError(f"its model_max_length is not in 1 ... {LONGEST}")
    return tokenizer


def network_in_folder(folder: Path, loader: Any, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Open a network of diffusers, and return it with what diffusers says about its weights.

    It is built without memory first: a config of a larger network than that of the weights is
    refused before it takes any.
    """
    config = read_json(folder / "config.json")
    if config.get("quantization_config"):
        raise ValueError("its weights are quantized, and only weights of full range are opened")
    files = _files(folder)
    _check_files(folder, files)
    with torch.device("meta"), room(sum(file.stat().st_size for file in files)):
        loader.from_config({k: v for k, v in config.items() if k not in CODE})
    network, info = loader.from_pretrained(
        folder,
        variant="fp16" if _is_half(files[0]) else None,
        torch_dtype=dtype,
        output_loading_info=True,
        local_files_only=True,
    )
    return network, info


def _reader_in(folder: Path, loader: Any, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Open a network of transformers from its config and tensors; no other file is looked at."""
    content = read_json(folder / "config.json")
    config = loader.config_class.from_dict({k: v for k, v in content.items() if k not in CODE})
    files = _files(folder)
    _check_files(folder, files)
    state: dict[str, Tensor] = {}
    for file in files:
        state |= load_file(file) if file.suffix == ".safetensors" else dict(tensors_in(read(file)))
    with torch.device("meta"), room(2 * sum(file.stat().st_size for file in files)):
        loader(config)  # twice: it may tie two weights, of which the file has one
    network, info = loader.from_pretrained(
        None, config=config, state_dict=state, dtype=dtype, output_loading_info=True
    )
    return network, info


def _files(folder: Path) -> list[Path]:
    """Return the weights files of a network; safetensors come first, then those of full range."""
    found: dict[tuple[bool, bool], list[Path]] = {}
    for file in sorted(folder.glob("*")):
        if (match := FILE.fullmatch(file.name)) and file.is_file():
            key = (match["kind"] == "bin", _is_half(file))
            found.setdefault(key, []).append(file)
    return found[min(found)] if found else []


def _is_half(file: Path) -> bool:
    return ".fp16" in file.name


def _check_files(folder: Path, files: list[Path]) -> None:
    """Refuse weights that are none, or that are not where their index says."""
    if not files:
        raise ValueError("it has no weights file")
    for file in folder.glob("*.index*.json"):
        names = read_json(file).get("weight_map")
        if not isinstance(names, dict) or not all(
            isinstance(name, str) and FILE.fullmatch(name) for name in names.values()
        ):
            raise ValueError(f"its {file.name} names files that are no weights files beside it")
    for file in files:
        if file.suffix == ".bin":
            read(file)  # which refuses all but plain tensors


def place_of(folder: Path, part: str) -> Path:
    """Return the folder of a part: of a network that of its averaged weights, if there is one."""
    averaged = folder / f"{part}_ema"
    return averaged if part in NETWORKS and (averaged / "config.json").is_file() else folder / part


def tell_average(folder: Path, part: str) -> None:
    """Warn if a folder holds the averaged weights of a network beside the raw ones."""
    place = place_of(folder, part)
    if place.name != part:
        warn(
            f"{folder.name} holds averaged weights ({place.name}) and raw ones ({part}); "
            "the averaged ones are taken"
        )


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
