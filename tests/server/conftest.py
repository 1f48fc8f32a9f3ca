"""One server for the tests of this folder, and a worker that waits for a word."""

import threading
from collections.abc import Iterator

import httpx
import pytest
import torch

from diffprior.server import jobs

from support.web import serving


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    """A client of a server with the usual limits."""
    with serving() as client:
        yield client


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Holds all work, which calls its callback again and again, until the event is set."""
    event = threading.Event()
    call = jobs.work.call

    def wait(function, file, values, callback):
        k = 0
        while not event.wait(0.01):
            k += 1
            callback(torch.zeros(1, 3, 8, 8), min(0.9, k / 1000))
        return call(function, file, values, callback)

    monkeypatch.setattr(jobs.work, "call", wait)
    yield event
    event.set()


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Two steps for each task that takes steps, for tests of how requests are read."""
    call = jobs.work.call

    def shorter(function, file, values, callback):
        fewer = {"steps": 2} if "steps" in values else {}
        return call(function, file, values | fewer, callback)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs.work, "call", shorter)
        yield
