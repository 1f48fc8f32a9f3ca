"""A server of the page in a thread of its own, and what the tests send to it."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import uvicorn
from PIL import Image

from diffprior.server.app import create_app
from diffprior.server.service import Config, Service

TOKEN = "secret"
API = "/api/v1"
FAST = {"method": "dpir(start=0.2)", "steps": "1", "sigma": "0.1"}  # of denoise


@contextmanager
def serving(config: Config | None = None) -> Iterator[httpx.Client]:
    """Run a server, and yield a client of it; ``client.service`` is the service."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    service = Service(replace(config or Config(token=TOKEN), port=port))
    server = uvicorn.Server(
        uvicorn.Config(create_app(service), log_config=None, access_log=False, ws="none")
    )
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    service.worker.ready.result(timeout=60)
    headers = {"Authorization": f"Bearer {service.config.token}"}
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            client.service = service  # type: ignore[attr-defined]
            yield client
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        assert not thread.is_alive()


def picture(*shape: int, seed: int = 0, dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    """Random pixels."""
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, int(top) + 1, shape, dtype)


def png(array: np.ndarray[Any, Any], kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    data = io.BytesIO()
    Image.fromarray(array).save(data, kind, **options)
    return data.getvalue()


def pixels(data: bytes) -> np.ndarray[Any, Any]:
    """The pixels of an image file."""
    return np.asarray(Image.open(io.BytesIO(data)))


def upload(client: httpx.Client, data: bytes, name: str = "a.png") -> dict[str, Any]:
    """Put an image on the list."""
    answer = client.post(f"{API}/images", files={"file": (name, data)})
    assert answer.status_code == 201, answer.text
    info: dict[str, Any] = answer.json()
    return info


def over(client: httpx.Client, job: str, patience: float = 60) -> dict[str, Any]:
    """Wait for the end of a job."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        info: dict[str, Any] = client.get(f"{API}/jobs/{job}").json()
        if info["state"] in ("done", "failed", "canceled"):
            return info
        time.sleep(0.02)
    raise AssertionError(f"the job goes on: {info}")


def sentence(answer: httpx.Response, status: int) -> str:
    """The sentence of an answer that refuses something."""
    assert answer.status_code == status, (answer.status_code, answer.text)
    body = answer.json()
    assert set(body) == {"error"}
    text: str = body["error"]
    assert text and len(text) <= 300 and "\n" not in text
    return text
