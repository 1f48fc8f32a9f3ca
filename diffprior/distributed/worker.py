"""The work of one process of a batch: read images, solve them, write the results, say so."""

import json
import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ..cli import work
from ..cli.masks import settings_of
from ..cli.outputs import Options
from ..cli.process import describe
from ..cli.runs import limit, read_settings
from ..errors import ImageError, PriorError, SettingError
from ..io import files
from ..runtime.signature import TaskFunction
from .book import Entry
from .solver import Item, Row, Solver, hearing
from .stores import Store

__all__ = ["FileWorker", "Order", "entry"]


class Order(NamedTuple):
    """One image of a batch.

    Attributes:
        name: Its name in the store of the inputs.
        outputs: Names in the store of the results: one for each sample.
    """

    name: str
    outputs: tuple[str, ...]


class _Read(NamedTuple):
    """An image that was read, with what its results need of its file."""

    order: Order
    file: files.File
    item: Item
    warnings: Sequence[str] = ()


def entry(
    order: Order,
    error: str = "",
    state: str = "",
    seconds: float = 0.0,
    warnings: Sequence[str] = (),
) -> Entry:
    """Return the row of the ledger about an image.

    Arguments:
        error: What went wrong, in one sentence; nothing if it is done.
        state: By default "done", or "failed" if there is an error.
        seconds: How long it took.
        warnings: What was said of it.
    """
    return {
        "input": order.name,
        "state": state or ("failed" if error else "done"),
        "outputs": json.dumps([] if error else list(order.outputs)),
        "seconds": f"{seconds:.3f}",
        "worker": f"{socket.gethostname()}:{os.getpid()}",
        "error": error,
        "warnings": "; ".join(warnings),
    }


@dataclass
class FileWorker:
    """A process of a batch. Its prior stays loaded from one call to the next.

    Arguments:
        function: The function of the task.
        values: Its settings; images of them are read here, from their paths.
        o: The options of the command.
        source: The store of the inputs.
        target: The store of the results.
        most: The most images that are solved together.
    """

    function: TaskFunction
    values: Mapping[str, Any]
    o: Options
    source: Store
    target: Store
    most: int = 1

    @cached_property
    def _settings(self) -> dict[str, Any]:
        return read_settings(self.values, self.o)

    @cached_property
    def _solver(self) -> Solver:
        own = self._own(Path())
        return Solver(
            self.function, {k: v for k, v in self._settings.items() if k not in own}, self.most
        )

    def __call__(self, orders: Sequence[Order]) -> list[Entry]:
        """Do some images, and return the rows of the ledger about them. Nothing is raised."""
        start = time.perf_counter()
        entries: list[Entry] = []
        images: list[_Read] = []
        for order in orders:
            try:
                with hearing() as said:
                    image = self._read(order)
                images.append(image._replace(warnings=said))
            except Exception as error:
                entries.append(entry(order, describe(error), _state(error)))
        try:
            results = self._solver.solve([image.item for image in images])
        except Exception as error:  # about all of them, as a prior is
            return entries + [entry(x.order, describe(error), _state(error)) for x in images]
        seconds = (time.perf_counter() - start) / len(orders)
        for image, result in zip(images, results, strict=True):
            entries.append(self._finished(image, result, seconds))
        return entries

    def _own(self, source: Path) -> dict[str, Any]:
        """Return the settings that an input has of its own: those from folders and lists."""
        names = [k for k, v in self._settings.items() if hasattr(v, "path_for")]
        names += [k for k, v in self._settings.items() if hasattr(v, "images_for")]
        if source == Path():
            return dict.fromkeys(names)
        return settings_of({k: self._settings[k] for k in names}, source, limit(self.o))

    def _read(self, order: Order) -> _Read:
        """Read an image, and the settings of its own."""
        place = self.source.open(order.name)
        file = files.read(place, limit(self.o))
        own = self._own(place if isinstance(place, Path) else Path(order.name))
        if self.function.task.jpeg_coding:
            if file.uncoded and self.values.get("quality") is None:
                raise ImageError(f"{file.uncoded}; give a quality")
            own["coding"] = file.coding
        work.check_depth(file, {k: Path(name) for k, name in enumerate(order.outputs)})
        return _Read(order, file, Item(Path(order.name).name, file.images, own))

    def _finished(self, image: _Read, result: Row | Exception, seconds: float) -> Entry:
        """Write the results of an image, and return its row."""
        order = image.order
        if isinstance(result, Exception):
            return entry(order, describe(result), _state(result), seconds)
        try:
            for k, name in enumerate(order.outputs):
                suffix = Path(name).suffix
                data = work.data(k, result, image.file, suffix, self.o.strip_metadata)
                self.target.write(name, data)
        except Exception as error:
            return entry(order, describe(error), seconds=seconds)
        said = dict.fromkeys((*image.warnings, *result.warnings))
        return entry(order, seconds=seconds, warnings=[*said])


def _state(error: Exception) -> str:
    """Return the state of an image that failed: "refused" is what other images have, too."""
    return "refused" if isinstance(error, SettingError | PriorError) else "failed"
