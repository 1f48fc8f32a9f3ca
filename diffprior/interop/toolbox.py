"""The tools of an assistant: tasks on files of one folder, each described by a JSON schema.

Names of files are resolved, links and all, and refused where they lead out of the folder. No file
is overwritten.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from PIL import Image

from ..batching import Callback
from ..cli import work
from ..cli.masks import read_setting
from ..cli.outputs import Options, Targets, check_place, plan_outputs
from ..errors import ImageError, SettingError
from ..io import animations, files
from ..io.previews import preview
from ..runtime.task import Task
from ..server.finders import FINDERS, Finder
from ..server.forms import Field, Form, forms
from ..server.limits import Refusal
from ..server.notes import collected
from ..server.orders import SAMPLES, check_text
from ..validation import literal, shown

__all__ = ["Answer", "Tool", "Toolbox"]

SIDE = 512  # px; the longest of a preview
TYPES = {"flag": "boolean", "int": "integer", "float": "number", "text": "string"}
TYPES |= {"choice": "string", "image": "string", "mask": "string"}
FILES = ("image", "mask")  # kinds of settings that are files
WORDS = ("sigma",)  # numbers that may be a word, such as auto
OUTPUT = {
    "type": "string",
    "description": "File to write, or a folder/; default: beside the input, as in "
    "photo.inpainted.png. An existing file is never overwritten.",
}
UNCERTAINTY = {
    "type": "boolean",
    "default": False,
    "description": "Also write a map of the standard deviation of the samples; "
    f"draws {SAMPLES} samples if samples is not given.",
}
LARGEST_MASK = 255  # white: where to fill


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a tool did.

    Attributes:
        outputs: The files that it wrote, as names in the folder.
        line: What it did, in one line.
        report: How it was done.
        warnings: What there is to say of it, a sentence each.
        picture: A small copy of the result.
    """

    outputs: Sequence[str]
    line: str
    report: Mapping[str, Any]
    warnings: Sequence[str]
    picture: Image.Image


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool, and what it is called with.

    Attributes:
        name: Its name, as in ``inpaint`` or ``mask_scratches``.
        title: A few words.
        description: What it does.
        schema: The JSON schema of its arguments.
        run: Runs it on checked arguments; the callback hears the share of work done.
    """

    name: str
    title: str
    description: str
    schema: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], Callback], Answer]


@dataclass(frozen=True, kw_only=True)
class Toolbox:
    """The tools for the files of a folder.

    Arguments:
        root: The folder, resolved.
        machine: Settings of all tasks that an assistant does not choose: prior, device, backend.
        limit: The most pixels of an image that is read.
    """

    root: Path
    machine: Mapping[str, Any] = field(default_factory=dict)
    limit: int = files.LIMIT

    @cached_property
    def tools(self) -> Mapping[str, Tool]:
        """The tools by their names."""
        tasks = [self._task(form) for form in forms().values()]
        finders = [self._finder(name, finder) for name, finder in FINDERS.items()]
        return {tool.name: tool for tool in (*tasks, *finders)}

    def call(self, name: str, arguments: Mapping[str, Any], callback: Callback) -> Answer:
        """Run a tool.

        Raises:
            SettingError: If there is no such tool, or it does not take these arguments.
            Exception: Whatever the task raises.
        """
        if name not in self.tools:
            raise SettingError(f"there is no tool {literal(name)}")
        tool = self.tools[name]
        _check(arguments, tool.schema)
        return tool.run(arguments, callback)

    def inside(self, name: str, what: str) -> Path:
        """Return the path of a file in the folder, all links followed.

        Raises:
            SettingError: If it lies outside of the folder.
        """
        try:
            path = (self.root / name).resolve()
        except (OSError, RuntimeError, ValueError) as error:
            raise SettingError(f"{what} {shown(name)} is no name of a file: {error}") from error
        if not path.is_relative_to(self.root):
            raise SettingError(
                f"{what} {shown(name)} is outside of the folder {shown(self.root)}; "
                "name a file inside it"
            )
        return path

    def file(self, name: str, what: str) -> Path:
        """Return the path of a file that is in the folder.

        Raises:
            SettingError: If it lies outside of the folder.
            ImageError: If there is no such file.
        """
        path = self.inside(name, what)
        if not path.is_file():
            raise ImageError(f"{what} {shown(name)} is no file in the folder")
        return path

    # Tasks

    def _task(self, form: Form) -> Tool:
        return Tool(
            name=form.name,
            title=form.title,
            description=form.command.help,
            schema=_schema(form),
            run=lambda arguments, callback: self._run_task(form, arguments, callback),
        )

    def _run_task(self, form: Form, arguments: Mapping[str, Any], callback: Callback) -> Answer:
        function = form.command.load()
        task: Task = function.task
        source = self.file(arguments["image"], "image") if form.input else None
        given = self._settings(form, task, arguments)
        uncertainty = bool(arguments.get("uncertainty"))
        if uncertainty:
            given.setdefault("samples", SAMPLES)
        drawn = form.field("samples")
        samples = int(given.get("samples", drawn.default if drawn else None) or 1)
        known = _suffixes(task)
        word = f"{task.past}{known[0]}"
        targets = self._targets(source, word, known, samples, arguments, uncertainty)
        with collected() as warnings:
            file = None if source is None else work.read(task, source, self.limit)
            work.check_depth(file, targets)
            values = {k: self._opened(v) for k, v in given.items()}
            machine = {k: v for k, v in self.machine.items() if v is not None}
            result = work.call(function, file, {**machine, **values}, callback)
            for key, path in targets.items():
                files.write(work.data(key, result, file, path.suffix.lower(), False), path)
        values, alpha = result.image if isinstance(result.image, tuple) else (result.image, None)
        return Answer(
            outputs=self._names(targets),
            line=result.line,
            report=dict(result.report),
            warnings=warnings,
            picture=preview(np.asarray(values)[0] if alpha is None else values[0], SIDE),
        )

    def _settings(self, form: Form, task: Task, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that were given; those that are images as paths."""
        given = {}
        for each in form.fields:
            value = arguments.get(each.name)
            if value is None:
                continue
            if each.kind in FILES:
                given[each.name] = self._paths(value, each.name, task)
            else:
                is_text = isinstance(value, str)
                given[each.name] = self._text(form, each, value) if is_text else value
        return given

    def _paths(self, value: Any, name: str, task: Task) -> Any:
        """Return the path of an image, of a list those of all; a word of the task as it is."""
        if isinstance(value, list):
            return [self.file(each, name) for each in value]
        return value if value in task.keywords else self.file(value, name)

    def _opened(self, value: Any) -> Any:
        """Return a setting; images are read from their paths."""
        if isinstance(value, list):
            return [self._opened(each) for each in value]
        return read_setting(value, self.limit) if isinstance(value, Path) else value

    def _text(self, form: Form, each: Field, value: str) -> str:
        """Return a text; where it may be the name of a file, that of one in the folder."""
        if each.file and (path := self.inside(value, each.name)).is_file():
            return str(path)
        try:
            check_text(form, each, value)
        except Refusal as refusal:
            raise SettingError(refusal.sentence) from refusal
        return value

    # Masks

    def _finder(self, name: str, finder: Finder) -> Tool:
        settings = {
            key: {**schema, **({"description": NAMES[key]} if key in NAMES else {})}
            for key, schema in finder.schema["properties"].items()
        }
        return Tool(
            name=f"mask_{name}",
            title=f"First mask: {name}",
            description=f"{finder.help} Writes a mask for inpaint, white where to fill; look at it "
            "before it is used.",
            schema={**finder.schema, "properties": {**settings, "output": OUTPUT}},
            run=lambda arguments, callback: self._run_finder(name, arguments),
        )

    def _run_finder(self, name: str, arguments: Mapping[str, Any]) -> Answer:
        from .. import masks  # takes long to import

        source = self.file(arguments["image"], "image")
        targets = self._targets(source, "mask.png", (".png",), 1, arguments, False)
        paths = {k: self.file(arguments[k], k) for k in ("other",) if k in arguments}
        plain = {k: v for k, v in arguments.items() if k not in (*paths, "image", "output")}
        with collected() as warnings:
            images = files.read(source, self.limit).images
            others = {k: files.read(path, self.limit).images for k, path in paths.items()}
            found = np.asarray(getattr(masks, name)(images, **plain, **others))
        pixels = LARGEST_MASK * found[..., None].astype(np.uint8)
        for path in targets.values():
            files.write(files.encode(pixels, None, ".png"), path)
        share = float(found.mean())
        line = f"{share:.2%} is marked" if share else "nothing was found, and the mask is black"
        return Answer(
            outputs=self._names(targets),
            line=line,
            report={"share": share},
            warnings=warnings,
            picture=preview(pixels, SIDE),
        )

    # Files

    def _targets(
        self,
        source: Path | None,
        word: str,
        known: Sequence[str],
        samples: int,
        arguments: Mapping[str, Any],
        uncertainty: bool,
    ) -> Mapping[str | int, Path]:
        """Return the files to write, none of which is there yet.

        Raises:
            SettingError: If one lies outside of the folder.
            ImageError: If one is there, or cannot be written.
        """
        output = f"{self.root}{os.sep}" if source is None else None
        if "output" in arguments:
            name = arguments["output"]
            ending = "/" if name.endswith("/") else ""
            output = f"{self.inside(name, 'output')}{ending}"
        options = Options(output=output, uncertainty=uncertainty)
        plan = plan_outputs([source], word, known, samples, options)
        targets: Targets = plan.targets[source]
        check_place(targets)
        checked = {}
        for key, path in targets.items():
            assert path is not None, "standard output is the protocol's"
            self.inside(str(path), "output")
            if os.path.lexists(path):
                raise ImageError(f"{shown(self._name(path))} exists; give another name as output")
            checked[key] = path
        return checked

    def _names(self, targets: Mapping[str | int, Path]) -> list[str]:
        return [self._name(path) for path in targets.values()]

    def _name(self, path: Path) -> str:
        """Return the name of a file in the folder."""
        return path.relative_to(self.root).as_posix()


NAMES = {
    "image": "Image file in the folder.",
    "other": "Another file of the same image, of which parts differ.",
}


def _suffixes(task: Task) -> Sequence[str]:
    """Return how files of results may end; the first one is the default."""
    if task.suffix is not None:
        return (task.suffix,)
    return (*files.SUFFIXES, *animations.SUFFIXES) if task.animated else files.SUFFIXES


def _schema(form: Form) -> Mapping[str, Any]:
    """Return the JSON schema of the arguments of a task."""
    what = "Image file" if form.input == "image" else "File of numbers (.npy)"
    first = {"image": {"type": "string", "description": f"{what} in the folder."}}
    lists = {option.name for option in form.command.options or () if option.several}
    properties = {each.name: _property(each, each.name in lists) for each in form.fields}
    extra = {"uncertainty": UNCERTAINTY} if form.field("samples") else {}
    required = [each.name for each in form.fields if each.required]
    return {
        "type": "object",
        "properties": {**(first if form.input else {}), **properties, **extra, "output": OUTPUT},
        "required": [*(first if form.input else ()), *required],
        "additionalProperties": False,
    }


def _property(each: Field, several: bool) -> Mapping[str, Any]:
    """Return the JSON schema of one setting; of several images a list is taken, too."""
    kind: Any = TYPES[each.kind]
    schema: dict[str, Any] = {"type": kind, "description": each.help}
    if each.name in WORDS:
        schema["type"] = sorted({"number", kind})
    if each.kind in FILES:
        schema["description"] = f"File in the folder. {each.help}"
    if several:
        schema |= {"type": ["string", "array"], "items": {"type": "string"}, "minItems": 1}
    return schema | each.bounds


def _check(arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check arguments against a schema.

    Raises:
        SettingError: If they do not fit.
    """
    validator = jsonschema.Draft202012Validator(schema)
    error = jsonschema.exceptions.best_match(validator.iter_errors(dict(arguments)))
    if error is not None:
        where = ".".join(map(str, error.absolute_path))
        raise SettingError(shown(f"{where}: {error.message}" if where else error.message, 250))
