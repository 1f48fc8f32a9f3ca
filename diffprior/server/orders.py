"""From the fields of a form to an order: each is read, checked, and none of them names a file."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile

from .. import catalog
from ..io import animations, files
from ..operators.generators.kernels import MAKERS
from ..runtime.settings import check_counts
from ..validation import literal, nearest, shown
from .forms import PRIVATE, Field, Form
from .jobs import Order
from .limits import Limits, Refusal
from .store import Image, Store, Upload

__all__ = ["EXTRA", "SAMPLES", "check_text", "flag", "orders_of", "suffix_of"]

SAMPLES = 8  # that `uncertainty` draws if the number is not given
EXTRA = ("image", "wait", "format", "uncertainty")  # fields that are no settings of a task
FORMATS = {"jpg": ".jpg", "jpeg": ".jpg", "tif": ".tif", "tiff": ".tif"}
FLAGS = {"true": True, "1": True, "on": True, "yes": True}
FLAGS |= {"false": False, "0": False, "off": False, "no": False}
LONGEST = 4000  # characters of a text
BUILT = {"method": "methods", "sampler": "samplers", "operator": "operators"}
BUILT |= {"inversion": "inversions", "attention": "attention"}  # texts that build something


def orders_of(form: Form, fields: FormData, store: Store, limits: Limits) -> list[Order]:
    """Return the orders of a request: one for each image.

    Raises:
        Refusal: If a field is missing, unknown or wrong; its files are removed then.
    """
    sent: list[Upload] = []
    try:
        return _orders(form, fields, _Files(store, sent), limits)
    except BaseException:
        for upload in sent:
            store.discard(upload)
        raise


@dataclass(frozen=True)
class _Files:
    """The files of a request.

    Attributes:
        store: The files of the server.
        sent: Those that came with the request.
    """

    store: Store
    sent: list[Upload]

    def image(self, value: Any, name: str) -> Image:
        """Return an image: one of the list by its id, or a file that was sent."""
        if not isinstance(value, UploadFile):
            return self.store.get(value)
        image = self.store.read(value.file, value.filename or name)
        self.sent.append(image)
        return image

    def other(self, value: UploadFile, name: str) -> Upload:
        """Return a file that was sent and is no image, as far as is known."""
        upload = self.store.receive(value.file, value.filename or name)
        self.sent.append(upload)
        return upload


def _orders(form: Form, fields: FormData, sent: _Files, limits: Limits) -> list[Order]:
    _check_names(form, fields)
    suffix = suffix_of(form, _text(fields, "format"))
    sources = [_source(form, value, sent) for value in fields.getlist("image") if value != ""]
    if form.input is None and sources:
        raise Refusal(422, f"{form.name} reads no image; leave image out")
    if form.input is not None and not sources:
        raise Refusal(422, f"image is missing: {_what(form)}")
    if len(sources) > limits.jobs:
        raise Refusal(413, f"a request has {limits.jobs} images at most, got {len(sources)}")
    given = {}
    for field in form.fields:
        raw = [value for value in fields.getlist(field.name) if value != ""]
        if len(raw) > 1:
            raise Refusal(422, f"{field.name} is given {len(raw)} times; give it once")
        if raw:
            given[field.name] = _value(form, field, raw[0], sent)
        elif field.required:
            raise Refusal(422, f"{field.name} is missing: {field.help}")
    if flag(fields, "uncertainty") and form.field("samples") and given.get("samples", 1) == 1:
        given["samples"] = SAMPLES
    values = {field.name: given.get(field.name, field.default) for field in form.fields}
    _check_counts(values)
    made: Sequence[Upload | None] = sources or [None]
    return [
        Order(
            form=form,
            source=source,
            listed=source is not None and source not in sent.sent,
            values=values,
            given=given,
            suffix=suffix,
        )
        for source in made
    ]


def flag(fields: FormData, name: str) -> bool:
    """Return a field that is true or false, false by default."""
    text = _text(fields, name)
    return False if text is None else _flag(name, text)


def _check_names(form: Form, fields: FormData) -> None:
    """Refuse fields that there are not, and settings that are the server's."""
    for name in fields:
        if name in PRIVATE:
            raise Refusal(
                400, f"{name} is a setting of the server, not of a request; see diffprior serve -h"
            )
        if name not in EXTRA and form.field(name) is None:
            known = [*EXTRA, *(field.name for field in form.fields)]
            raise Refusal(
                422, f"{form.name} has no field {literal(name, 40)}; {nearest(name, known)}"
            )


def _text(fields: FormData, name: str) -> str | None:
    value = fields.get(name)
    if isinstance(value, UploadFile):
        raise Refusal(422, f"{name} is a text, not a file")
    return value or None


def suffix_of(form: Form, word: str | None) -> str:
    """Return the suffix of the result, of which a request says the format."""
    task = form.command.load().task
    if task.suffix is not None:
        if word is not None:
            raise Refusal(
                422, f"the result of {form.name} is a {task.suffix} file; leave format out"
            )
        return str(task.suffix)
    known = (*files.SUFFIXES, *(animations.SUFFIXES if task.animated else ()))
    if word is None:
        return str(known[0])
    suffix = FORMATS.get(word.lower(), f".{word.lower()}")
    if suffix not in known:
        names = ", ".join(suffix[1:] for suffix in known)
        raise Refusal(422, f"format is one of {names}, got {literal(word, 40)}")
    return suffix


def _what(form: Form) -> str:
    what = "the id of an image, or a file" if form.input == "image" else "an .npy file"
    return f"give {what}"


def _source(form: Form, value: Any, sent: _Files) -> Upload:
    """Return what a task works on: an image of the list, or a file that was sent."""
    if form.input == "numbers":
        if not isinstance(value, UploadFile):
            raise Refusal(422, "image is a file of numbers (.npy) here, not a text")
        return sent.other(value, "numbers.npy")
    return sent.image(value, "image.png")


def _value(form: Form, field: Field, value: Any, sent: _Files) -> Any:
    """Return the value of a setting."""
    if isinstance(value, UploadFile):
        if field.kind in ("image", "mask"):
            return sent.image(value, f"{field.name}.png")
        if field.file:
            return sent.other(value, field.name)
        raise Refusal(422, f"{field.name} is no file; give its value as text")
    if len(value) > LONGEST:
        raise Refusal(422, f"{field.name} has {LONGEST} characters at most, got {len(value)}")
    if field.kind in ("image", "mask"):
        words = form.command.load().task.keywords
        return value if value in words else sent.image(value, field.name)
    return _parsed(form, field, value)


def _parsed(form: Form, field: Field, text: str) -> Any:
    """Return the value that a text says."""
    if field.kind == "flag":
        return _flag(field.name, text)
    if field.kind in ("int", "float"):
        return _number(field, text)
    if field.kind == "choice" and field.choices and text not in field.choices:
        accepted = ", ".join(field.choices)
        raise Refusal(422, f"{field.name} is one of {accepted}, got {literal(text, 40)}")
    if field.kind == "text":
        check_text(form, field, text)
    return text


def _flag(name: str, text: str) -> bool:
    if text.lower() not in FLAGS:
        raise Refusal(422, f"{name} is true or false, got {literal(text, 40)}")
    return FLAGS[text.lower()]


def _number(field: Field, text: str) -> int | float:
    what = "a whole number" if field.kind == "int" else "a number"
    try:
        if len(text) > 40:
            raise ValueError
        value = int(text) if field.kind == "int" else float(text)
    except ValueError:
        raise Refusal(422, f"{field.name} is {what}, got {literal(text, 40)}") from None
    low = -math.inf if field.minimum is None else field.minimum
    high = 2**63 - 1 if field.maximum is None else field.maximum
    if not low <= value <= high:
        span = f"from {low:g} on" if field.maximum is None else f"from {low:g} to {high:g}"
        raise Refusal(422, f"{field.name} is {what} {span}, got {shown(text, 40)}")
    return value


def _check_counts(values: Mapping[str, Any]) -> None:
    try:
        check_counts(values.get("samples", 1), values.get("steps"))
    except ValueError as error:
        raise Refusal(422, str(error)) from error


def check_text(form: Form, field: Field, text: str) -> None:
    """Refuse a text that the library would take for the name of a file.

    A kernel is a word with numbers. What is built from a text begins with a name of the catalog,
    and no text in it names a file.
    """
    if field.name in ("kernel", "blur"):
        _check_kernel(field.name, text)
    kind = BUILT.get(field.name)
    if kind is None:
        return
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Refusal(422, f"{field.name}: cannot read {literal(text, 80)}") from None
    names = {*catalog.names(kind), *catalog.ALIASES}
    for name in _outermost(tree.body):
        if name not in names:
            raise Refusal(422, f"there is no {field.name} {literal(name, 40)}")
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "kernel":
            _check_kernel("kernel", getattr(node.value, "value", None))
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            if any(sign in str(node.value) for sign in ("/", "\\", "\0")):
                raise Refusal(422, f"a text in {field.name} cannot name a file; send it")


def _outermost(node: ast.expr) -> Sequence[str]:
    """Return the names that a text builds, of a composition both."""
    if isinstance(node, ast.BinOp):
        return [*_outermost(node.left), *_outermost(node.right)]
    if isinstance(node, ast.Call):
        return _outermost(node.func)
    return [node.id] if isinstance(node, ast.Name) else [ast.unparse(node)]


def _check_kernel(name: str, text: Any) -> None:
    """Refuse a kernel that is no word with numbers, and would be read from a file."""
    if not isinstance(text, str) or text.partition(":")[0] not in MAKERS:
        words = ", ".join(f"{word}:{settings}" for word, (_, settings) in MAKERS.items())
        raise Refusal(422, f"{name} is one of {words}, or a file that is sent with the request")
