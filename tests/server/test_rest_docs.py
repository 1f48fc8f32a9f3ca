"""The examples of the page on REST run as they stand."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support.web import API, TOKEN, picture, png

pytestmark = pytest.mark.usefixtures("quick")

PAGE = (Path(__file__).parents[2] / "docs" / "rest.md").read_text(encoding="utf-8")


def example(language: str) -> str:
    """Return the only example in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.S | re.M)
    return code


@pytest.fixture
def place(tmp_path):
    photo = np.repeat(np.repeat(picture(12, 16, 3), 4, 0), 4, 1)
    (tmp_path / "photo.jpg").write_bytes(png(photo, "JPEG", quality=95))
    hole = np.zeros((48, 64), np.uint8)
    hole[20:24, 20:30] = 255
    (tmp_path / "mask.png").write_bytes(png(hole))
    return tmp_path


def run(client, words: list[str], folder: Path) -> str:
    url = str(client.base_url).rstrip("/")
    env = os.environ | {"TOKEN": TOKEN, "URL": url, "no_proxy": "127.0.0.1"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_example_for_curl_runs(client, place):
    out = run(client, ["bash", "-euo", "pipefail", "-c", example("bash")], place)
    assert "event: done" in out
    for task in ("inpainted", "denoised"):
        assert Image.open(place / f"photo.{task}.png").size == (64, 48)


def test_the_example_in_python_runs(client, place):
    out = run(client, [sys.executable, "-W", "ignore", "-c", example("py")], place)
    assert out.splitlines()[-1] == "photo.denoised.png"
    assert Image.open(place / "photo.inpainted.png").size == (64, 48)


def test_every_address_is_on_the_page(client):
    tasks = [task["name"] for task in client.get(f"{API}/tasks").json()]
    for path in client.get(f"{API}/openapi.json").json()["paths"]:
        last = [part for part in path.removeprefix(API).split("/") if part and "{" not in part]
        if not last or last[-1] in tasks:
            continue
        assert last[-1] in PAGE, path
