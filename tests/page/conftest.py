"""A real browser on a real server, one of each for a module: playwright allows one at a time."""

import importlib.util
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from support import warm

TOKEN = "paint"
MISSING = "the tests of the page need /usr/bin/chromium and the package playwright"
BROWSER = shutil.which("chromium")
SIZE = {"width": 1000, "height": 700}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of this folder where there is no browser."""
    if BROWSER and importlib.util.find_spec("playwright"):
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=MISSING))


class Server:
    """``diffprior serve`` in a process of its own, on a port that stays the same."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.folder = folder
        self.words = ["serve", "--no-open", "--port", str(port), "--token", TOKEN]
        self.url = f"http://127.0.0.1:{port}/?token={TOKEN}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers)
        self.start()

    def start(self) -> None:
        self.block: AbstractContextManager[warm.Started] = warm.started(
            "-m", "diffprior", *self.words, folder=self.folder, streams=self.folder
        )
        self.process = self.block.__enter__()
        end = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < end
            time.sleep(0.02)

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/healthz").is_success
        return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)
        self.block.__exit__(None, None, None)

    def empty(self) -> None:
        """Forget all images and jobs."""
        for kind, name in (("jobs", "job"), ("images", "id")):
            for entry in self.client.get(f"/api/v1/{kind}").json():
                self.client.delete(f"/api/v1/{kind}/{entry[name]}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("serve"))
    yield server
    server.stop()
    server.client.close()


@pytest.fixture(scope="module")
def context(server: Server) -> Iterator[Any]:
    """A browser that has opened the address of the server."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce")
        context.set_default_timeout(30_000)
        yield context
        browser.close()


@pytest.fixture(scope="module")
def tab(context: Any) -> Any:
    """One tab for all tests of a module; what goes wrong in it is in its list of faults."""
    page = context.new_page()
    page.faults = []
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on(
        "console",
        lambda said: page.faults.append(said.text) if "Security Policy" in said.text else None,
    )
    return page


@pytest.fixture
def page(server: Server, tab: Any) -> Iterator[Any]:
    """The page, new and with no photos; a fault of a script or of the policy fails the test."""
    server.empty()
    tab.unroute_all()
    tab.set_viewport_size(SIZE)
    tab.emulate_media(color_scheme="light")
    if tab.url.startswith("http"):
        tab.evaluate("() => { sessionStorage.clear(); localStorage.clear(); }")
    tab.goto(server.url)
    tab.wait_for_selector("body.is-ready")
    tab.wait_for_selector("#empty:not([hidden])")
    tab.faults.clear()
    yield tab
    assert tab.faults == []


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth image of 120 x 80 with a dark spot at (50, 30)."""
    y, x = np.mgrid[:80, :120]
    values = np.stack([100 + x, 80 + y, 160 - x / 2], 2).astype(np.uint8)
    values[25:35, 45:55] = 20
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(values).save(path)
    return path
