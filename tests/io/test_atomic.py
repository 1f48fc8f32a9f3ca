"""A file is written whole or not at all, whatever ends the process in between."""

import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffprior.io import atomic

pytestmark = pytest.mark.skipif(os.name == "nt", reason="a process is forked")
PART = ".0123456789abcdef.part"


def refusing(*_: object, **__: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def killed(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(act: Callable[[], None]) -> int:
    """Run something in a process of its own, which ends by it or with 0; return its status."""
    child = os.fork()
    if child == 0:
        atomic.swept.clear()
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


WORLDS = {  # what a file system may lack
    "all there": {},
    "no O_TMPFILE": {"tmpfile": None},
    "no hard links": {"link": refusing},
    "no hard links, no renameat2": {"link": refusing, "rename": lambda *_: False},
    "nothing": {"tmpfile": None, "link": refusing, "rename": lambda *_: False},
}


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system without some of what Linux has."""
    lacks = WORLDS[request.param]
    if "tmpfile" in lacks:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    if "link" in lacks:
        monkeypatch.setattr(os, "link", lacks["link"])
    if "rename" in lacks:
        monkeypatch.setattr(atomic, "_rename_to_free", lacks["rename"])
    atomic.swept.clear()
    return str(request.param)


def test_a_name_is_taken_only_by_force(tmp_path: Path, world: str) -> None:
    path = tmp_path / "a.png"
    atomic.place(b"one", path)
    with pytest.raises(FileExistsError):
        atomic.place(b"two", path)
    assert path.read_bytes() == b"one" and os.listdir(tmp_path) == ["a.png"]
    atomic.place(b"two", path, force=True)
    assert path.read_bytes() == b"two" and os.listdir(tmp_path) == ["a.png"]
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_dangling_link_is_a_name_that_is_taken(tmp_path: Path, world: str) -> None:
    path = tmp_path / "a.png"
    path.symlink_to("nowhere")
    with pytest.raises(FileExistsError):
        atomic.place(b"one", path)
    assert path.is_symlink() and os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("moment", ["fsync", "replace", "link"])
def test_sigkill_leaves_the_old_or_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: str, moment: str, force: bool
) -> None:
    path = tmp_path / "a.png"
    if force:
        path.write_bytes(b"old")
    monkeypatch.setattr(os, moment, killed)
    in_a_child(lambda: atomic.place(b"new", path, force))
    monkeypatch.undo()
    left = path.read_bytes() if path.exists() else None
    assert left in ((b"old", b"new") if force else (None, b"new"))
    atomic.swept.clear()
    atomic.place(b"other", tmp_path / "b.png")  # the next write clears what is left
    assert {p.name for p in tmp_path.iterdir()} <= {"a.png", "b.png"}


def test_sigterm_in_the_middle_of_a_large_write_leaves_nothing(tmp_path: Path) -> None:
    data = bytes(20_000_000)
    for k in range(5):
        child = os.fork()
        if child == 0:
            atomic.place(data, tmp_path / f"{k}.png")
            os._exit(0)
        time.sleep(0.003 * (k + 1))
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
    assert all(path.stat().st_size == len(data) for path in tmp_path.iterdir())
    assert not list(tmp_path.glob(".*"))


def test_parts_of_processes_that_live_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic.swept.clear()
    (tmp_path / PART).touch()  # as a killed process leaves it
    (tmp_path / ".other.part").touch()
    monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    with atomic._part(tmp_path) as (living, _):
        assert in_a_child(lambda: atomic.place(b"one", tmp_path / "a.png")) == 0
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {living.name, ".other.part", "a.png"}


def test_renameat2_is_asked_for_a_free_name(tmp_path: Path) -> None:
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("the C library has no renameat2")
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"one")
    assert atomic._rename_to_free(a, b) and b.read_bytes() == b"one" and not a.exists()
    a.write_bytes(b"two")
    with pytest.raises(FileExistsError):
        atomic._rename_to_free(a, b)
    assert b.read_bytes() == b"one"
    assert not atomic._rename_to_free(a, tmp_path / "no" / "b")
