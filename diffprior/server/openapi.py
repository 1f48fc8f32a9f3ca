"""Descriptions of requests and answers that are no JSON, for OpenAPI."""

from typing import Any

from .answers import Problem
from .forms import Field, Form

__all__ = [
    "ANY_FILE",
    "EVENTS",
    "IMAGE_FORM",
    "PICTURE",
    "PNG",
    "PROBLEMS",
    "form_body",
    "task_answers",
    "task_body",
]

Responses = dict[int | str, dict[str, Any]]

REASONS = {
    400: "A setting that cannot be used",
    401: "No token",
    403: "A request of another origin",
    404: "No such thing",
    409: "Not in this state",
    413: "Too many bytes or pixels",
    415: "No image, or no form",
    421: "Not the name of this server",
    422: "A field that is missing or wrong",
    429: "The queue is full",
    500: "A failure",
    503: "The server is stopping",
}
PROBLEMS: Responses = {
    code: {"model": Problem, "description": text} for code, text in REASONS.items()
}
BINARY = {"type": "string", "format": "binary"}
IMAGE_FORM = {
    "type": "object",
    "properties": {
        "file": {**BINARY, "description": "An image file."},
        "job": {"type": "string", "description": "A job, to go on with a result of it."},
        "sample": {"type": "integer", "minimum": 1, "default": 1},
    },
}
TYPES = {
    "flag": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "text": {"type": "string"},
    "choice": {"type": "string"},
    "image": {"type": "string"},
    "mask": {"type": "string"},
}


def _contents(*kinds: str) -> Responses:
    return {200: {"description": "Bytes", "content": {kind: {"schema": BINARY} for kind in kinds}}}


PNG = _contents("image/png")
PICTURE = _contents("image/png", "image/jpeg")
EVENTS: Responses = {
    200: {"description": "Events", "content": {"text/event-stream": {"schema": {}}}}
}
FILE_KINDS = (
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/avif",
    "image/tiff",
    "image/bmp",
    "image/gif",
    "application/octet-stream",
)
ANY_FILE = _contents(*FILE_KINDS)


def form_body(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a form."""
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def task_answers(form: Form) -> Responses:
    """Return the answers of a task beside its ticket: the bytes of a result that is waited for."""
    return {
        200: {
            "description": "The file of the result",
            "content": _contents(*FILE_KINDS)[200]["content"],
        }
    }


def task_body(form: Form) -> dict[str, Any]:
    """Return the description of the form of a task; inpaint takes JSON of IOPaint, too."""
    body = form_body(_schema(form))
    if form.name == "inpaint":
        from .iopaint import SCHEMA

        body["requestBody"]["content"]["application/json"] = {"schema": SCHEMA}
    return body


def _schema(form: Form) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    if form.input is not None:
        what = "An image: its id, or a file; repeat it for several."
        if form.input == "numbers":
            what = "A file of numbers (.npy)."
        properties["image"] = {"type": "string", "description": what}
        required.append("image")
    for field in form.fields:
        properties[field.name] = _property(field)
        if field.required:
            required.append(field.name)
    properties["wait"] = {
        "type": "boolean",
        "default": False,
        "description": "Answer with the file of the result.",
    }
    properties["format"] = {
        "type": "string",
        "description": "Format of the file of the result: png, jpg, tiff or webp.",
    }
    if form.field("samples") is not None:
        properties["uncertainty"] = {
            "type": "boolean",
            "default": False,
            "description": "Draw several samples, of which the deviation is known.",
        }
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _property(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {**TYPES[field.kind], "description": field.help}
    if field.kind in ("image", "mask") or field.file:
        schema["description"] += (
            " The id of an image, or a file." if not field.file else " Or a file."
        )
    return schema | field.bounds
