"""Ray: actors that keep a prior loaded, and work on the rows of a data set of Ray Data.

Ray comes with the extra ``cluster``. A worker that is killed is started again, and its rows with
it.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DiffpriorError, ExtraError, SettingError
from ..io.arrays import as_images, digest
from ..runtime.report import as_json
from ..runtime.signature import TaskFunction
from ..validation import literal, nearest
from .book import Entry
from .solver import Item, Row, Solver, batch_length
from .worker import FileWorker, Order

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["Resources", "entries", "map", "running"]

ADVICE = "Ray is needed: pip install 'diffprior[cluster]'"
ROWS = 32  # that an actor of ``map`` gets at a time, at least, of which it makes batches
Batch = dict[str, np.ndarray[Any, Any]]


@contextmanager
def running() -> Iterator[Any]:
    """Give Ray, connected to its cluster, or to one of this machine that ends with the context.

    The cluster is that of ``RAY_ADDRESS``, or the one that the caller connected to.

    Raises:
        ExtraError: If Ray is not installed.
    """
    ray = _ray()
    was = ray.is_initialized()
    if not was:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # which writes of each step otherwise
    try:
        yield ray
    finally:
        if not was:
            ray.shutdown()


@dataclass(frozen=True)
class Resources:
    """What the actors of a run have.

    Attributes:
        workers: The number of actors.
        gpus: GPUs of each: 1, or a share where several actors have one together, or 0.
    """

    workers: int
    gpus: float

    @classmethod
    def of(cls, ray: Any, workers: int | None, device: Any) -> "Resources":
        """Return one actor for each GPU of the cluster, or for each core where there is none.

        More actors than GPUs share them: one reads and writes files while another computes.

        Arguments:
            workers: The number of actors that was asked for.
            device: The device that was asked for; "cpu" takes no GPU.
        """
        there = ray.cluster_resources()
        gpus = 0 if str(device) == "cpu" else int(there.get("GPU", 0))
        count = workers or gpus or max(1, int(there.get("CPU", 1)))
        return cls(count, min(1.0, gpus / count))

    def length(self, asked: int | None) -> int:
        """Return the most images of a batch."""
        return batch_length(asked, "cpu") if not self.gpus or asked else 8

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``map_batches``."""
        from ray.data import ActorPoolStrategy

        pool = ActorPoolStrategy(size=self.workers)
        return {"compute": pool, "num_cpus": 1, "num_gpus": self.gpus}


def entries(
    ray: Any, worker: FileWorker, chunks: Sequence[Sequence[Order]], resources: Resources
) -> Iterator[Entry]:
    """Yield the rows of the ledger about images, in the order in which they are done.

    Arguments:
        worker: The work; each actor has a copy.
        chunks: The images, in the parts that an actor gets at a time.
        resources: What the actors have; there are no more of them than parts.
    """
    needed = replace(resources, workers=min(resources.workers, len(chunks)))
    rows = [{"orders": json.dumps(chunk)} for chunk in chunks]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = dataset.map_batches(
        _Files, fn_constructor_args=(worker,), batch_size=1, **needed.options()
    )
    for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
        for text in batch["entries"]:
            yield from json.loads(str(text))


class _Files:
    """The actor of a batch of files."""

    def __init__(self, worker: FileWorker) -> None:
        self._worker = worker

    def __call__(self, batch: Batch) -> Batch:
        answers = []
        for text in batch["orders"]:
            orders = [Order(name, tuple(outputs)) for name, outputs in json.loads(str(text))]
            answers.append(json.dumps(self._worker(orders)))
        return {"entries": np.array(answers, dtype=object)}


def map(  # noqa: PLR0913 (what a data set can have)
    dataset: "Dataset",
    task: str | TaskFunction,
    *,
    image: str = "image",
    id: str | None = None,
    columns: Mapping[str, str] | None = None,
    workers: int | None = None,
    length: int | None = None,
    **settings: Any,
) -> "Dataset":
    """Return a data set of Ray Data with the results of a task beside its images.

    Actors keep the prior loaded, and solve images of one size together. Nothing runs before the
    data set is used. The order of the rows is free, and each row comes once, also where a worker
    is killed.

    Added columns: ``result``, an array like the image, which is empty where the image failed;
    ``report``, JSON; ``error``, a sentence, which is empty where all went well.

    Arguments:
        dataset: Rows with an image each.
        task: The task: its function, or its name, such as "denoise".
        image: The column of the images, arrays ``(H, W[, C])``.
        id: The column that names the noise of an image; by default its digest does.
        columns: Settings that each row has of its own: the name of the setting, and its column.
        workers: The number of actors; default: one for each GPU, or for each core.
        length: The most images that are solved together; default: 8 on a GPU, and 1 on a CPU.
        settings: Settings of the task.

    Raises:
        ExtraError: If Ray is not installed.
        SettingError: If there is no such task.
    """
    ray = _ray()
    if not ray.is_initialized():
        raise SettingError("map needs a cluster: call ray.init() first")
    function = _function(task)
    resources = Resources.of(ray, workers, settings.get("device"))
    most = resources.length(length)
    names = (image, id, dict(columns or {}))
    return dataset.map_batches(
        _Images,
        fn_constructor_args=(function, settings, most, names),
        batch_size=max(ROWS, 4 * most) if most > 1 else 4,
        **resources.options(),
    )


class _Images:
    """The actor of ``map``."""

    def __init__(
        self,
        function: TaskFunction,
        settings: Mapping[str, Any],
        most: int,
        names: tuple[str, str | None, Mapping[str, str]],
    ) -> None:
        self._solver = Solver(function, settings, most)
        self._image, self._id, self._columns = names

    def __call__(self, batch: Batch) -> Batch:
        count = len(batch[self._image])
        results = np.empty(count, dtype=object)
        reports = np.full(count, "", dtype=object)
        errors = np.full(count, "", dtype=object)
        items, numbers = [], []
        for i in range(count):
            results[i] = np.asarray(batch[self._image][i])[:0, :0]  # all rows need one kind
            try:
                items.append(self._item(batch, i))
                numbers.append(i)
            except DiffpriorError as error:
                errors[i] = str(error)
        for i, item, answer in zip(numbers, items, self._solver.solve(items), strict=True):
            if isinstance(answer, Row):
                results[i] = item.images.restore_kind(*answer.samples[0])
                said = {"warnings": answer.warnings} if answer.warnings else {}
                reports[i] = as_json({**answer.report, **said})
            else:
                errors[i] = str(answer) or type(answer).__name__
        return {**batch, "result": results, "report": reports, "error": errors}

    def _item(self, batch: Batch, i: int) -> Item:
        images = as_images(np.asarray(batch[self._image][i]))
        name = digest(images) if self._id is None else str(batch[self._id][i])
        own = {
            key: as_images(np.asarray(value), key) if np.ndim(value) >= 2 else value
            for key, value in ((k, batch[column][i]) for k, column in self._columns.items())
        }
        return Item(name, images, own)


def _function(task: str | TaskFunction) -> TaskFunction:
    """Return the function of a task of images."""
    from .. import catalog

    if not isinstance(task, str):
        return task
    functions: dict[str, TaskFunction] = {
        name: f for name, f in catalog.functions().items() if f.task.input == "image"
    }
    if task not in functions:
        raise SettingError(f"no task {literal(task)} of images; {nearest(task, functions)}")
    return functions[task]


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ExtraError(ADVICE) from error
    return ray
