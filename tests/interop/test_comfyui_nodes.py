"""The nodes of ComfyUI, loaded, checked and run by the rules of ComfyUI's own executor.

ComfyUI is no package. ``check`` and ``execute`` follow what ``execution.py`` and ``nodes.py`` of
its public source do with a node: they load a folder by its ``__init__.py``, compare values with
the entries of ``INPUT_TYPES``, and run nodes in inference mode.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.errors import DiffpriorError, TaskError

ROOT = Path(__file__).parents[2]
CONVERTED = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}
SIDE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The module of the folder, linked into custom_nodes and loaded as ComfyUI loads it."""
    link = tmp_path_factory.mktemp("custom_nodes") / "diffprior-nodes"
    link.symlink_to(ROOT / "diffprior" / "interop" / "comfyui")
    spec = importlib.util.spec_from_file_location(str(link), link / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[str(link)] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[str(link)]


@pytest.fixture(scope="module")
def nodes(folder: Any) -> dict[str, Any]:
    return folder.NODE_CLASS_MAPPINGS


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """An IMAGE: (B, H, W, C), floats in [0, 1]."""
    image = Image.open(ROOT / "data" / "samples" / "dog.png").convert("RGB").resize((SIDE, SIDE))
    return torch.from_numpy(np.array(image, np.float32) / 255)[None]


def entries(node: Any) -> dict[str, tuple[Any, ...]]:
    types = node.INPUT_TYPES()
    assert set(types) <= {"required", "optional", "hidden"}
    return types["required"] | types.get("optional", {})


def check(node: Any, values: dict[str, Any]) -> list[str]:
    """Return the complaints of ComfyUI about the values of a node, which are converted in place."""
    complaints = [
        f"{n}: required input missing" for n in node.INPUT_TYPES()["required"] if n not in values
    ]
    for name, (kind, *rest) in entries(node).items():
        if name not in values:
            continue
        control = rest[0] if rest else {}
        if isinstance(values[name], list):  # a link: the type that comes must be that of the input
            source, output = values[name]
            if source.RETURN_TYPES[output] != kind:
                complaints.append(f"{name}: return type mismatch")
            continue
        if isinstance(kind, list):
            if values[name] not in kind:
                complaints.append(f"{name}: value not in list")
            continue
        if kind in CONVERTED:
            try:
                values[name] = CONVERTED[kind](values[name])
            except ValueError:
                complaints.append(f"{name}: failed to convert")
                continue
        if "min" in control and values[name] < control["min"]:
            complaints.append(f"{name}: smaller than min")
        if "max" in control and values[name] > control["max"]:
            complaints.append(f"{name}: bigger than max")
    return complaints


def defaults(node: Any) -> dict[str, Any]:
    """Return what the controls of a node send as it is put on the canvas: links are not set."""
    values = {}
    for name, (kind, *rest) in entries(node).items():
        if kind in ("IMAGE", "MASK"):
            continue
        control = rest[0] if rest else {}
        values[name] = control["default"]
    return values


def execute(node: Any, **links: Any) -> tuple[Any, ...]:
    """Run a node with the defaults of its controls, in the mode that ComfyUI runs nodes in."""
    values = defaults(node) | links
    plain = {k: v for k, v in values.items() if not isinstance(v, torch.Tensor)}
    assert not [c for c in check(node, plain) if "missing" not in c]
    given = {k: plain.get(k, v) for k, v in values.items()}
    with torch.inference_mode():
        given = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in given.items()}
        out = getattr(node(), node.FUNCTION)(**given)
    assert len(out) == len(node.RETURN_TYPES) == len(node.RETURN_NAMES)
    return out


def test_every_node_keeps_to_the_contract(folder: Any, nodes: dict[str, Any]) -> None:
    assert set(nodes) == set(folder.NODE_DISPLAY_NAME_MAPPINGS)
    assert {f"Diffprior{n.title()}" for n in ("inpaint", "restore", "upscale", "edit")} <= set(
        nodes
    )
    for key, node in nodes.items():
        assert callable(getattr(node, node.FUNCTION)) and node.CATEGORY == "diffprior"
        assert json.loads(json.dumps(node.INPUT_TYPES())), key  # as /object_info sends it
        assert entries(node)["image"][0] == "IMAGE"
        for kind, *rest in entries(node).values():
            assert isinstance(kind, list) or kind in {*CONVERTED, "IMAGE", "MASK"}
            assert len(rest) <= 1
        assert not [c for c in check(node, defaults(node)) if "missing" not in c], key


def test_every_setting_of_a_task_is_an_input(nodes: dict[str, Any]) -> None:
    from diffprior.cli import index

    for node in nodes.values():
        options = index.commands()[node.form.name].options
        assert set(entries(node)) == {"image", *(option.name for option in options)}


def test_wrong_values_are_refused_before_anything_runs(nodes: dict[str, Any]) -> None:
    node = nodes["DiffpriorInpaint"]
    assert "image: required input missing" in check(node, defaults(node))
    wrong = {"seed": -1, "samples": 0, "fill": "magic", "steps": "many", "mask": [node, 1]}
    found = check(node, defaults(node) | wrong)
    for name in wrong:
        assert any(c.startswith(f"{name}: ") for c in found), name
    assert not check(node, defaults(node) | {"image": [node, 0]})


def test_a_hole_is_filled_as_by_the_task(nodes: dict[str, Any], photo: torch.Tensor) -> None:
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 20:30, 10:25] = 1
    quick = {"fill": "smooth", "steps": 2}
    image, report = execute(nodes["DiffpriorInpaint"], image=photo, mask=mask, **quick)
    expected = diffprior.inpaint(photo.movedim(-1, 1), mask[:, None], **quick)
    assert image.shape == photo.shape and image.dtype == torch.float32 and not image.is_inference()
    assert torch.equal(image, expected.image.movedim(1, -1))
    assert torch.equal(image[mask == 0], photo[mask == 0])
    assert not torch.equal(image[mask == 1], photo[mask == 1])
    assert json.loads(report)["method"] == expected.report["method"]


def test_a_method_with_gradients_runs_in_inference_mode(
    nodes: dict[str, Any], photo: torch.Tensor
) -> None:
    """ComfyUI runs nodes where no gradient passes, and mmps needs some."""
    image, report = execute(nodes["DiffpriorDenoise"], image=photo, method="mmps", steps=2)
    assert json.loads(report)["method"].startswith("MMPS")
    assert image.isfinite().all()


def test_batches_and_samples_are_batches(nodes: dict[str, Any], photo: torch.Tensor) -> None:
    batch = torch.cat([photo, photo.flip(1)])
    image, _ = execute(nodes["DiffpriorDenoise"], image=batch, sigma="0.1", samples=2, steps=2)
    assert image.shape == (4, SIDE, SIDE, 3)
    near = [[float((row - one).abs().mean()) for one in batch] for row in image]
    assert [row.index(min(row)) for row in near] == [0, 0, 1, 1]
    large, _ = execute(nodes["DiffpriorUpscale"], image=photo, scale=2, steps=2)
    assert large.shape == (1, 2 * SIDE, 2 * SIDE, 3)


def test_a_second_image_is_a_link(nodes: dict[str, Any], photo: torch.Tensor) -> None:
    node = nodes["DiffpriorInterpolate"]
    assert node.INPUT_TYPES()["required"]["to"][0] == "IMAGE"
    image, _ = execute(node, image=photo, to=photo.flip(1), samples=2, steps=2)
    assert image.shape == (2, SIDE, SIDE, 3)


def test_errors_are_those_of_the_task(nodes: dict[str, Any], photo: torch.Tensor) -> None:
    with pytest.raises(TaskError, match="the mask hides the whole image"):
        execute(nodes["DiffpriorInpaint"], image=photo, mask=torch.ones(1, SIDE, SIDE))
    with pytest.raises(DiffpriorError, match="the mask is 64x64 but the image is 32x32"):
        execute(nodes["DiffpriorInpaint"], image=photo, mask=torch.zeros(1, 64, 64))


def test_progress_is_shown_and_cancel_stops(
    nodes: dict[str, Any], photo: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    class Cancelled(Exception):
        pass

    def stop() -> None:
        if len(shown) == 2:
            raise Cancelled

    comfy, utils, management = (
        types.ModuleType(f"comfy{name}") for name in ("", ".utils", ".model_management")
    )
    utils.ProgressBar = lambda total: types.SimpleNamespace(
        update_absolute=lambda value, total: shown.append(value)
    )
    management.throw_exception_if_processing_interrupted = stop
    for module in (comfy, utils, management):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(Cancelled):
        execute(nodes["DiffpriorDenoise"], image=photo, sigma="0.1", method="mmps", steps=4)
    assert len(shown) == 2 and 0 < shown[0] < shown[1] < 100
