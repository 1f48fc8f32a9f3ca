"""Server-sent events about a job: its state, its progress, its previews, its end."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from .jobs import Job, Worker
from .states import job_info, job_url

__all__ = ["events", "finished"]

ALIVE = 15.0  # s after which a comment says that the connection stands
PAUSE = 0.1  # s between events


class Changes:
    """Waits in an event loop for the changes that the worker makes to a job."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def __call__(self) -> None:
        """Wake the one that waits; called by the worker."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for the next change; return whether there was one in time."""
        try:
            await asyncio.wait_for(self._event.wait(), timeout)
        except TimeoutError:
            return False
        self._event.clear()
        return True


async def finished(job: Job) -> None:
    """Wait until a job is over."""
    changes = Changes()
    with job.listening(changes):
        while not job.over:
            await changes.wait()


async def events(job: Job, worker: Worker) -> AsyncIterator[str]:
    """Yield the events of a job to its end."""
    changes = Changes()
    with job.listening(changes):
        state, number, told = "", 0, None
        while not job.over:
            if job.state != state:
                state = job.state
                yield _event("state", job_info(job, worker, report=False).model_dump())
            progress = {
                "share": job.share,
                "stage": job.stage,
                "seconds_left": job.seconds_left,
                "position": worker.position(job),
            }
            if told != (told := (job.share, job.stage, progress["position"])):
                yield _event("progress", progress)
            preview = job.preview
            if preview is not None and preview.number != number:
                number = preview.number
                url = f"{job_url(job)}/preview?n={number}"
                yield _event("preview", {"url": url, "box": preview.box})
            if not await changes.wait(ALIVE):
                yield ": alive\n\n"
            await asyncio.sleep(PAUSE)
        info = job_info(job, worker).model_dump()
        if not state:
            yield _event("state", {**info, "report": None})
        yield _event(job.state, info)


def _event(name: str, data: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n"
