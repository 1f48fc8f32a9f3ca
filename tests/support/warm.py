"""Processes of Python that start warm: each is forked from one that has imported torch.

The import of torch takes most of the time of a command on a small image. What else a process has
imported of the packages in ``LEARNED``, the later ones have from their start. A process that
``run`` starts is otherwise as one of ``python``: it has its own folder, streams, exit code and end.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

PACKAGE = Path(__file__).parents[2] / "diffprior"

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
HEAVY = (  # what nearly every command imports
    *("cv2", "pydantic", "safetensors.torch", "skimage.restoration._denoise", "torch"),
    *("diffprior.cli.batch", "diffprior.cli.commands", "diffprior.cli.outputs"),
    *("diffprior.pretrained.load", "diffprior.runtime.solve"),
)
LEARNED = (  # what some commands import: without threads, and the same in every folder
    *("cv2", "diffprior", "diffusers", "matplotlib", "PIL", "pywt", "scipy", "skimage"),
    "transformers",
)
STREAMS = ("stdin", "stdout", "stderr")


def run(
    *words: str | Path, folder: str | Path | None = None, stdin: bytes = b"", timeout: float = 120
) -> subprocess.CompletedProcess[bytes]:
    """Run ``python WORDS`` in a folder, where the words begin with ``-m MODULE`` or with a file."""
    with TemporaryDirectory() as streams:
        files = [Path(streams) / name for name in STREAMS]
        files[0].write_bytes(stdin)
        call = [*map(str, words)]
        place = os.path.abspath(folder or ".")
        asked: dict[str, Any] = {"call": call, "folder": place, "files": [*map(str, files)]}
        asked["imported"] = str(Path(streams) / "imported")
        code = _ended(_server(), asked, timeout)
        return subprocess.CompletedProcess(call, code, *(f.read_bytes() for f in files[1:]))


class Started:
    """A process that runs beside its starter. While it does, no other is started."""

    def __init__(self, server: socket.socket, asked: dict[str, Any]) -> None:
        self._server = server
        self._answers = server.makefile()
        self._code: int | None = None
        server.sendall(json.dumps(asked).encode() + b"\n")
        self.pid = int(self._answers.readline())

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self._code is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """Return the exit code when it has ended."""
        if self._code is None:
            self._server.settimeout(timeout)
            self._code = int(self._answers.readline())
            self._server.settimeout(None)
        return self._code


@contextmanager
def started(
    *words: str | Path, folder: Path, streams: Path, environment: dict[str, str] | None = None
) -> Iterator[Started]:
    """Run ``python WORDS`` in a folder until the block ends; streams is a folder for its output."""
    files = [streams / name for name in STREAMS]
    for file in files:
        file.touch()  # the process opens them a little later
    asked: dict[str, Any] = {
        "call": [*map(str, words)],
        "folder": str(folder),
        "files": [*map(str, files)],
        "environment": environment or {},
    }
    process = Started(_server(), asked)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def _ended(server: socket.socket, asked: dict[str, Any], timeout: float) -> int:
    """Return the exit code of what was asked for; end it where it takes too long."""
    answers = server.makefile()
    server.settimeout(timeout)
    server.sendall(json.dumps(asked).encode() + b"\n")
    child = int(answers.readline())
    try:
        return int(answers.readline())
    except TimeoutError:
        os.kill(child, signal.SIGKILL)
        server.settimeout(None)
        server.makefile().readline()
        raise subprocess.TimeoutExpired(str(asked["call"]), timeout) from None


@cache
def _server() -> socket.socket:
    """Start the process that is forked; it ends with this one."""
    ours, theirs = socket.socketpair()
    words = [sys.executable, "-P", __file__, str(theirs.fileno())]
    nothing = dict.fromkeys(STREAMS, subprocess.DEVNULL)
    server = subprocess.Popen(
        words, env=os.environ | ENVIRONMENT, pass_fds=[theirs.fileno()], **nothing
    )
    theirs.close()

    def close() -> None:
        ours.shutdown(socket.SHUT_RDWR)
        ours.close()
        server.wait()

    atexit.register(close)
    return ours


def _serve(wire: socket.socket) -> dict[str, Any]:
    """Fork a process for each line that comes; return, in that process, what was asked of it."""
    for line in wire.makefile():
        asked: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            wire.close()
            _become(asked)
            return asked
        wire.sendall(f"{child}\n".encode())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        imported = Path(asked.get("imported", os.devnull))
        names = imported.read_text().split() if imported.exists() else []
        wire.sendall(f"{code}\n".encode())
        _import(names)
    sys.exit()


def _become(asked: dict[str, Any]) -> None:
    """Take the folder, the streams and the environment that were asked for."""
    os.chdir(asked["folder"])
    os.environ.update(asked.get("environment", {}))
    tempfile.tempdir = None  # TMPDIR may be another
    for number, file in enumerate(asked["files"]):
        opened = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)


def _import(names: Iterable[str]) -> None:
    """Import modules, as far as each can be imported by itself."""
    for name in names:
        with suppress(Exception):
            import_module(name)
    gc.freeze()  # a collection in a fork would copy the memory of all that was imported


def _learned(before: set[str]) -> list[str]:
    """Return the modules that have been imported since then, and that others can have as well."""
    new = [name for name in sys.modules if name not in before]
    files = {name: str(getattr(sys.modules[name], "__file__", "")) for name in new}
    return [
        name
        for name, file in files.items()
        if name.partition(".")[0] in LEARNED
        and ("site-packages" in file or file.startswith(str(PACKAGE)))
    ]


def _main() -> None:
    _import(HEAVY)
    asked = _serve(socket.socket(fileno=int(sys.argv[1])))
    before = set(sys.modules)
    code = _work(*asked["call"])
    with suppress(OSError):  # the folder is gone if whoever asked did not wait
        Path(asked.get("imported", os.devnull)).write_text("\n".join(_learned(before)))
    for stream in (sys.stdout, sys.stderr):
        if stream and not stream.closed:
            stream.flush()
    os._exit(code)  # taking down all that was imported takes longer than most commands


def _work(first: str, *rest: str) -> int:
    """Do what ``python FIRST REST`` does, and return its exit code."""
    try:
        if first == "-m":
            sys.path.insert(0, os.getcwd())
            sys.argv = [*rest]
            runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(first).parent))
            sys.argv = [first, *rest]
            runpy.run_path(first, run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        atexit._run_exitfuncs()
    return 0


if __name__ == "__main__":
    _main()
