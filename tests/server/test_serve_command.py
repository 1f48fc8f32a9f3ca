"""``diffprior serve`` as a process: its address, its end, and what it cannot do."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from diffprior.server.run import run
from diffprior.server.service import Config

from support import warm
from support.shell import complaint, diffprior
from support.web import API, FAST, picture, png

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fastapi", "starlette", "uvicorn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
from diffprior.cli import main
sys.argv = ["diffprior", "serve", "--no-open"]
main()
"""


@contextmanager
def served(folder: Path, *words: str, **environment: str):
    """Run the command; yield the process and the address that it printed."""
    words = ("-m", "diffprior", "serve", "--no-open", *words)
    environment |= {"TMPDIR": str(folder)}
    with warm.started(*words, folder=folder, streams=folder, environment=environment) as process:
        end = time.monotonic() + 60
        while "\n" not in (said := (folder / "stdout").read_text()):
            assert time.monotonic() < end, (folder / "stderr").read_text()
            time.sleep(0.02)
        yield process, said.strip()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_it_says_its_address_does_a_job_and_leaves_nothing(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(Config(port=port), open_page=False) == 2
        said = capsys.readouterr().err
        assert f"port {port} of '127.0.0.1' cannot be listened on" in said
    with served(tmp_path, f"--port={port}") as (process, address):
        match = re.fullmatch(rf"http://127\.0\.0\.1:{port}/\?token=([\w-]{{32}})", address)
        assert match, address
        headers = {"Authorization": f"Bearer {match[1]}"}
        with httpx.Client(base_url=address.partition("?")[0], headers=headers) as client:
            entry = client.get(address)
            assert entry.status_code == 303 and "HttpOnly" in entry.headers["set-cookie"]
            answer = client.post(
                f"{API}/denoise",
                data=FAST | {"wait": "true"},
                files={"image": ("a.png", png(picture(16, 16, 3)))},
                timeout=60,
            )
            assert answer.status_code == 200, answer.text
            slow = {"steps": "3000", "sigma": "0.1", "samples": "2"}
            sent = {"image": ("a.png", png(picture(128, 128, 3)))}
            job = client.post(f"{API}/denoise", data=slow, files=sent).json()
            with client.stream("GET", job["events"]) as events:  # which does not hold up the end
                lines = events.iter_lines()
                assert next(lines) == "event: state"
                folders = list(tmp_path.glob("diffprior-*"))
                assert len(folders) == 1
                process.send_signal(signal.SIGTERM)
                assert "event: canceled" in list(lines)
        started = time.monotonic()
        assert process.wait(15) == 0
        assert time.monotonic() - started < 10
        said = (tmp_path / "stderr").read_text()
        assert said.splitlines()[-1] == "diffprior: stopped" and "Traceback" not in said
        assert not list(tmp_path.glob("diffprior-*"))


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_taken_port_is_left_and_ctrl_c_ends_it(tmp_path):
    with socket.create_server(("127.0.0.1", 8080)) if free(8080) else socket.socket():
        with served(tmp_path, "--jobs=3", DIFFPRIOR_TOKEN="mine") as (process, address):
            port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=mine", address)[1])
            assert port > 8080
            url = f"http://127.0.0.1:{port}"
            headers = {"Authorization": "Bearer mine"}
            assert httpx.get(f"{url}{API}/server", headers=headers).json()["jobs"] == 3
            process.send_signal(signal.SIGINT)
            assert process.wait(15) == 0
            said = (tmp_path / "stderr").read_text().splitlines()
    assert said[0] == f"diffprior: port 8080 is taken; {port} is used"
    assert said[-1] == "diffprior: stopped"
    assert not list(tmp_path.glob("diffprior-*"))


def free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_without_its_extra_it_says_how_to_install_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED], cwd=tmp_path, capture_output=True, timeout=60
    )
    assert done.returncode == 2
    assert complaint(done) == "serve needs the extra app: pip install 'diffprior[app]'"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"prior": "nonsense"}, "nonsense"),
        ({"device": "abacus"}, "no device 'abacus'"),
        ({"host": "203.0.113.7"}, "of '203.0.113.7' cannot be listened on"),
        ({"token": ""}, "a token is one or more plain characters"),
        ({"token": "\u00e9"}, "a token is one or more plain characters"),
    ],
)
def test_what_it_cannot_do_is_one_sentence(tmp_path, monkeypatch, capsys, settings, text):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run(Config(**{"token": "mine", "port": 0} | settings), open_page=False) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("diffprior: port 8080")]
    assert len(lines) == 1 and text in lines[0] and len(lines[0]) <= 311 and not out
    assert not list(tmp_path.iterdir())


def test_wrong_words_are_said_before_anything_is_opened(tmp_path):
    done = diffprior("serve", "--jobs=0", folder=tmp_path)
    assert done.returncode == 2 and "--jobs" in complaint(done)
