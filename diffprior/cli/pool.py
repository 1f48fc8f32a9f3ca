"""Processes that share the jobs of a run. One that is killed costs its job a second try, no more.

This module knows nothing of images: a job and its answer are whatever pickle takes.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any, NamedTuple

from ..errors import RunError

__all__ = ["Job", "Pool", "Told", "Work"]

TRIES = 2  # of a job whose process is killed
PATIENCE = 5.0  # seconds that a process has to end by itself
PRELOADED = ("diffprior.cli.runs", "diffprior.pretrained.load", "diffprior.runtime.solve")

Job = Any
Tell = Callable[[str, Any], None]  # takes what kind of thing is told of a job, and the thing
Work = Callable[[Job], Any]
Setup = Callable[[int, Tell], AbstractContextManager[Work]]  # takes the number of the process


class Told(NamedTuple):
    """What a process says of its job.

    Attributes:
        job: The job.
        kind: "answer" at its end, "lost" if its processes were killed, or a word of the work.
        value: The answer, or what the work told.
    """

    job: Job
    kind: str
    value: Any


@dataclass
class _Worker:
    """A process, the wire to it, and the job that it does."""

    number: int
    process: BaseProcess
    wire: Connection
    job: "_Try | None" = None


@dataclass
class _Try:
    job: Job
    tries: int = 0


@dataclass
class Pool:
    """Processes that take one job after the other, in order.

    Arguments:
        count: The number of processes.
        setup: Called in each of them, with its number and a function that tells the run something
            about the job at hand; the context that it returns gives the work on one job. A pickle
            must be able to hold it.
        method: How processes are started, by the names of ``multiprocessing``.

    Raises:
        RunError: If the setup fails.
    """

    count: int
    setup: Setup
    method: str = "forkserver" if sys.platform == "linux" else "spawn"
    _workers: list[_Worker] = field(default_factory=list)

    def run(self, jobs: Iterable[Job]) -> Iterator[Told]:
        """Yield what is told of the jobs. No process outlives the loop, however it ends."""
        waiting = deque(map(_Try, jobs))
        free = list(range(self.count))
        try:
            while waiting or self._busy():
                self._hand_out(waiting, free)
                for wire in wait([worker.wire for worker in self._busy()]):
                    worker = next(w for w in self._workers if w.wire is wire)
                    yield from self._hear(worker, waiting, free)
        finally:
            self._end()

    def _busy(self) -> Sequence[_Worker]:
        return [worker for worker in self._workers if worker.job is not None]

    def _hand_out(self, waiting: deque[_Try], free: list[int]) -> None:
        """Give each process a job, and start those that are missing."""
        for _ in range(min(len(free), len(waiting) - self._idle())):
            self._workers.append(self._start(free.pop(0)))
        for worker in self._workers:
            if worker.job is None and waiting:
                worker.job = waiting.popleft()
                worker.job.tries += 1
                with suppress(OSError):  # it is gone, which is heard of next
                    worker.wire.send(worker.job.job)

    def _idle(self) -> int:
        return len(self._workers) - len(self._busy())

    def _start(self, number: int) -> _Worker:
        context: Any = multiprocessing.get_context(self.method)
        if self.method == "forkserver":
            context.set_forkserver_preload([*PRELOADED])
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.setup, number), daemon=True)
        process.start()
        theirs.close()
        return _Worker(number, process, ours)

    def _hear(self, worker: _Worker, waiting: deque[_Try], free: list[int]) -> Iterator[Told]:
        """Yield what a process says; of one that is gone, begin its job again."""
        own = worker.job
        assert own is not None
        try:
            kind, value = worker.wire.recv()
        except (EOFError, OSError):
            worker.process.join(PATIENCE)
            self._workers.remove(worker)
            free.append(worker.number)
            if own.tries < TRIES:
                waiting.appendleft(own)
            else:
                yield Told(own.job, "lost", _ending(worker.process.exitcode))
            return
        if kind == "broken":
            raise RunError(f"a process cannot begin its work: {value}")
        if kind == "answer":
            worker.job = None
        yield Told(own.job, kind, value)

    def _end(self) -> None:
        """End all processes: those at work may clean up behind them."""
        for worker in self._workers:
            stop = worker.process.kill if worker.job is None else worker.process.terminate
            stop()
        for worker in self._workers:
            worker.process.join(PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.wire.close()
        self._workers.clear()


def _ending(code: int | None) -> str:
    """Return how a process ended."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _serve(wire: Connection, setup: Setup, number: int) -> None:
    """Do one job after the other: the life of a process."""
    _listen()

    def tell(kind: str, value: Any) -> None:
        with suppress(OSError):  # nobody is left to be told: `_watch` ends the process
            wire.send((kind, value))

    try:
        with setup(number, tell) as work:
            while True:
                job = wire.recv()
                wire.send(("answer", work(job)))
    except (EOFError, OSError):
        return
    except Exception as error:
        tell("broken", str(error) or type(error).__name__)


def _listen() -> None:
    """Leave Ctrl-C to the process that started this one, and end with it, whatever ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _watch(sentinel: int) -> None:
    """End this process when the one is gone that started it: files are whole or not there."""
    wait([sentinel])
    os._exit(1)
