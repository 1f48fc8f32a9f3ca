"""Weights files of other projects, opened without running code that is in them."""

import json
import pickle
import threading
from argparse import Namespace
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules import module as hooks

__all__ = [
    "SUFFIXES",
    "containers",
    "fit",
    "join",
    "read",
    "read_json",
    "room",
    "settings_beside",
    "size_of",
    "tensors_in",
]

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl")
JSON_BYTES = 16 << 20  # the largest JSON file that is read; tokenizers have files of 4 MB
TENSOR_BYTES = 32  # a tensor takes more in any file, for its name and its shape
SPARE = 1 << 22  # numbers that a network may hold beside its weights: positions, filters
SHARED = 4  # how often the numbers of a file are in its tensors: weights may be tied

FOLD = (
    "in Python, diffusers.StableDiffusionPipeline (or StableDiffusionXLPipeline)"
    ".from_single_file(...).save_pretrained('folder')"
)


def read(file: Path) -> Mapping[str, Any]:
    """Return what a weights file holds: tensors by name, maybe nested in a trainer's state.

    No code in it is run. Every tensor is a plain one, and all of them together take no more memory
    than the size of the file explains.

    Raises:
        ValueError: If it is damaged, or holds anything else.
    """
    if file.suffix == ".pkl":
        raise ValueError(
            "a pickle of objects runs code when it is opened: convert it where its code is, as "
            "docs/priors.md says"
        )
    state: Any = load_file(file) if file.suffix == ".safetensors" else _unpickle(file)
    if isinstance(state, list | tuple):
        state = {str(i): value for i, value in enumerate(state)}
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__} where a state dict is expected")
    found = dict(tensors_in(state))
    if not found:
        raise ValueError("it holds no tensors by name, as a state dict does")
    for name, tensor in found.items():
        _check_plain(name, tensor)
    size = file.stat().st_size
    if sum(v.numel() * v.element_size() for v in found.values()) > SHARED * size:
        raise ValueError("its tensors share few numbers: all of them take more than the file has")
    storages = {
        v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in found.values()
    }
    if sum(storages.values()) > size:
        raise ValueError("its tensors take more bytes than the file has")
    if any("first_stage_model." in name for name in found):
        raise ValueError(f"it is a latent pipeline in one file; write a folder: {FOLD}")
    return state


def tensors_in(content: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of nested mappings and lists, each with the names that lead to it."""
    for place, container in containers(content):
        for key, value in container.items():
            if isinstance(value, Tensor):
                yield join(place, key), value


def containers(content: Any) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Yield nested mappings and lists once each, with the names that lead to them.

    Lists are mappings from 0 on. A pickle may hold one thing in many places, so that walking
    through all of them would not end.
    """
    seen: set[int] = set()
    waiting = deque([("", content)])
    while waiting:
        place, part = waiting.popleft()
        if isinstance(part, list | tuple):
            keyed: Mapping[Any, Any] = dict(enumerate(part))
        elif isinstance(part, Mapping):
            keyed = part
        else:
            continue
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield place, keyed
        waiting.extend((join(place, key), value) for key, value in keyed.items())


def join(place: str, key: Any) -> str:
    """Return the way to an entry of a container."""
    return f"{place}.{key}" if place else str(key)


def _check_plain(name: str, tensor: Tensor) -> None:
    """Refuse a tensor that is not what its bytes in the file are."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise ValueError(f"its {name} is no plain tensor")
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise ValueError(
            f"its {name} of shape {tuple(tensor.shape)} repeats few numbers, as no weights do"
        )


def _unpickle(file: Path) -> Any:
    """Return what ``torch.save`` wrote; the tensors stay on the disk until they are used."""
    try:
        archive = is_zipfile(file)
        if archive:
            _check_archive(file)
        with torch.serialization.safe_globals([Namespace]):  # trainers keep their options beside
            return torch.load(file, map_location="cpu", weights_only=True, mmap=archive or None)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it is no plain state dict: it is damaged, or a pickle whose code would have to be "
            f"run; save it anew where it was made: torch.save(model.state_dict(), {file.name!r})"
        ) from error
    except Exception as error:  # torch and its unpickler raise what the bytes make them raise
        raise ValueError("it is damaged, or no file of torch.save") from error


def _check_archive(file: Path) -> None:
    """Refuse an archive that unpacks to more than it is; ``torch.save`` compresses nothing."""
    with ZipFile(file) as archive:
        entries = archive.infolist()
    stored = all(entry.compress_type == ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > file.stat().st_size:
        raise BadZipFile("compressed")


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file.

    Raises:
        ValueError: If it holds anything else, or is larger than such a file ever is.
    """
    with file.open("rb") as data:
        text = data.read(JSON_BYTES + 1)
    try:
        content = json.loads(text) if len(text) <= JSON_BYTES else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file.name} does not hold a JSON object")
    return content


def settings_beside(file: Path) -> dict[str, Any]:
    """Return the settings in a JSON file with the name of a weights file, if there is one."""
    notes = file.with_suffix(".json")
    if not notes.exists():
        return {}
    try:
        return read_json(notes)
    except ValueError:
        raise ValueError(f"{notes.name} beside it does not hold a JSON object") from None


def size_of(state: Mapping[str, Tensor]) -> int:
    """Return the bytes that the file of a state dict has, about."""
    return sum(v.numel() * v.element_size() + TENSOR_BYTES for v in state.values())


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let networks be built whose weights fit a file of so many bytes, and refuse larger ones.

    Build on the device ``meta``: then nothing is allocated before the answer is known. A number
    takes a byte at least.

    Raises:
        ValueError: While it is open, at the first weight that is too much.
    """
    here = threading.get_ident()
    left = {"weights": size, "buffers": size + SPARE}

    def count(kind: str, tensor: Tensor | None) -> None:
        if tensor is None or threading.get_ident() != here:
            return
        left[kind] -= tensor.numel() + TENSOR_BYTES
        if left[kind] < 0:
            raise ValueError(
                f"its config is that of a larger network than its weights: they have {size} bytes"
            )

    handles = [
        hooks.register_module_parameter_registration_hook(lambda *own: count("weights", own[2])),
        hooks.register_module_buffer_registration_hook(lambda *own: count("buffers", own[2])),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def fit(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict into a network, in float32; every tensor has to match.

    Raises:
        ValueError: If a tensor is missing, unknown, of another shape, or no finite weights.
    """
    expected = {k: tuple(v.shape) for k, v in network.state_dict().items()}
    shapes = {k: tuple(v.shape) for k, v in state.items()}
    missing = [k for k in expected if k not in shapes]
    unknown = [k for k in shapes if k not in expected]
    kind = type(network).__name__
    if missing:
        raise ValueError(
            f"it lacks {len(missing)} of the {len(expected)} tensors of its {kind}, first those "
            f"of {missing[0].rpartition('.')[0]}: expected {missing[0]} "
            f"of shape {expected[missing[0]]}"
        )
    if unknown:
        raise ValueError(
            f"it has {len(unknown)} tensors that its {kind} has no place for, first those of "
            f"{unknown[0].rpartition('.')[0]}: {unknown[0]}"
        )
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ValueError(f"its {name} has shape {shapes[name]}, expected {shape}")
        if not state[name].is_floating_point():
            raise ValueError(f"its {name} holds {state[name].dtype}, expected weights")
    weights = {k: v.to(torch.float32, copy=True) for k, v in state.items()}
    for name, tensor in weights.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"its {name} holds numbers that are not finite")
    network.load_state_dict(weights, assign=True)
