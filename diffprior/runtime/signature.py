"""The public function of a task: its own parameters and the shared ones in one signature."""

import difflib
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args, get_origin

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..batching import Callback
from ..io.arrays import Images
from ..methods.base import Method
from ..priors.base import Prior
from ..validation import renamed
from .masks import given_mask
from .parameters import MASKS, RENAMED, FromFile, Parameter
from .results import Result
from .settings import Settings
from .task import Task

__all__ = ["ImageLike", "TaskFunction", "keywords", "public_function"]

ImageLike = Image.Image | np.ndarray[Any, Any] | Tensor | Images
NAMES: dict[str, Any] = {  # what the kinds of shared parameters are made of
    "Any": Any,
    "Callable": Callable,
    "Callback": Callback,
    "Method": Method,
    "Path": Path,
    "Prior": Prior,
    "Sequence": Sequence,
    "torch": torch,
}
IMAGE = (
    "PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or floats "
    "in [0, 1]. A tensor may hold a batch."
)
ENDING = """
Returns:
    A ``Result``; its images are of the kind of the one that came in.

Raises:
    ImageError: If an image or a mask cannot be used.
    SettingError: If a setting cannot be used.
    TaskError: If the task cannot be done on these images.
    TypeError: If there is no such parameter.
"""
WIDTH = 96  # columns of a docstring
ELSEWHERE = {  # what other libraries call a parameter
    "callback_on_step_end": "callback",
    "cfg_scale": "guidance_scale",
    "generator": "seed",
    "init_image": "image",
    "mask_image": "mask",
    "noise_level": "sigma",
    "num_images_per_prompt": "samples",
    "num_inference_steps": "steps",
    "num_samples": "samples",
    "num_steps": "steps",
    "physics": "operator",
    "random_state": "seed",
    "sigma_y": "sigma",
}


class TaskFunction(Protocol):
    """The function of a task, with its record."""

    __name__: str
    __module__: str
    __doc__: str | None
    task: Task

    def __call__(self, *args: Any, **settings: Any) -> Result[Any]:
        """Run the task."""
        ...


Run = Callable[[Mapping[str, Any], Settings], Result[Any]]


def public_function(
    function: Callable[..., Any],
    task: Task,
    shared: Sequence[Parameter],
    run: Run,
) -> TaskFunction:
    """Return the function that a user calls.

    A shared parameter that the function names itself is passed to it, too, and has the help and
    the default of the function.

    Arguments:
        function: What an author wrote, with the task's own parameters alone.
        task: Its record.
        shared: The parameters that are added.
        run: Does the work, from the values of the function's own parameters and the settings.
    """
    own = inspect.signature(function)
    mask = _mask_of(own)
    added = MASKS if mask else ()
    signature = _signature(own, (*added, *shared))
    names = [p.name for p in shared]
    renames = {old: new for old, new in RENAMED.items() if new in signature.parameters}

    @renamed(**renames)
    @functools.wraps(function)
    def call(*args: Any, **settings: Any) -> Result[Any]:
        _check_names(task.name, settings, signature)
        try:
            bound = signature.bind(*args, **settings)
        except TypeError as error:
            raise TypeError(f"{task.name}() got wrong arguments: {error}") from None
        bound.apply_defaults()
        values = bound.arguments
        if mask:
            said = {p.name: values[p.name] for p in added}
            values[mask] = given_mask(values[mask], next(iter(values.values())), **said)
        return run(
            {name: values[name] for name in own.parameters},
            Settings(**{name: values[name] for name in names}),
        )

    public: Any = call
    public.__signature__ = _plain(signature)
    public.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    public.__annotations__["return"] = signature.return_annotation
    public.__doc__ = _docstring(function.__doc__ or "", signature, (*added, *shared))
    public.task = task
    public.__wrapped__ = function
    typed: TaskFunction = public
    return typed


def keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the words that may stand in the place of an image of a function."""
    notes = _from_files(inspect.signature(function))
    return tuple(word for note in notes.values() for word in note.words)


def _mask_of(signature: inspect.Signature) -> str | None:
    """Return the name of the parameter that is the mask, None where there is none."""
    notes = _from_files(signature)
    return next((name for name, note in notes.items() if note.is_mask), None)


def _from_files(signature: inspect.Signature) -> dict[str, FromFile]:
    """Return the notes of the parameters that are images, by their names."""
    return {
        name: note
        for name, parameter in signature.parameters.items()
        for note in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(note, FromFile)
    }


def _signature(own: inspect.Signature, shared: Sequence[Parameter]) -> inspect.Signature:
    """Return the function's own parameters, then the shared ones, by keyword alone."""
    parameters = list(own.parameters.values())
    for i, parameter in enumerate(parameters):
        if get_origin(parameter.annotation) is not Annotated and parameter.annotation is Images:
            parameters[i] = parameter.replace(annotation=ImageLike)
    for p in shared:
        if p.name not in own.parameters:
            kind = inspect.Parameter.KEYWORD_ONLY
            annotation = _annotation(p)
            parameters.append(
                inspect.Parameter(p.name, kind, default=p.default, annotation=annotation)
            )
    return inspect.Signature(parameters, return_annotation=Result)


def _plain(signature: inspect.Signature) -> inspect.Signature:
    """Return the signature with the types alone, for ``help``; annotations keep the help texts."""
    parameters = [
        p.replace(annotation=get_args(p.annotation)[0])
        if get_origin(p.annotation) is Annotated
        else p
        for p in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)


def _annotation(p: Parameter) -> Any:
    kind = eval(p.kind, dict(NAMES))
    if not p.option:
        return kind
    return Annotated[kind, FromFile(p.help) if p.image else p.help]


def _check_names(task: str, settings: Mapping[str, Any], signature: inspect.Signature) -> None:
    """Refuse a keyword that there is not, and name the nearest that there is."""
    for name in settings:
        if name not in signature.parameters:
            near = [ELSEWHERE[name]] if ELSEWHERE.get(name) in signature.parameters else []
            near = near or difflib.get_close_matches(name, signature.parameters, 1, 0.6)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"{task}() got an unexpected keyword argument {name!r}{advice}")


def _docstring(text: str, signature: inspect.Signature, shared: Sequence[Parameter]) -> str:
    """Return a docstring with an entry for each parameter."""
    summary, _, section = inspect.cleandoc(text).partition("\nArguments:\n")
    written = dict(_entries(section))
    by_name = {p.name: p for p in shared}
    lines = [summary.rstrip(), "", "Arguments:"]
    for name, parameter in signature.parameters.items():
        entry = _help(parameter, by_name.get(name), written.pop(name, ""))
        lines += textwrap.wrap(
            f"{name}: {entry}", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8
        )
    assert not written, f"the docstring explains {', '.join(written)}, which are no parameters"
    return "\n".join(lines) + "\n" + ENDING


def _entries(section: str) -> Iterator[tuple[str, str]]:
    """Yield the names and the texts of the entries of a section of a docstring."""
    for match in re.finditer(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE):
        yield match[1], " ".join(match[2].split())


def _help(parameter: inspect.Parameter, shared: Parameter | None, written: str) -> str:
    """Return the text of a parameter: its help, then what there is to add."""
    help = shared.help if shared is not None else ""
    if get_origin(parameter.annotation) is Annotated:
        note = get_args(parameter.annotation)[1]
        help = note.help if isinstance(note, FromFile) else note
    if parameter.annotation is ImageLike:
        help = IMAGE
    more = shared.more if shared is not None else ""
    return " ".join(part for part in (help, written, more) if part)
