"""A real browser on a real server, one of each for a module: playwright allows one at a time."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

TOKEN = "paint"
MISSING = "the tests of the page need /usr/bin/chromium and the package playwright"
BROWSER = shutil.which("chromium")


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
            self.port = free.getsockname()[1]
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.port}/?token={TOKEN}"
        self.start()

    def start(self) -> None:
        words = ["serve", "--no-open", "--port", str(self.port), "--token", TOKEN]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "diffprior", *words],
            cwd=self.folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == self.url

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(how)
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("serve"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """A browser without a past."""
    size = {"width": 1000, "height": 700}
    context = browser.new_context(viewport=size, reduced_motion="reduce")
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def page(server: Server, context: Any) -> Iterator[Any]:
    """The page, with no photos; a fault of a script or of the policy fails the test."""
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if "Security Policy" in m.text else None)
    page.goto(server.url)
    page.wait_for_selector("body.is-ready")
    page.evaluate(
        """async () => {
             const known = await (await fetch("/api/v1/images")).json();
             const gone = known.map((i) => fetch(`/api/v1/images/${i.id}`, { method: "DELETE" }));
             await Promise.all(gone);
             const { session } = await import("/page/js/session.js");
             await session.refresh();
           }"""
    )
    page.wait_for_selector("#empty:not([hidden])")
    yield page
    assert faults == []


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth image of 120 x 80 with a dark spot at (50, 30)."""
    y, x = np.mgrid[:80, :120]
    values = np.stack([100 + x, 80 + y, 160 - x / 2], 2).astype(np.uint8)
    values[25:35, 45:55] = 20
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(values).save(path)
    return path
