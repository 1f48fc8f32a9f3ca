"""First masks of scratches, text, paint or changes, as of ``diffprior mask``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from starlette.datastructures import FormData, UploadFile

from ..io import files
from ..validation import literal, nearest
from .limits import Limits, Refusal
from .store import Image, Store, reading

__all__ = ["FINDERS", "Finder", "find"]

SENSITIVITY = {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5}
TOLERANCE = {"type": "number", "minimum": 0, "maximum": 1, "default": 0.1}
DILATE = {"type": "integer", "minimum": 0, "maximum": 1000}
IMAGE = {"type": "string", "description": "The id of an image, or a file."}


@dataclass(frozen=True, kw_only=True)
class Finder:
    """A way to find a mask.

    Attributes:
        help: One sentence.
        settings: The schema of each setting, by name.
        required: The settings that must be given.
    """

    help: str
    settings: Mapping[str, Mapping[str, Any]]
    required: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of the form."""
        return {
            "type": "object",
            "properties": {"image": IMAGE, **self.settings},
            "required": ["image", *self.required],
            "additionalProperties": False,
        }


FINDERS = {
    "scratches": Finder(
        help="Find thin bright or dark lines, and spots of dust.",
        settings={"sensitivity": SENSITIVITY, "dilate": DILATE},
    ),
    "text": Finder(
        help="Find captions, dates and logos of one color that were laid over a photo.",
        settings={"sensitivity": SENSITIVITY, "dilate": DILATE},
    ),
    "color": Finder(
        help="Find what is painted over in one color.",
        settings={
            "color": {"type": "string", "description": "A name such as red, or #ff0000."},
            "tolerance": TOLERANCE,
            "dilate": DILATE,
        },
        required=("color",),
    ),
    "difference": Finder(
        help="Find what differs between two files, such as a photo and a painted copy of it.",
        settings={"other": IMAGE, "dilate": DILATE},
        required=("other",),
    ),
}


def find(name: str, form: FormData, store: Store, limits: Limits) -> Callable[[], bytes]:
    """Return the work that a request asks for: it gives a PNG file, 255 where to fill.

    Raises:
        Refusal: If a field is missing, unknown or wrong.
    """
    finder = FINDERS[name]
    for field in form:
        if field != "image" and field not in finder.settings:
            known = ["image", *finder.settings]
            raise Refusal(422, f"{name} has no field {literal(field, 40)}; {nearest(field, known)}")
    sent: list[Image] = []
    try:
        image = _image("image", form, store, sent)
        settings = {
            field: _image(field, form, store, sent)
            if schema is IMAGE
            else _value(field, form.get(field, ""), schema)
            for field, schema in finder.settings.items()
            if field in finder.required or form.get(field, "") != ""
        }
    except BaseException:
        _discard(store, sent)
        raise
    used = [image, *(value for value in settings.values() if isinstance(value, Image))]
    for each in used:
        store.keep(each)

    def work() -> bytes:
        try:
            return _found(name, image, settings, limits)
        finally:
            for each in used:
                store.release(each)

    return work


def _discard(store: Store, images: list[Image]) -> None:
    for image in images:
        store.discard(image)


def _image(field: str, form: FormData, store: Store, sent: list[Image]) -> Image:
    value = form.get(field)
    if not value:
        raise Refusal(422, f"{field} is missing: give the id of an image, or a file")
    if not isinstance(value, UploadFile):
        return store.get(value)
    image = store.read(value.file, value.filename or f"{field}.png")
    sent.append(image)
    return image


def _value(field: str, text: Any, schema: Mapping[str, Any]) -> Any:
    """Return the value of a setting."""
    if not isinstance(text, str):
        raise Refusal(422, f"{field} is a text, not a file")
    if not text:
        raise Refusal(422, f"{field} is missing: {schema['description']}")
    kind = schema["type"]
    if kind == "string":
        return text
    try:
        value = int(text[:20]) if kind == "integer" else float(text[:40])
    except ValueError:
        what = "a whole number" if kind == "integer" else "a number"
        raise Refusal(422, f"{field} is {what}, got {literal(text, 40)}") from None
    if not schema["minimum"] <= value <= schema["maximum"]:
        span = f"from {schema['minimum']} to {schema['maximum']}"
        raise Refusal(422, f"{field} is {span}, got {literal(text, 40)}")
    return value


def _found(name: str, image: Image, settings: Mapping[str, Any], limits: Limits) -> bytes:
    """Return a mask in a PNG file."""
    from .. import masks

    def images_of(each: Image) -> Any:
        with reading(), each.open() as stream:
            return files.read(stream, limits.pixels).images

    given = {k: images_of(v) if isinstance(v, Image) else v for k, v in settings.items()}
    found = getattr(masks, name)(images_of(image), **given)
    return files.encode(255 * np.asarray(found)[..., None].astype(np.uint8), None, ".png")
