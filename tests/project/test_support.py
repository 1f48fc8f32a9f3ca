"""Processes that start warm are otherwise as those of ``python``."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import warm

SCRIPT = """
import atexit, os, sys
atexit.register(print, "left")
word = sys.argv[1]
print(os.getcwd(), sys.argv, __name__, sys.path[0] == os.path.dirname(__file__))
print(sys.stdin.read(), sys.stdin.buffer.read(), os.environ["HF_HUB_OFFLINE"])
print("heard", file=sys.stderr)
if word == "text":
    sys.exit("a sentence")
if word == "error":
    raise ValueError(word)
if word == "signal":
    sys.stdout.flush()
    os.kill(os.getpid(), 15)
sys.exit(int(word))
"""


@pytest.mark.parametrize("word", ["0", "7", "text", "error", "signal"])
def test_a_warm_process_ends_as_a_cold_one(tmp_path: Path, monkeypatch, word: str) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    script = str(tmp_path / "script.py")
    given = {"cwd": tmp_path, "input": b"\xc3\xa4\nb", "capture_output": True}
    cold = subprocess.run([sys.executable, script, word], **given)
    done = warm.run(script, word, folder=tmp_path, stdin=given["input"])
    assert (done.returncode, done.stdout) == (cold.returncode, cold.stdout)
    assert done.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]
    assert done.stderr.startswith(b"heard")


def test_a_warm_process_is_ended_when_its_time_is_over(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("import time; time.sleep(60)")
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(tmp_path / "long.py", timeout=0.5)
    (tmp_path / "short.py").write_text("print(1)")
    assert warm.run(tmp_path / "short.py").stdout == b"1\n"


def test_a_warm_process_has_what_another_has_imported(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "import sys; print('scipy.datasets' in sys.modules)\nimport scipy.datasets"
    )
    outputs = [warm.run(tmp_path / "a.py", folder=tmp_path).stdout for _ in range(2)]
    assert outputs == [b"False\n", b"True\n"]
