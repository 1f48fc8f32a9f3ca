"""The command line as a person runs it: a process of its own, in a folder."""

import os
import subprocess
import sys
from pathlib import Path

from . import warm


def diffprior(
    *words: str | Path, folder: Path, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``diffprior WORDS`` in a folder, with one thread, and return its code and its output.

    With variables of the environment, Python starts anew, as it reads many of them at its start.
    """
    if not environment:
        return warm.run("-m", "diffprior", *words, folder=folder, timeout=timeout)
    command = [sys.executable, "-m", "diffprior", *map(str, words)]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | warm.ENVIRONMENT | environment,
        capture_output=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def texts(*words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``diffprior WORDS`` as above, for its output as text."""
    done = warm.run("-m", "diffprior", *words, folder=folder)
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a failed command said: one sentence of at most 300 characters, no traceback."""
    text = done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in text, text
    lines = [line for line in text.splitlines() if line.startswith("diffprior: ")]
    assert len(lines) == 1, text
    assert len(lines[0]) <= 311, text
    return lines[0].removeprefix("diffprior: ")
