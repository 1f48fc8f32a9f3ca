"""A task over all images of a folder or a store, with a ledger: a run that was stopped goes on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..cli.naming import result_stems
from ..cli.outputs import Options
from ..cli.pool import Pool, Tell, Work
from ..cli.process import check_signals
from ..cli.progress import Bar
from ..cli.runs import open_folders, threads_of_each, use_threads
from ..cli.streams import say
from ..errors import SettingError
from ..io import documents, files
from ..runtime.ranks import Rank, own_device
from ..runtime.settings import check_counts
from ..runtime.signature import TaskFunction
from ..validation import literal, nearest, shown
from .book import Book, Entry
from .solver import batch_length
from .stores import Folder, Store, open_store
from .worker import FileWorker, Order, entry

__all__ = ["PLACES", "Batch", "orders_of", "parts", "run"]

PLACES = ("processes", "ray")
FREE = ("device", "offload")  # settings that may change when a batch goes on
SEVERAL = 4  # batches that a worker gets at a time, so that images of one size come together
FAR = 32  # images, at least, that one of another machine gets at a time
ROUNDS = 8  # parts that each worker gets at least, so that all of them end together
NAMED = 20  # failures that are named at the end; the ledger names all


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a batch does.

    Attributes:
        function: The function of the task.
        settings: Its settings; those that are paths are read as images.
        o: The options of the command: ``force``, ``strip_metadata``, ``max_pixels``.
        source: The folder of the images, or the address of a store.
        target: The folder of the results, or the address of a store.
        ledger: The file of the ledger; by default it lies among the results.
        on: Where it runs: one of ``PLACES``.
        workers: The number of workers; by default 1, or on Ray what suits the cluster.
        length: The most images that are solved together; by default what suits the device.
    """

    function: TaskFunction
    settings: Mapping[str, Any]
    o: Options
    source: str
    target: str
    ledger: Path | None = None
    on: str = "processes"
    workers: int | None = None
    length: int | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What the results depend on, for the ledger."""
        settings = {k: v for k, v in self.settings.items() if v is not None and k not in FREE}
        return {
            "task": self.function.__name__,
            "source": self.source,
            "target": self.target,
            "settings": {k: repr(v) for k, v in settings.items()},
        }


def run(batch: Batch, bar: Bar) -> int:
    """Run a batch, or go on with it; return the exit code: 0, or 1 if an image failed.

    Raises:
        SettingError: If a setting, or the prior, cannot be used; nothing was done.
    """
    source, target = open_store(batch.source), open_store(batch.target)
    _check(batch, source, target)
    ledger = _ledger(batch, target)
    worker = FileWorker(
        batch.function, open_folders(batch.function.task, batch.settings), batch.o, source, target
    )
    with documents.locked(ledger.with_name(f".{ledger.name}.lock")):
        orders = orders_of(_images(source, target), batch.function.task.past, _samples(batch))
        written = target.names()
        book = Book(ledger, batch.identity)
        _check_free(batch, book, orders, written)
        left = book.left(orders, written)
        if len(left) < len(orders):
            say(f"{len(orders) - len(left)} of {len(orders)} images are done already")
        done = len(orders) - len(left)
        work = [Order(name, orders[name]) for name in left]
        with bar.of(f"{len(orders)} images", "starting"):
            for row in _entries(batch, worker, work):
                _refuse(row, done)
                book.add(row | {"state": "failed" if row["error"] else "done"})
                done += 1
                bar.update(done / len(orders))
    return _report(book)


def orders_of(names: Sequence[str], past: str, samples: int) -> dict[str, tuple[str, ...]]:
    """Return the names of the results of each image; results keep the folders of their images.

    Arguments:
        names: The names of the images.
        past: The word of the task, such as "denoised".
        samples: The number of results of each image.
    """
    stems = result_stems([Path(name) for name in names], None)
    numbers = [""] if samples == 1 else [f"-{k + 1}" for k in range(samples)]
    return {
        name: tuple(
            (Path(name).parent / f"{stems[Path(name)]}.{past}{number}.png").as_posix()
            for number in numbers
        )
        for name in names
    }


def parts(orders: Sequence[Order], workers: int, length: int, least: int = 1) -> list[list[Order]]:
    """Return images in the parts that a worker gets at a time.

    A part holds several batches, but not so many images that some workers wait for others at the
    end.

    Arguments:
        orders: The images.
        workers: The number of workers.
        length: The most images of a batch.
        least: Images that are worth a message.
    """
    most = max(SEVERAL * length if length > 1 else 1, least)
    size = max(length, min(most, len(orders) // (ROUNDS * workers)), 1)
    return [list(orders[k : k + size]) for k in range(0, len(orders), size)]


def _check(batch: Batch, source: Store, target: Store) -> None:
    """Check what can be before any image is listed."""
    if batch.on not in PLACES:
        raise SettingError(f"no --on {literal(batch.on)}; {nearest(batch.on, PLACES)}")
    if source == target:
        raise SettingError("the results of a batch need a folder of their own; give another -o")
    if Rank.here().size > 1:
        raise SettingError("a batch starts its processes itself; call it without torchrun")
    if batch.function.task.suffix is not None:
        raise SettingError(f"the results of {batch.function.__name__} are no images")
    check_counts(_samples(batch), batch.settings.get("steps"))


def _samples(batch: Batch) -> int:
    return int(batch.settings.get("samples", 1))


def _ledger(batch: Batch, target: Store) -> Path:
    if batch.ledger is not None:
        return batch.ledger
    if not isinstance(target, Folder):
        raise SettingError(
            f"the results go to {shown(batch.target)}, and the ledger lies in a folder: give "
            "--ledger FILE.csv"
        )
    return target.path / "ledger.csv"


def _images(source: Store, target: Store) -> list[str]:
    """Return the names of the images of a store, without what lies in the folder of the results."""
    names = [name for name in source.names() if name.lower().endswith(files.READABLE)]
    if isinstance(source, Folder) and isinstance(target, Folder):
        inner = target.path.resolve()
        if inner.is_relative_to(source.path.resolve()):
            head = f"{inner.relative_to(source.path.resolve()).as_posix()}/"
            names = [name for name in names if not name.startswith(head)]
    if not names:
        raise SettingError(f"there is no image in {shown(getattr(source, 'path', source))}")
    return names


def _check_free(
    batch: Batch, book: Book, orders: Mapping[str, Sequence[str]], written: Sequence[str]
) -> None:
    """Check that a new batch overwrites nothing."""
    taken = {*written} & {name for outputs in orders.values() for name in outputs}
    if book.is_new and taken and not batch.o.force:
        book.path.unlink()
        raise SettingError(
            f"{shown(batch.target)} holds {shown(min(taken))} already; give --force to overwrite "
            "it, or another folder"
        )


def _entries(batch: Batch, worker: FileWorker, orders: Sequence[Order]) -> Iterator[Entry]:
    """Yield the rows of the ledger about images, as they are done."""
    if not orders:
        return
    if batch.on == "ray":
        from . import cluster

        with cluster.running() as ray:
            resources = cluster.Resources.of(ray, batch.workers, batch.settings.get("device"))
            most = resources.length(batch.length)
            pieces = parts(orders, resources.workers, most, FAR)
            yield from cluster.entries(ray, replace(worker, most=most), pieces, resources)
        return
    jobs = batch.workers or 1
    most = batch_length(batch.length, batch.settings.get("device"))
    pieces = parts(orders, jobs, most)
    worker = replace(worker, most=most)
    if jobs == 1:
        for piece in pieces:
            yield from worker(piece)
            check_signals()
        return
    crew = Pool(jobs, partial(_work, worker, threads_of_each(jobs)))
    for told in crew.run(pieces):
        if told.kind == "answer":
            yield from told.value
        else:
            error = f"its process {told.value}, twice; is there enough memory?"
            yield from (entry(order, error) for order in told.job)


@contextmanager
def _work(worker: FileWorker, threads: int, number: int, tell: Tell) -> Iterator[Work]:
    """Give the work of one process of this machine."""
    use_threads(threads)
    device = own_device(worker.values.get("device"), number)
    given = {"device": device} if "device" in worker.values else {}
    yield replace(worker, values={**worker.values, **given})


def _refuse(row: Entry, done: int) -> None:
    """Stop before anything is done, where the first image was refused for what all have."""
    if row["state"] == "refused" and not done:
        raise SettingError(row["error"])


def _report(book: Book) -> int:
    """Say what failed, and return the exit code."""
    failures = book.failures()
    for name, error in failures[:NAMED]:
        say(error if name in error else f"{shown(name)}: {error}")
    if warned := book.warned():
        say(f"images with a warning: {warned}; {shown(book.path)} holds them")
    if failures:
        say(
            f"{book.count('done')} images are done, {len(failures)} failed; "
            f"{shown(book.path)} names them"
        )
    return int(bool(failures))
