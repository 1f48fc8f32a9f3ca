"""A batch of files: what its ledger says, what is left after a stop, where results go."""

import csv
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.cli.outputs import Options
from diffprior.cli.pool import Pool
from diffprior.cli.progress import Bar
from diffprior.distributed import batch as module
from diffprior.distributed.batch import Batch, orders_of, parts, run
from diffprior.distributed.book import Book
from diffprior.distributed.cluster import Resources
from diffprior.distributed.stores import Folder, Remote, open_store
from diffprior.distributed.worker import FileWorker, Order, entry
from diffprior.errors import ExtraError, SettingError

from support.shell import diffprior as command

FAST = {"sigma": 0.1, "method": "dpir(start=0.2)", "steps": 1}
NAMES = ["a.png", "b.png", "deep/a.png", "deep/er/c.png"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images in folders, one of which is damaged, and a file that is no image."""
    rng = np.random.default_rng(0)
    for name in NAMES:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 20, 3), np.uint8)).save(path)
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    (tmp_path / "in" / "notes.txt").write_text("no image either")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(force: bool = False, **more: object) -> Batch:
    settings = {"function": diffprior.denoise, "settings": FAST, "source": "in", "target": "out"}
    o = Options(quiet=True, force=force)
    return Batch(**settings | {"o": o} | more)  # type: ignore[arg-type]


def rows(path: str = "out/ledger.csv") -> dict[str, dict[str, str]]:
    """Return the rows about images, each of which must be there once."""
    with open(path, newline="") as file:
        found = [row for row in csv.DictReader(file) if row["input"]]
    assert len({row["input"] for row in found}) == len(found)
    return {row["input"]: row for row in found}


def results() -> dict[str, bytes]:
    return {
        path.relative_to("out").as_posix(): np.asarray(Image.open(path)).tobytes()
        for path in sorted(Path("out").rglob("*.png"))
    }


def test_a_batch_does_each_image_once_and_lists_what_failed(place: Path, capsys) -> None:
    """The results are those of the task itself; they keep the folders of their images."""
    Image.new("RGB", (20, 16), "gray").save("in/b.png")  # of which noise cannot be removed
    assert run(of(), Bar(quiet=True)) == 1
    found = rows()
    assert {name: row["state"] for name, row in found.items()} == dict.fromkeys(NAMES, "done") | {
        "bad.png": "failed"
    }
    said = capsys.readouterr().err
    assert (
        "diffprior: in/bad.png: it is no PNG" in said
        and "4 images are done, 1 failed; out/ledger" in said
    )
    assert list(results()) == [name.replace(".png", ".denoised.png") for name in sorted(NAMES)]
    with Image.open("in/deep/a.png") as image:
        alone = diffprior.denoise(np.asarray(image), **FAST, ids=["a.png"]).image
    assert results()["deep/a.denoised.png"] == np.asarray(alone).tobytes()
    assert json.loads(found["deep/a.png"]["outputs"]) == ["deep/a.denoised.png"]
    assert "residual" not in said and "images with a warning: 1; out/ledger.csv holds" in said
    warned = {name: row["warnings"] for name, row in found.items() if row["warnings"]}
    assert [*warned] == ["b.png"] and warned["b.png"].startswith("the residual is")


def test_a_run_that_was_stopped_goes_on(place: Path, monkeypatch, capsys) -> None:
    """What was begun is done again, what is done is not, and what was lost is."""
    calls = []
    work = FileWorker.__call__

    def heard(self, orders):
        calls.extend(order.name for order in orders)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return work(self, orders)

    monkeypatch.setattr(FileWorker, "__call__", heard)
    with pytest.raises(KeyboardInterrupt):
        run(of(), Bar(quiet=True))
    first = calls[:2]
    assert list(rows()) == first == ["a.png", "b.png"]
    Path("out/a.denoised.png").unlink()
    calls[:] = ["", "", "", ""]
    assert run(of(), Bar(quiet=True)) == 1
    again = calls[4:]
    assert sorted(again) == sorted({*NAMES, "bad.png"} - set(first) | {"a.png"})
    with open("out/ledger.csv", newline="") as file:
        assert sum(row["input"] == "a.png" for row in csv.DictReader(file)) == 2
    calls[:] = [""] * 5
    assert run(of(), Bar(quiet=True)) == 1 and calls[5:] == ["bad.png"]
    assert "4 of 5 images are done already" in capsys.readouterr().err


def test_processes_do_the_same(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one of them is killed by an image, of which the others know nothing."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a process that is forked has no other ones
    pool = cv2.getNumThreads()
    cv2.setNumThreads(1)  # ends its threads here: a forked process would wait for them for ever
    work = FileWorker.__call__

    def killed(self: FileWorker, orders: list[Order]) -> list:
        if orders[0].name == "b.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return work(self, orders)

    with monkeypatch.context() as patch:
        patch.setattr(module, "Pool", partial(Pool, method="fork"))
        patch.setattr(FileWorker, "__call__", killed)
        assert run(of(workers=2), Bar(quiet=True)) == 1
    torch.set_num_threads(threads)
    cv2.setNumThreads(pool)
    found = rows()
    assert {name for name, row in found.items() if row["error"]} == {"b.png", "bad.png"}
    assert "was killed by SIGKILL, twice" in found["b.png"]["error"]
    several = results()
    assert run(of(target="one"), Bar(quiet=True)) == 1
    for name, data in several.items():
        assert np.asarray(Image.open(place / "one" / name)).tobytes() == data


def test_other_settings_are_another_batch(place: Path) -> None:
    assert run(of(), Bar(quiet=True)) == 1
    with pytest.raises(SettingError, match="of a batch with other settings"):
        run(of(settings=FAST | {"sigma": 0.2}), Bar(quiet=True))
    other = {"settings": FAST | {"sigma": 0.2}, "ledger": Path("other.csv")}
    before = results()
    with pytest.raises(SettingError, match="holds a.denoised.png already; give --force"):
        run(of(**other), Bar(quiet=True))
    assert not Path("other.csv").exists() and results() == before
    assert run(of(**other, force=True), Bar(quiet=True)) == 1
    assert not {*results().values()} & {*before.values()}


REFUSED = {
    "no place": ({"on": "rai"}, "no --on 'rai'"),
    "its own source": ({"target": "in"}, "need a folder of their own"),
    "no image": ({"source": "in/deep/none"}, "there is no image in in/deep/none"),
    "no ledger": ({"target": "s3://bucket/x"}, "give --ledger FILE.csv"),
    "no table": ({"ledger": Path("x.txt")}, "a ledger is a .csv file"),
    "no images": ({"function": diffprior.invert}, "the results of invert are no images"),
    "no setting": ({"settings": {"sigma": -1.0}}, "sigma"),
    "no prior": ({"settings": FAST | {"prior": "nowhere/x"}}, "nowhere/x"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_holds_for_all_images_is_refused(place: Path, case: str) -> None:
    wrong, expected = REFUSED[case]
    with pytest.raises(ValueError, match=expected):
        run(of(**wrong), Bar(quiet=True))
    assert not list(Path().rglob("*.denoised.png"))


def test_names_of_results_are_told_apart() -> None:
    names = ["x/a.jpg", "x/a.png", "y/a.png", "b.tif"]
    assert orders_of(names, "denoised", 1) == {
        "x/a.jpg": ("x/a.jpg.denoised.png",),
        "x/a.png": ("x/a.png.denoised.png",),
        "y/a.png": ("y/a.denoised.png",),
        "b.tif": ("b.denoised.png",),
    }
    assert orders_of(["b.tif"], "varied", 2)["b.tif"] == ("b.varied-1.png", "b.varied-2.png")


@pytest.mark.parametrize(
    ("count", "workers", "length", "least", "expected"),
    [
        *((5, 2, 1, 1, 1), (1000, 2, 1, 1, 1), (1000, 2, 1, 32, 32), (1000, 2, 16, 32, 62)),
        *((10, 2, 8, 1, 8), (10**4, 10, 16, 32, 64), (100, 2, 1, 32, 6)),
    ],
)
def test_parts_hold_several_batches_and_not_too_many(
    count: int, workers: int, length: int, least: int, expected: int
) -> None:
    orders = [Order(str(n), ()) for n in range(count)]
    pieces = parts(orders, workers, length, least)
    assert [x for piece in pieces for x in piece] == orders
    assert {len(piece) for piece in pieces[:-1]} <= {expected}


def test_the_results_in_the_folder_of_the_images_are_no_images(place: Path) -> None:
    store = Folder(place / "in")
    assert store.names() == sorted([*NAMES, "bad.png", "notes.txt"])
    assert module._images(store, Folder(place / "in" / "deep")) == ["a.png", "b.png", "bad.png"]
    assert Folder(place / "nothing").names() == []


def test_a_book_knows_what_is_left(tmp_path: Path) -> None:
    book = Book(tmp_path / "x.csv", {"a": 1})
    a, b, c = (Order(name, (f"{name}.out",)) for name in "abc")
    book.add(entry(a))
    book.add(entry(b, "it broke"))
    assert book.left("abc", ["a.out"]) == ["b", "c"] and book.left("abc") == ["a", "b", "c"]
    again = Book(tmp_path / "x.csv", {"a": 1})
    assert not again.is_new and again.failures() == [("b", "it broke")]
    again.add(entry(b))
    assert Book(tmp_path / "x.csv", {"a": 1}).left("abc", ["a.out", "b.out"]) == ["c"]
    assert c.name == "c" and (again.count("done"), again.count("failed")) == (2, 0)
    with pytest.raises(SettingError, match="other settings"):
        Book(tmp_path / "x.csv", {"a": 2})


def test_an_address_is_opened_by_pyarrow(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "x").mkdir()
    store = open_store(f"file://{tmp_path}")
    assert isinstance(store, Remote)
    store.write("x/y/a.png", b"data")
    store.write("b.png", b"more")
    assert store.names() == ["b.png", "x/y/a.png"]
    with store.open("x/y/a.png") as file:
        assert file.read() == b"data" and file.name == "x/y/a.png"
    with pytest.raises(ValueError, match="none.png cannot be read"):
        store.open("none.png")
    with pytest.raises(SettingError, match="cannot be opened"):
        open_store("nothing://x").names()


def test_an_address_without_pyarrow_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraError, match="diffprior\\[cluster\\]"):
        open_store("s3://bucket/x").names()


def test_the_command_of_a_batch(place: Path) -> None:
    words = ("batch", "denoise", "in", "--sigma", "0.1", "--method", "dpir(start=0.2)")
    done = command(*words, "--steps", "1", "-o", "out", folder=place)
    assert done.returncode == 1, done.stderr
    assert len(rows()) == 5 and len(results()) == 4


class Cluster:
    """What Ray says of the resources of a cluster."""

    def __init__(self, **resources: float) -> None:
        self._resources = resources

    def cluster_resources(self) -> dict[str, float]:
        return self._resources


@pytest.mark.parametrize(
    ("there", "asked", "device", "expected"),
    [
        ({"CPU": 6.0}, None, None, (6, 0, 1)),
        ({"CPU": 6.0}, 2, None, (2, 0, 1)),
        ({"CPU": 64.0, "GPU": 4.0}, None, None, (4, 1, 8)),
        ({"CPU": 64.0, "GPU": 4.0}, 16, "cuda", (16, 0.25, 8)),
        ({"CPU": 64.0, "GPU": 4.0}, 2, None, (2, 1, 8)),
        ({"CPU": 64.0, "GPU": 4.0}, None, "cpu", (64, 0, 1)),
    ],
)
def test_workers_have_their_share_of_a_cluster(
    there: dict, asked: int | None, device: str | None, expected: tuple
) -> None:
    found = Resources.of(Cluster(**there), asked, device)
    assert (found.workers, found.gpus, found.length(None)) == expected
    assert found.length(3) == 3


def test_map_without_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExtraError, match="diffprior\\[cluster\\]"):
        diffprior.distributed.map(None, "denoise")
