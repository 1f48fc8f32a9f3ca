"""The shapes of the answers, from which the OpenAPI description is made."""

from typing import Any, Literal

from pydantic import BaseModel

__all__ = [
    "Health",
    "ImageInfo",
    "JobInfo",
    "JobTicket",
    "OptionInfo",
    "Problem",
    "ResultInfo",
    "ServerInfo",
    "TaskInfo",
]


class Problem(BaseModel):
    """Why a request was not done, in one sentence."""

    error: str


class Health(BaseModel):
    """That the server is there."""

    ok: bool


class ServerInfo(BaseModel):
    """What the server is, and its limits; `run` is another word after each start."""

    run: str
    version: str
    prior: str
    prior_title: str
    device: str
    max_pixels: int
    max_bytes: int
    jobs: int
    queue: int


class OptionInfo(BaseModel):
    """A setting of a task."""

    name: str
    label: str
    kind: Literal["flag", "int", "float", "text", "choice", "image", "mask"]
    choices: list[str] | None
    required: bool
    default: bool | int | float | str | None
    help: str
    group: str
    common: bool
    minimum: float | None
    maximum: float | None
    file: bool


class TaskInfo(BaseModel):
    """A task and its settings."""

    name: str
    tab: str | None
    title: str
    help: str
    input: Literal["image", "numbers"] | None
    past: str
    options: list[OptionInfo]


class ImageInfo(BaseModel):
    """An image that was sent; width and height are those of the upright image."""

    id: str
    name: str
    width: int
    height: int
    depth: int | Literal["float"]
    channels: int
    alpha: bool
    bytes: int
    preview: str
    notes: list[str]


class JobTicket(BaseModel):
    """A job that was put into the queue."""

    job: str
    task: str
    state: str
    position: int
    url: str
    events: str


class ResultInfo(BaseModel):
    """A file of a result."""

    sample: int
    name: str
    file: str
    preview: str | None


class JobInfo(BaseModel):
    """A job: where it stands, and what came of it."""

    job: str
    task: str
    image: str | None
    name: str | None
    state: Literal["queued", "running", "done", "failed", "canceled"]
    position: int
    share: float
    stage: str
    seconds_left: float | None
    seconds: float
    error: str | None
    samples: int
    results: list[ResultInfo]
    uncertainty: str | None
    veil: str | None
    compare: str | None
    report: dict[str, Any] | None
    warnings: list[str]
    command: str
    python: str
