"""The times and the memory of ``diffprior serve``, as a page and programs see them.

    python scripts/tables/serve.py

The server is started as a process of its own. The table has the seconds from the start of an upload
of a photograph to its first preview, from a mask to a hole of 512x512 pixels that is filled, cold
and warm, the memory of the process before and after many requests, and twenty clients at once.
"""

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import typer
from PIL import Image

from diffprior.cli.scripts import run
from diffprior.evaluation import tables

SAMPLE = Path(__file__).parents[2] / "data" / "samples" / "city.png"
API = "/api/v1"
SMALL = {"sigma": "0.1", "steps": "1", "method": "dpir(start=0.2)", "wait": "true"}
Megapixels = Annotated[float, typer.Option(help="Size of the photograph.")]
Side = Annotated[int, typer.Option(help="Side of the hole that is filled, in pixels.")]
Requests = Annotated[int, typer.Option(help="Requests between the two looks at the memory.")]
Clients = Annotated[int, typer.Option(help="Clients that ask at the same time.")]


def measure(
    megapixels: Megapixels = 24.0,
    hole: Side = 512,
    requests: Requests = 100,
    clients: Clients = 20,
) -> None:
    """Measure a server on this machine, and print a table."""
    photo = photograph(megapixels)
    rows: list[tuple[str, str]] = []
    started = time.perf_counter()
    with served() as (client, process):
        rows.append(("start of the server", seconds(started)))
        at = time.perf_counter()
        image = upload(client, photo)
        client.get(image["preview"]).raise_for_status()
        rows.append((f"upload of {megapixels:g} megapixels to the first preview", seconds(at)))
        mask = mask_of(image["width"], image["height"], hole)
        for name in ("cold", "warm"):
            at = time.perf_counter()
            fill(client, image["id"], mask)
            rows.append((f"a hole of {hole}x{hole} pixels, {name}", seconds(at)))
        small = encoded(np.asarray(Image.open(SAMPLE).convert("RGB").resize((64, 64))))
        for _ in range(5):
            ask(client, small, "warm")
        before = memory(process)
        for k in range(requests):
            ask(client, small, str(k))
        rows.append((f"memory before and after {requests} requests", f"{before} {memory(process)}"))
        at = time.perf_counter()
        order = together(client, small, clients)
        in_order = order == sorted(order)
        rows.append((f"{clients} clients at once, all answered", seconds(at)))
        rows.append(("answers in the order of arrival", "yes" if in_order else "no"))
    print(tables.markdown(["", "server"], rows))


def seconds(since: float) -> str:
    """Return the time since then."""
    return f"{time.perf_counter() - since:.2f} s"


@contextmanager
def served() -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    """Run a server; yield a client of it, and its process."""
    command = [sys.executable, "-m", "diffprior", "serve", "--no-open", "--token", "table"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().partition("?")[0]
        headers = {"Authorization": "Bearer table"}
        with httpx.Client(base_url=url, headers=headers, timeout=None) as client:
            yield client, process
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def photograph(megapixels: float) -> bytes:
    """Return a JPEG file of this size, 3:2, made of a sample."""
    height = round((megapixels * 1e6 / 1.5) ** 0.5)
    image = Image.open(SAMPLE).convert("RGB").resize((round(1.5 * height), height))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=90)
    return data.getvalue()


def encoded(values: np.ndarray[Any, Any]) -> bytes:
    """Return a PNG file."""
    data = io.BytesIO()
    Image.fromarray(values).save(data, "PNG")
    return data.getvalue()


def mask_of(width: int, height: int, hole: int) -> bytes:
    """Return a mask with a square in its middle."""
    mask = np.zeros((height, width), np.uint8)
    top, left = (height - hole) // 2, (width - hole) // 2
    mask[top : top + hole, left : left + hole] = 255
    return encoded(mask)


def upload(client: httpx.Client, data: bytes) -> dict[str, Any]:
    """Put an image on the list."""
    answer = client.post(f"{API}/images", files={"file": ("photo.jpg", data)})
    answer.raise_for_status()
    info: dict[str, Any] = answer.json()
    return info


def fill(client: httpx.Client, image: str, hole: bytes) -> None:
    """Fill a hole, and look at a preview of the result, as the page does."""
    form = {"image": image}
    job = client.post(f"{API}/inpaint", data=form, files={"mask": ("m.png", hole)}).json()
    with client.stream("GET", job["events"]) as events:
        last = [line for line in events.iter_lines() if line.startswith("event: ")][-1]
    if last != "event: done":
        sys.exit(f"the job ended with {last}")
    client.get(f"{job['url']}/results/1/preview").raise_for_status()


def ask(client: httpx.Client, data: bytes, name: str) -> str:
    """Clean a small image; return the job."""
    answer = client.post(f"{API}/denoise", data=SMALL, files={"image": (f"{name}.png", data)})
    answer.raise_for_status()
    return str(answer.headers["x-diffprior-job"])


def together(client: httpx.Client, data: bytes, clients: int) -> list[int]:
    """Let clients ask at once; return the place in the queue of each answer, as they came."""
    answered: list[str] = []

    def one(k: int) -> None:
        answered.append(ask(client, data, str(k)))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrived = [job["job"] for job in client.get(f"{API}/jobs").json()]
    return [arrived.index(job) for job in answered]


def memory(process: "subprocess.Popen[str]") -> str:
    """Return the memory of a process (Linux)."""
    status = Path(f"/proc/{process.pid}/statm")
    if not status.exists():
        return "?"
    pages = int(status.read_text().split()[1])
    return f"{pages * os.sysconf('SC_PAGE_SIZE') / 2**20:.0f} MB"


if __name__ == "__main__":
    run(measure)
