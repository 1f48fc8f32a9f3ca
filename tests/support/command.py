"""The command line in this process: fast enough for many calls, and as the shell sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from diffprior.cli import commands, process


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code.
        said: The lines of ``diffprior: ...`` on stderr, without these words.
        out: Its standard output.
    """

    code: int
    said: Sequence[str]
    out: str


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *words: object) -> Ended:
    """Run ``diffprior WORDS``; an error that nothing expected fails the test."""
    monkeypatch.setattr("sys.argv", ["diffprior", *map(str, words)])
    code = process._ending(commands.run)
    out, err = capsys.readouterr()
    assert "unexpected error" not in err and "Traceback" not in err, err
    said = [x.removeprefix("diffprior: ") for x in err.splitlines() if x.startswith("diffprior: ")]
    assert all(len(line) <= 300 and line.isprintable() for line in said), err
    return Ended(code, said, out)
