"""Weights files of other projects, opened without running code that is in them."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["SUFFIXES", "fit", "read", "settings_beside"]

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pkl")
AVERAGES = ("ema", "ema_state_dict", "state_dict", "model")  # where trainers keep a state dict
CONVERT = (
    "import pickle, json, safetensors.torch as s; from pathlib import Path as P; "
    "n = pickle.loads(P('{0}.pkl').read_bytes())['ema']; s.save_model(n, '{0}.safetensors'); "
    "P('{0}.json').write_text(json.dumps(dict(n.init_kwargs, class_name=type(n).__name__)))"
)

FOLD = (
    "from diffusers import StableDiffusionPipeline (or StableDiffusionXLPipeline) as P; "
    "P.from_single_file('{0}').save_pretrained('folder')"
)


def read(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name; floating point ones in float32."""
    if file.suffix == ".pkl":
        raise ValueError(
            "a pickle of objects runs code when it is opened; convert it where its code is, "
            f'in a checkout of NVlabs/edm: python -c "{CONVERT.format(file.stem)}"'
        )
    state: Any = load_file(file) if file.suffix == ".safetensors" else _unpickle(file)
    name = next((k for k in AVERAGES if isinstance(state.get(k), Mapping)), None)
    state = state[name] if name else state
    tensors = {k: v for k, v in state.items() if isinstance(v, Tensor)}
    if not tensors:
        raise ValueError("it holds no tensors by name, as a state dict does")
    if any(k.startswith("first_stage_model.") for k in tensors):
        raise ValueError(
            f"it is a latent pipeline in one file; write a folder: {FOLD.format(file)}"
        )
    wide = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    return {k.removeprefix("module."): v for k, v in wide.items()}


def _unpickle(file: Path) -> Any:
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            "it is no plain state dict: it is damaged, or a pickle whose code would have to be "
            f"run; save it anew where it was made: torch.save(model.state_dict(), {file.name!r})"
        ) from error
    except (EOFError, RuntimeError) as error:
        raise ValueError("it is damaged, or no file of torch.save") from error
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__} where a state dict is expected")
    return state


def settings_beside(file: Path) -> dict[str, Any]:
    """Return the settings in a JSON file with the name of a weights file, if there is one."""
    notes = file.with_suffix(".json")
    if not notes.exists():
        return {}
    settings = json.loads(notes.read_text())
    if not isinstance(settings, dict):
        raise ValueError(f"{notes.name} beside it does not hold a JSON object")
    return settings


def fit(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict into a network; every tensor has to match.

    Raises:
        ValueError: If a tensor is missing, unknown, or of another shape.
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
    network.load_state_dict(state, assign=True)
