"""The parameters that tasks share: their names, kinds, defaults and texts, in one place.

Signatures, docstrings and the options of the command line are made from these records. The module
imports nothing heavy: the kind of a parameter is text here, and ``runtime.signature`` turns it into
a type.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = [
    "EDITING",
    "FULL_PRECISION",
    "MASKS",
    "PARAMETERS",
    "RENAMED",
    "RESTORATION",
    "SOURCE",
    "FromFile",
    "Parameter",
]

# Names of the last release, which tasks accept for one release more.
RENAMED = {
    "control": "control_image",
    "grey": "gray",
    "guidance": "guidance_scale",
    "negative": "negative_prompt",
    "names": "ids",
    "precision": "dtype",
    "source_guidance": "source_guidance_scale",
    "tile": "tile_size",
    "watch": "callback",
}


@dataclass(frozen=True)
class FromFile:
    """Marks a parameter that is an image: an object in Python, a path at the command line.

    Attributes:
        help: What the image is, in one sentence.
        words: Words that may stand in the place of the image, such as "auto".
        is_mask: Whether it is a mask of the first image of the task: such a task has the parameters
            ``MASKS``, too.
        several: Whether it may be a list of images: at the command line the option is given several
            times, and a folder stands for all images in it.
    """

    help: str
    words: tuple[str, ...] = ()
    is_mask: bool = False
    several: bool = False


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A parameter that several tasks share.

    Attributes:
        name: Its name.
        kind: Its type, as text.
        default: Its default.
        help: What it is, its unit and its default, in one sentence: the help of an option.
        more: What the docstring adds to that.
        image: Whether it is an image, which the command line reads from a file.
        option: Whether the command line has an option for it.
        panel: The group of options that it is listed in.
    """

    name: str
    kind: str
    default: Any = None
    help: str
    more: str = ""
    image: bool = False
    option: bool = True
    panel: Literal["task", "prior", "run"] = "task"


SOLVE = (
    Parameter(
        name="method",
        kind="Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None",
        help='Method to solve with, as in "mmps(iterations=5)"; default: the task\'s own.',
        more="A text, a method object, its class, or a class with settings, as in "
        "``functools.partial(MMPS, iterations=5)``.",
    ),
)

MASKS = (  # of tasks with a mask
    Parameter(
        name="mask_color",
        kind="str | None",
        help="Color of the paint, where the mask is a copy of the image that is painted over, as "
        "in red or #ff00ff; without a mask the image itself is; default: a mask of black and "
        "white.",
    ),
    Parameter(
        name="invert_mask",
        kind="bool",
        default=False,
        help="Take the mask the other way round, black where white would be; default: no.",
    ),
)

RUN = (
    Parameter(
        name="steps",
        kind="int | None",
        help="Steps of the chain; default: as many as the method has.",
    ),
    Parameter(
        name="samples",
        kind="int",
        default=1,
        help="Number of results to draw; default 1.",
        more="One result is the best guess where the method has one; several are samples.",
    ),
    Parameter(
        name="seed",
        kind="int",
        default=0,
        help="Seed of the random numbers, from 0 on; default 0.",
        more="The same seed gives the same result.",
    ),
    Parameter(
        name="ids",
        kind="Sequence[int | str] | None",
        help="Names of the noise streams, one for each image; default: all images share one.",
        more="The noise of an image depends on ``seed`` and its id alone, not on its neighbors.",
        option=False,
    ),
    Parameter(
        name="callback",
        kind="Callback | None",
        help="Function that is called after each step with the states and the share of work done.",
        more="The share lies in (0, 1]. An exception that it raises ends the call.",
        option=False,
    ),
)

CONDITION = (
    Parameter(
        name="prompt",
        kind="str | None",
        help="Text that the result shows, for a text-to-image prior; default: no text.",
        panel="prior",
    ),
    Parameter(
        name="negative_prompt",
        kind="str | None",
        help="Text that the result moves away from; default: the empty text.",
        panel="prior",
    ),
    Parameter(
        name="label",
        kind="int | None",
        help="Class that the result shows, for a class-conditional prior; default: no class.",
        panel="prior",
    ),
    Parameter(
        name="guidance_scale",
        kind="float | None",
        help="Strength of the prompt or the label; 1 is the plain condition. "
        "Default: the model's own, or 7.5 for a prompt and 3 for a label.",
        more="w of ``diffprior.priors.guided``.",
        panel="prior",
    ),
)

SOURCE = (
    Parameter(
        name="source_prompt",
        kind="str | None",
        help="Text that the image shows before the edit, where the task inverts it; "
        "default: no text.",
        panel="prior",
    ),
    Parameter(
        name="source_label",
        kind="int | None",
        help="Class of the image before the edit, where the task inverts it; default: no class.",
        panel="prior",
    ),
    Parameter(
        name="source_guidance_scale",
        kind="float | None",
        help="Strength of the source prompt or label during inversion; default: 1, the plain "
        "condition, and 7.5 for null_text.",
        panel="prior",
    ),
)

PRIOR = (
    Parameter(
        name="prior",
        kind="Prior | str | Path | None",
        help="Prior to use: a shipped name, a folder, a file or a hub id; "
        "default: the shipped prior of photographs.",
        more="Or a prior object, which stays on its device unless ``device`` is given.",
    ),
    Parameter(
        name="tile_size",
        kind="int | str | None",
        default="auto",
        help="Side of the windows that a large image is worked on in, in pixels, from 128 on, or "
        "auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.",
    ),
    Parameter(
        name="device",
        kind="str | torch.device | None",
        help="Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU "
        "where there is one.",
    ),
    Parameter(
        name="dtype",
        kind="str | torch.dtype",
        default="auto",
        help="Number format of the network: auto, float32, bfloat16 or float16; "
        "default: auto, half precision where the device computes in it.",
    ),
    Parameter(
        name="backend",
        kind="str | None",
        help="What computes the network: torch; or openvino, which is faster on a CPU with "
        "bfloat16 and needs the extra openvino; default: torch.",
        more="A prior object keeps its own by default.",
    ),
    Parameter(
        name="lora",
        kind="str | Path | None",
        help="LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.",
        panel="prior",
    ),
    Parameter(
        name="lora_scale",
        kind="float | None",
        help="Strength of the LoRA weights; default 1.",
        panel="prior",
    ),
    Parameter(
        name="controlnet",
        kind="str | Path | None",
        help="ControlNet for a text-to-image prior: a folder or a hub id; default: none.",
        panel="prior",
    ),
    Parameter(
        name="control_image",
        kind="Any",
        help="Image that the ControlNet follows, such as edges or depths, of the size of the "
        "result; default: none.",
        image=True,
        panel="prior",
    ),
    Parameter(
        name="offload",
        kind="bool",
        default=False,
        help="Keep in GPU memory only the network at work, and the others in main memory; "
        "default: keep all.",
        panel="prior",
    ),
)

PARAMETERS = {p.name: p for p in (*SOLVE, *MASKS, *RUN, *CONDITION, *SOURCE, *PRIOR)}
EDITING = tuple(  # in the order of signatures
    PARAMETERS[name]
    for name in (
        "prior",
        "steps",
        "samples",
        "seed",
        "prompt",
        "negative_prompt",
        "label",
        "guidance_scale",
        "lora",
        "lora_scale",
        "controlnet",
        "control_image",
        "offload",
        "tile_size",
        "device",
        "dtype",
        "backend",
        "ids",
        "callback",
    )
)
FULL_PRECISION = replace(  # of tasks that go up to a code and down again
    PARAMETERS["dtype"],
    default="float32",
    help="Number format of the network: auto, float32, bfloat16 or float16; default: float32, "
    "so that inversion and reconstruction meet.",
)
RESTORATION = (EDITING[0], *SOLVE, *EDITING[1:])
