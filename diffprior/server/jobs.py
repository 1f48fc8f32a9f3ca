"""Jobs and the one worker that does them in order, with the prior kept warm."""

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, NamedTuple

from torch import Tensor

from ..cli import work
from ..cli.process import describe
from ..errors import PriorError
from ..io import animations, files
from ..io.metadata import Metadata
from ..runtime.placement import place_prior, prior_cache
from ..runtime.places import corner
from ..validation import shown
from . import previews
from .forms import Form
from .limits import Limits, Refusal, known
from .notes import collected
from .results import Saved
from .store import Image, Store, Upload, reading

__all__ = ["Canceled", "Job", "Order", "Worker"]

State = Literal["queued", "running", "done", "failed", "canceled"]
OVER = ("done", "failed", "canceled")
LONGEST = 300  # characters of a sentence about an error
EACH = 1.0  # s between previews
BUSY = 10  # s after which it is worth while to ask again


class Canceled(Exception):
    """A job that nobody wants any longer."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is asked of a task.

    Attributes:
        form: The task.
        source: What it works on; None where it reads nothing.
        listed: Whether the source is on the list of images.
        values: Its settings, those that were not given with their defaults; files as `Upload`.
        given: The settings that were given.
        suffix: That of the file of the result.
    """

    form: Form
    source: Upload | None
    listed: bool = False
    values: Mapping[str, Any]
    given: Mapping[str, Any]
    suffix: str

    @property
    def uploads(self) -> list[Upload]:
        """The files that the job needs."""
        found = [self.source, *self.values.values()]
        return [each for each in found if isinstance(each, Upload)]

    def name(self, k: int, count: int, suffix: str | None = None) -> str:
        """Return the name of the file of sample k, from 0 on, as the command line gives it."""
        suffix = suffix or self.suffix
        end = f"{self.form.command.past}"
        stem = end if self.source is None else f"{Path(self.source.name).stem}.{end}"
        return f"{stem}-{k + 1}{suffix}" if count > 1 else f"{stem}{suffix}"


class Preview(NamedTuple):
    """A picture of the work as it is.

    Attributes:
        data: The bytes of an image file.
        kind: Its media type.
        number: How many there were, this one included.
        box: Left, top, width and height of what it shows in the image; None where that is not a
            part of the image.
    """

    data: bytes
    kind: str
    number: int
    box: tuple[int, int, int, int] | None


@dataclass(eq=False, kw_only=True)
class Job:
    """An order and what has become of it. The worker writes, and others read.

    Attributes:
        id: Its id.
        order: What is asked.
        folder: Where its result goes.
        state: Where it stands.
        share: The share of the work that is done, in [0, 1].
        stage: What is done at the moment.
        status: The HTTP status of a result that was waited for.
        error: What went wrong, in one sentence.
        warnings: What the library warned of.
        saved: The result.
        about: What the input says beside its pixels.
        preview: The last preview.
    """

    id: str
    order: Order
    folder: Path
    state: State = "queued"
    share: float = 0.0
    stage: str = "waiting"
    status: int = 202
    error: str | None = None
    warnings: list[str] = field(default_factory=list)
    saved: Saved | None = None
    about: Metadata | None = None
    preview: Preview | None = None
    began: float | None = None
    ended: float | None = None
    canceled: bool = False
    _first: tuple[float, float] | None = None  # time and share of the first step
    _shown: float = 0.0  # time of the last preview
    _listeners: set[Callable[[], None]] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in OVER

    @property
    def seconds(self) -> float:
        """The seconds that it has been worked on."""
        if self.began is None:
            return 0.0
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    @property
    def seconds_left(self) -> float | None:
        """The seconds that are left, by the pace so far; None where that is not known."""
        if self.over or self._first is None:
            return None
        at, share = self._first
        if self.share <= share:
            return None
        return (1 - self.share) * (time.monotonic() - at) / (self.share - share)

    @property
    def result_count(self) -> int:
        """The number of files of its result."""
        if self.saved is None:
            return 0
        return 1 if self.order.suffix in animations.SUFFIXES else max(1, self.saved.count)

    def result_path(self, k: int) -> Path:
        """Return where the file of sample k, from 0 on, lies."""
        return self.folder / f"result-{k}{self.order.suffix}"

    def step(self, x: Tensor, share: float) -> None:
        """Take note of a step; the callback of the task.

        Raises:
            Canceled: If nobody wants the job any longer.
        """
        if self.canceled:
            raise Canceled
        now = time.monotonic()
        self.stage = ""
        self.share = min(1.0, max(self.share, float(share)))
        if self._first is None:
            self._first = (now, self.share)
            self._shown = now
        elif now - self._shown >= EACH:
            self._shown = now
            picture = previews.of_states(x)
            if picture is not None:
                number = 1 if self.preview is None else self.preview.number + 1
                self.preview = Preview(*picture, number, self._box(x))
        self.notify()

    def _box(self, x: Tensor) -> tuple[int, int, int, int] | None:
        """Return left, top, width and height of states in the image; None where they do not fit."""
        source = self.order.source
        top, left = corner()
        height, width = x.shape[-2:]
        if not isinstance(source, Image):
            return None
        inside = left + width <= source.width and top + height <= source.height
        return (left, top, width, height) if inside else None

    def enter(self, stage: str) -> None:
        """Say what is done next."""
        if self.canceled:
            raise Canceled
        self.stage = stage
        self.notify()

    def end(self, state: State, status: int, error: str | None = None) -> None:
        """Say that nothing more will happen."""
        self.ended = time.monotonic()
        self.status = status
        self.error = error
        self.stage = ""
        self.preview = None
        self.state = state
        self.notify()

    def notify(self) -> None:
        """Call all that listen."""
        for listener in list(self._listeners):
            listener()

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Have a function called after each change, from the thread of the worker."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)


class _End(NamedTuple):
    """How a job ended: the state, the HTTP status, and what went wrong."""

    state: State
    status: int
    error: str | None = None


@dataclass(frozen=True)
class _Call:
    """Work that is no job, such as a mask to find: it is waited for."""

    function: Callable[[], Any]
    future: "Future[Any]"


class Worker:
    """One thread that does jobs in order.

    Arguments:
        store: The files of the server.
        limits: The limits of the server.
        machine: What the tasks work with, as of the command line: prior, device and backend.
    """

    def __init__(self, store: Store, limits: Limits, machine: dict[str, str | None]) -> None:
        self.store = store
        self.limits = limits
        self.machine = machine
        self.ready: Future[Any] = Future()  # of the prior
        self.jobs: dict[str, Job] = {}  # in the order of their arrival
        self._queue: deque[Job | _Call] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)

    def start(self) -> None:
        """Start the thread, which opens the prior first."""
        self._thread.start()

    def close(self, patience: float) -> bool:
        """Cancel all jobs, and wait for the thread; return whether it ended in so many seconds."""
        with self._changed:
            self._closing = True
            for job in self.jobs.values():
                job.canceled = True
            for entry in self._queue:
                if isinstance(entry, Job):
                    entry.end("canceled", 409)
                else:
                    entry.future.cancel()
            self._queue.clear()
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join(patience)
        return not self._thread.is_alive()

    def submit(self, orders: list[Order]) -> list[Job]:
        """Put orders into the queue, all or none of them.

        Raises:
            Refusal: If the queue is full.
        """
        try:
            return self._submit(orders)
        except Refusal:
            for order in orders:
                for upload in order.uploads:
                    self.store.discard(upload)
            raise

    def _submit(self, orders: list[Order]) -> list[Job]:
        made = []
        with self._changed:
            waiting = sum(isinstance(entry, Job) for entry in self._queue)
            if self._closing:
                raise Refusal(503, "the server is stopping")
            if waiting + len(orders) > self.limits.jobs:
                raise Refusal(
                    429,
                    f"{waiting} jobs wait, and {self.limits.jobs} may; try again later",
                    {"Retry-After": str(BUSY)},
                )
            for order in orders:
                key = token_hex(8)
                job = Job(id=key, order=order, folder=self.store.folder / f"{key}.job")
                for upload in order.uploads:
                    self.store.keep(upload)
                self.jobs[key] = job
                self._queue.append(job)
                made.append(job)
            self._changed.notify_all()
        return made

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Have a short function called in the thread, before the jobs that wait."""
        future: Future[Any] = Future()
        with self._changed:
            self._queue.appendleft(_Call(function, future))
            self._changed.notify_all()
        return future

    def get(self, key: str) -> Job:
        """Return a job; errors as of `known`."""
        return known(self.jobs, key, "job")

    def list(self) -> list[Job]:
        """Return all jobs in order."""
        return list(self.jobs.values())

    def position(self, job: Job) -> int:
        """Return how many jobs are worked on before this one ends, itself included; 0 if it did."""
        if job.over:
            return 0
        waiting = [entry for entry in list(self._queue) if isinstance(entry, Job)]
        ahead = int(self._running is not None)
        return waiting.index(job) + 1 + ahead if job in waiting else 1

    def remove(self, key: str) -> None:
        """Cancel a job, or forget one that is over; errors as of `get`."""
        job = self.get(key)
        with self._changed:
            if job.over:
                self._forget(job)
                return
            job.canceled = True
            if job in self._queue:
                self._queue.remove(job)
                self._release(job)
                job.end("canceled", 409)

    def _forget(self, job: Job) -> None:
        """Remove a job that is over, and its files."""
        if self.jobs.pop(job.id, None) is not None:
            shutil.rmtree(job.folder, ignore_errors=True)
            if job.order.source is not None:
                self.store.release(job.order.source)

    def _release(self, job: Job) -> None:
        """Let the files go that only the work needs: those of settings."""
        for upload in job.order.uploads:
            if upload is not job.order.source:
                self.store.release(upload)

    def _run(self) -> None:
        with prior_cache():
            try:
                name, device, backend = map(self.machine.get, ("prior", "device", "backend"))
                self.ready.set_result(place_prior(name, device, "auto", backend=backend))
            except BaseException as error:
                self.ready.set_exception(error)
                return
            while (entry := self._next()) is not None:
                if isinstance(entry, Job):
                    self._do(entry)
                else:
                    _answer(entry)

    def _next(self) -> Job | _Call | None:
        """Return what is to be done next, None at the end."""
        with self._changed:
            self._running = None
            while not self._queue and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            entry = self._queue.popleft()
            if isinstance(entry, Job):
                self._running = entry
                entry.state = "running"
                entry.began = time.monotonic()
            waiting = [job for job in self._queue if isinstance(job, Job)]
        for job in waiting:
            job.notify()
        return entry

    def _do(self, job: Job) -> None:
        """Work on a job; whatever goes wrong with it ends that job alone."""
        with collected() as notes:
            job.warnings = notes
            end = self._outcome(job)
        job.warnings = [_told(note, job) for note in notes]
        if end.state != "done":
            shutil.rmtree(job.folder, ignore_errors=True)
        self._release(job)
        job.end(*end)
        self._trim()

    def _outcome(self, job: Job) -> "_End":
        """Do the work of a job; return how it ended."""
        try:
            self._draw(job)
        except Canceled:
            return _End("canceled", 409)
        except Refusal as refusal:
            return _End("failed", refusal.status, _told(refusal.sentence, job))
        except Exception as error:
            wrong = isinstance(error, ValueError | TypeError | ArithmeticError)
            status = 400 if wrong and not isinstance(error, PriorError) else 500
            return _End("failed", status, _told(describe(error), job))
        return _End("done", 200)

    def _trim(self) -> None:
        """Forget the oldest jobs that are over, where there are too many."""
        with self._changed:
            over = [job for job in self.jobs.values() if job.over]
            for job in over[: max(0, len(over) - self.limits.jobs)]:
                self._forget(job)

    def _draw(self, job: Job) -> None:
        """Do what an order says, and write the result."""
        order = job.order
        job.enter("reading")
        function = order.form.command.load()
        file = None
        if order.source is not None:
            with reading(), order.source.open() as stream:
                file = work.read(function.task, stream, self.limits.pixels)
        values = {name: self._value(order, name) for name in order.values}
        machine = {k: v for k, v in self.machine.items() if k in _names(order.form)}
        work.check_depth(file, {0: Path(f"result{order.suffix}")})
        job.enter("preparing")
        result = work.call(function, file, values | machine, job.step)
        job.enter("writing")
        self._write(job, result, file)

    def _value(self, order: Order, name: str) -> Any:
        """Return a setting as the task takes it: of an upload the image, or where it lies."""
        value = order.values[name]
        if not isinstance(value, Upload):
            return value
        known = order.form.field(name)
        if known is not None and known.file:
            return str(value.path)
        with reading(), value.open() as stream:
            return files.read(stream, self.limits.pixels).images

    def _write(self, job: Job, result: Any, file: work.Source | None) -> None:
        """Write the samples of a result, and its files as the command line writes them."""
        names = {str(each.path): each.name for each in job.order.uploads}
        for key, value in result.report.items():
            if isinstance(value, str) and value in names:
                result.report[key] = names[value]
        job.about = file.metadata if isinstance(file, files.File) else None
        saved = Saved.of(result, job.folder)
        count = 1 if job.order.suffix in animations.SUFFIXES else len(result.samples)
        for k in range(count):
            data = work.data(k, result, file, job.order.suffix, False)
            job.result_path(k).write_bytes(data)
        job.saved = saved


def _answer(entry: _Call) -> None:
    """Do a call, and hand its result, or its error, to the one that waits."""
    if not entry.future.set_running_or_notify_cancel():
        return
    try:
        with collected():
            entry.future.set_result(entry.function())
    except Exception as error:
        entry.future.set_exception(error)


def _names(form: Form) -> set[str]:
    """Return the names of all settings of a task, those of the server included."""
    return {option.name for option in form.command.options or ()}


def _told(text: str, job: Job) -> str:
    """Return a sentence about a job, in which files go by the names that they had."""
    for upload in job.order.uploads:
        text = text.replace(shown(str(upload.path)), upload.name)
        text = text.replace(str(upload.path), upload.name)
    return shown(" ".join(text.split()), LONGEST)
