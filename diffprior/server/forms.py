"""What each task can be asked for, read from the index of the command line, for forms and checks.

The index says names, kinds, defaults and help. What a form needs beside that, and no signature
says, stands in the tables of this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from ..cli import index, specs

__all__ = ["FILES", "PRIVATE", "Field", "Form", "forms"]

Kind = Literal["flag", "int", "float", "text", "choice", "image", "mask"]

# Settings that name files, or the machine: they are the server's.
PRIVATE = ("prior", "device", "dtype", "backend", "lora", "lora_scale", "controlnet", "offload")
# Texts in whose place a file can stand, which is sent then and never named.
FILES = {("deblur", "kernel"), ("restore", "blur"), ("edit", "inversion")}
MASKS = ("mask", "scratches")
TABS = {
    "inpaint": "Remove / fill",
    "denoise": "Clean",
    "upscale": "Enlarge",
    "deblur": "Sharpen",
    "colorize": "Color",
    "dejpeg": "JPEG",
    "restore": "Restore",
    "sdedit": "Redraw",
    "blend": "Redraw",
}
TITLES = {
    "inpaint": "Fill what a mask hides",
    "denoise": "Remove noise",
    "upscale": "Enlarge",
    "deblur": "Undo a blur",
    "colorize": "Color a gray image",
    "dejpeg": "Remove JPEG artifacts",
    "restore": "Mend an old photograph",
    "sdedit": "Redraw from a noised copy",
    "blend": "Redraw a region from noise",
}
COMMON = {
    "inpaint": ("mask", "fill", "samples"),
    "denoise": ("sigma",),
    "upscale": ("scale",),
    "deblur": ("kernel", "blind"),
    "colorize": ("mask", "scribble"),
    "dejpeg": ("quality",),
    "restore": ("scratches", "blur", "gray"),
    "sdedit": ("mask", "strength", "prompt"),
    "blend": ("mask", "strength", "prompt"),
}
BOUNDARIES = ("free", "reflect", "circular", "zero")
CHOICES: Mapping[tuple[str, str], Sequence[str]] = {
    ("inpaint", "fill"): ("auto", "smooth", "texture", "structure"),
    ("deblur", "boundary"): BOUNDARIES,
    ("restore", "boundary"): BOUNDARIES,
    ("upscale", "kernel"): ("bicubic", "average"),
    ("dejpeg", "subsampling"): ("4:2:0", "4:2:2", "4:4:4", "4:4:0", "4:1:1"),
}
RANGES: Mapping[str, tuple[float | None, float | None]] = {
    "dilate": (0, None),
    "factor": (1, None),
    "feather": (0, None),
    "height": (16, None),
    "hint": (0, 1),
    "label": (0, None),
    "quality": (1, 100),
    "repeats": (1, None),
    "samples": (1, 10_000),
    "scale": (2, None),
    "seed": (0, None),
    "size": (3, None),
    "source_label": (0, None),
    "steps": (1, 100_000),
    "strength": (0, 1),
    "tile_size": (128, None),
    "width": (16, None),
}
LABELS = {
    "fill": "How it is filled",
    "fit_mask": "Resize the mask to the image",
    "guidance_scale": "Strength of the prompt",
    "invert_mask": "Take the mask the other way round",
    "kernel": "Blur",
    "mask_color": "Color of the paint in the mask",
    "samples": "Number of results",
    "sigma": "Noise level",
    "tile_size": "Side of the windows",
}
MORE = "More settings"


@dataclass(frozen=True, kw_only=True)
class Field:
    """A setting of a task.

    Attributes:
        name: The parameter of the task.
        label: A few words for a form.
        kind: What it is.
        required: Whether it must be given.
        default: Its value where it is not given.
        help: One sentence.
        group: The heading that it stands under.
        common: Whether a form shows it at once.
        choices: The values of a choice.
        minimum, maximum: The range of a number; None for none.
        file: Whether a file can stand in its place.
    """

    name: str
    label: str
    kind: Kind
    required: bool
    default: bool | int | float | str | None
    help: str
    group: str
    common: bool
    choices: Sequence[str] | None = None
    minimum: float | None = None
    maximum: float | None = None
    file: bool = False

    @property
    def bounds(self) -> dict[str, Any]:
        """What a JSON schema says of its values beyond their type: default, choices and range."""
        words = {
            "default": self.default,
            "enum": list(self.choices) if self.choices else None,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        return {word: value for word, value in words.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Form:
    """A task and its settings.

    Attributes:
        command: Its entry in the index.
        tab: The tab of the page that it stands on; None for none.
        title: A few words.
        fields: Its settings.
    """

    command: specs.Command
    tab: str | None
    title: str
    fields: tuple[Field, ...]

    @property
    def name(self) -> str:
        """The name of its command."""
        return self.command.name

    @property
    def input(self) -> Literal["image", "numbers"] | None:
        """What it works on."""
        kind = self.command.inputs
        return "image" if kind == "images" else kind

    def field(self, name: str) -> Field | None:
        """Return a setting, None if there is none of this name."""
        return next((field for field in self.fields if field.name == name), None)


@cache
def forms() -> Mapping[str, Form]:
    """Return the forms of all tasks by name, those of the tabs first, in their order."""
    known = {name: c for name, c in index.commands().items() if c.options is not None}
    order = [name for name in TABS if name in known]
    return {name: _form(known[name]) for name in [*order, *sorted(known.keys() - TABS.keys())]}


def _form(command: specs.Command) -> Form:
    fields = [_field(command.name, o) for o in command.options or () if o.name not in PRIVATE]
    shown = COMMON.get(command.name, ())
    fields.sort(key=lambda field: shown.index(field.name) if field.common else len(shown))
    return Form(
        command=command,
        tab=TABS.get(command.name),
        title=TITLES.get(command.name, command.name.replace("_", " ").capitalize()),
        fields=tuple(fields),
    )


def _field(task: str, option: specs.Option) -> Field:
    low, high = RANGES.get(option.name, (None, None))
    choices = CHOICES.get((task, option.name))
    kind: Kind = "image" if option.kind == "path" else option.kind
    if option.kind == "path" and option.name in MASKS:
        kind = "mask"
    common = option.name in COMMON.get(task, ())
    return Field(
        name=option.name,
        label=LABELS.get(option.name, option.name.replace("_", " ").capitalize()),
        kind="choice" if choices else kind,
        required=option.required,
        default=option.default,
        help=option.help,
        group="" if common else option.panel or MORE,
        common=common,
        choices=choices,
        minimum=low,
        maximum=high,
        file=(task, option.name) in FILES,
    )
