"""Nodes of ComfyUI, one for each task, made from the signatures of the tasks.

A node takes an IMAGE ``(B, H, W, C)`` in [0, 1] and gives one, all samples of the first image
first. A MASK ``(B, H, W)`` is 1 where to fill. What a node shows is read from the index alone, so
that ComfyUI starts as fast as without it.
"""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from ...server.forms import Field, Form
from ..offered import given, offered, settings

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "TaskNode"]

LARGEST = 2**53 - 1  # the largest whole number that a web page counts to
DEFAULT = "default"  # in a list of choices
EMPTY = {"int": -1, "float": -1.0, "text": "", "choice": DEFAULT}  # what stands for "not set"
TYPES = {"flag": "BOOLEAN", "int": "INT", "float": "FLOAT", "text": "STRING"}
LONG = ("prompt", "negative_prompt", "source_prompt")
LINKS = {"image": "IMAGE", "mask": "MASK"}


class TaskNode:
    """A node of one task; the nodes are subclasses that set ``form``."""

    form: ClassVar[Form]

    CATEGORY = "diffprior"
    FUNCTION = "run"
    RETURN_TYPES = ("IMAGE", "STRING")
    RETURN_NAMES = ("image", "report")
    OUTPUT_TOOLTIPS = ("The result; several samples are a batch.", "How it was made, as JSON.")

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802 (the name that ComfyUI asks)
        """Return the inputs of the node as ComfyUI describes them."""
        fields = settings(cls.form)
        required = {f.name: _input(f) for f in fields if f.required}
        optional = {f.name: _input(f) for f in fields if not f.required}
        return {"required": {"image": ("IMAGE",), **required}, "optional": optional}

    def run(self, image: Any, **values: Any) -> tuple[Any, str]:
        """Run the task; return the samples ``(B * n, H, W, 3)`` and the report."""
        import torch
        from torch import inference_mode  # which ComfyUI runs nodes in, and no gradient passes

        from ...runtime.report import as_json

        fields = {field.name: field for field in settings(self.form)}
        with inference_mode(False), torch.enable_grad():
            links = {name: _tensor(v, fields[name].kind) for name, v in values.items()}
            result = self.form.command.load()(
                _tensor(image, "image"),
                **given(self.form, links, EMPTY),
                callback=_callback(),
            )
            samples = torch.stack(result.samples, 1).flatten(0, 1)
            return samples.movedim(1, -1).float().cpu(), as_json(dict(result.report))


def _input(field: Field) -> tuple[Any, ...]:
    """Return the entry of one input: its type, and how its control looks."""
    control: dict[str, Any] = {"tooltip": field.help}
    if field.kind in LINKS:
        return LINKS[field.kind], control
    unset = field.default is None and not field.required
    if not field.required:
        control["default"] = EMPTY[field.kind] if unset else field.default
    if unset and field.kind in ("int", "float"):
        control["tooltip"] += f" Here {EMPTY[field.kind]:g} stands for the default."
    if field.kind == "choice":
        choices = [*([DEFAULT] if unset else []), *(field.choices or ())]
        return choices, control
    if field.kind in ("int", "float"):
        low = field.minimum if field.minimum is not None else 0
        control["min"] = EMPTY[field.kind] if unset else low
        control["max"] = field.maximum if field.maximum is not None else LARGEST
    if field.kind == "float":
        control["step"] = 0.01
    if field.kind == "text":
        control |= {"multiline": field.name in LONG}
        control["default"] = str(control.get("default", ""))
    if field.name == "seed":
        control["control_after_generate"] = True
    return TYPES[field.kind], control


def _tensor(value: Any, kind: str) -> Any:
    """Return an image ``(B, C, H, W)`` or a mask ``(B, 1, H, W)`` of a link; all else as it is."""
    if kind not in LINKS or value is None:
        return value
    plain = value.detach().clone().float().clamp(0, 1)  # of others, and off by rounding
    if kind == "image":
        return plain.movedim(-1, 1).contiguous()
    return plain.reshape(-1, 1, *plain.shape[-2:])


def _callback() -> Callable[[Any, float], None] | None:
    """Return what shows the progress of a node in ComfyUI, and stops where a person cancels."""
    try:
        from comfy.model_management import throw_exception_if_processing_interrupted as check
        from comfy.utils import ProgressBar
    except ImportError:  # outside of ComfyUI
        return None
    bar = ProgressBar(100)

    def show(x: Any, share: float) -> None:
        check()
        bar.update_absolute(round(100 * share), 100)

    return show


def _nodes() -> Mapping[str, type[TaskNode]]:
    """Return the class of each node by its key, which saved workflows hold."""
    nodes = {}
    for name, form in offered().items():
        key = f"Diffprior{name.title().replace('_', '')}"
        description = {"form": form, "DESCRIPTION": form.command.help, "__doc__": form.title}
        nodes[key] = type(key, (TaskNode,), description)
    return nodes


NODE_CLASS_MAPPINGS = _nodes()
NODE_DISPLAY_NAME_MAPPINGS = {
    key: f"{node.form.title} (diffprior)" for key, node in NODE_CLASS_MAPPINGS.items()
}
