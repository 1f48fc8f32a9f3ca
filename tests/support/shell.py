"""The command line as a person runs it: a process of its own, in a folder."""

import os
import subprocess
import sys
from pathlib import Path


def diffprior(
    *words: str | Path, folder: Path, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run ``diffprior WORDS`` in a folder, with one thread, and return its code and its output."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | environment
    command = [sys.executable, "-m", "diffprior", *map(str, words)]
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        capture_output=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return what a failed command said: one sentence of at most 300 characters, no traceback."""
    text = done.stderr.decode("utf-8", "replace")
    assert "Traceback" not in text, text
    lines = [line for line in text.splitlines() if line.startswith("diffprior: ")]
    assert len(lines) == 1, text
    assert len(lines[0]) <= 311, text
    return lines[0].removeprefix("diffprior: ")
