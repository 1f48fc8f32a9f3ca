"""A local cluster of Ray: nothing is lost and nothing comes twice, whatever is killed."""

import csv
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffprior
from diffprior.cli.outputs import Options
from diffprior.cli.progress import Bar
from diffprior.distributed.batch import Batch, run
from diffprior.distributed.book import Book
from diffprior.io.ledger import Row

ray = pytest.importorskip("ray", reason="the extra cluster is not installed")

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("ignore")]

FAST = {"sigma": 0.1, "method": "dpir(start=0.2)", "steps": 1}
COUNT = 24


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """Two workers on this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()


def process(row: Row) -> int:
    """Return the process that did an image."""
    return int(row["worker"].rpartition(":")[2])


def test_a_worker_that_is_killed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed as soon as its first image is done, with others at hand."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for k in range(COUNT):
        array = rng.integers(0, 256, (24 + 8 * (k % 2), 32, 3), np.uint8)
        Image.fromarray(array).save(tmp_path / "in" / f"{k:02}.png")
    (tmp_path / "in" / "bad.png").write_bytes(b"no image")
    work = Batch(
        function=diffprior.denoise,
        settings=FAST,
        o=Options(quiet=True),
        source=str(tmp_path / "in"),
        target=str(tmp_path / "out"),
        on="ray",
        workers=2,
    )
    killed: list[int] = []
    add = Book.add

    def heard(book: Book, row: Row) -> None:
        add(book, row)
        if not killed:
            killed.append(process(row))
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(Book, "add", heard)
    assert run(work, Bar(quiet=True)) == 1
    with (tmp_path / "out/ledger.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["input"]]
    states = {row["input"]: row["state"] for row in rows}
    names = [f"{k:02}" for k in range(COUNT)]
    assert states == {f"{name}.png": "done" for name in names} | {"bad.png": "failed"}
    assert len(rows) == len(states), "an image came twice"
    assert {process(row) for row in rows} - {*killed}, "nobody took over"
    results = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert results == [f"{name}.denoised.png" for name in names]
    for name in ("00", "07", "23"):
        with Image.open(tmp_path / "in" / f"{name}.png") as image:
            alone = diffprior.denoise(np.asarray(image), **FAST, ids=[f"{name}.png"]).image
        with Image.open(tmp_path / "out" / f"{name}.denoised.png") as image:
            assert np.array_equal(np.asarray(image), alone)


def test_map_adds_results_to_the_rows_of_a_data_set() -> None:
    """Images of two sizes, each with a mask of its own, of which one does not fit."""
    rng = np.random.default_rng(1)
    rows = []
    for k in range(4):
        image = rng.integers(0, 256, (16, 16 + 4 * (k % 2), 3), np.uint8)
        mask = np.zeros_like(image[..., 0])
        mask[2:6, k : k + 4] = 255
        rows.append({"name": str(k), "photo": image, "hole": mask})
    rows.append({"name": "4", "photo": rows[0]["photo"], "hole": rows[0]["hole"][:5, :7]})
    settings = {"method": "ddnm", "steps": 1}
    mapped = diffprior.distributed.map(
        ray.data.from_items(rows),
        "inpaint",
        image="photo",
        id="name",
        columns={"mask": "hole"},
        length=2,
        workers=1,
        **settings,
    )
    found = {row["name"]: row for row in mapped.iter_rows()}
    assert sorted(found) == [*"01234"]
    assert found["4"]["result"].size == 0 and "same size" in found["4"]["error"]
    for row in rows[:4]:
        alone = diffprior.inpaint(row["photo"], row["hole"], ids=[row["name"]], **settings)
        assert np.array_equal(found[row["name"]]["result"], alone.image)
        assert found[row["name"]]["error"] == "" and "network_calls" in found[row["name"]]["report"]
