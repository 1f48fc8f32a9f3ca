"""A task that keeps its prior loaded, and solves images of one size together."""

import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import PriorError, SettingError
from ..io.arrays import Images
from ..priors.base import Prior
from ..runtime.placement import device_of, prior_cache
from ..runtime.signature import TaskFunction
from ..validation import check

__all__ = ["Item", "Row", "Solver", "batch_length", "batches", "hearing"]

TOGETHER = 8  # images of a batch on a device that computes them together


class Item(NamedTuple):
    """An image to work on.

    Attributes:
        name: Names its stream of noise: the result depends on it.
        images: The image, a batch of one.
        own: Settings of its own, such as a mask. With one that is no image it is solved alone.
    """

    name: str
    images: Images
    own: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Row:
    """The result of one image of a batch, as that of the image by itself.

    Attributes:
        samples: All samples: values ``(1, H, W, C)`` and alpha ``(1, H, W)`` or None.
        report: How it was made.
        warnings: What was said of it, or of an image of the same batch.
    """

    samples: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]]
    report: dict[str, Any]
    warnings: Sequence[str] = ()


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Give the list of the warnings of this context: nobody sees the screen of a worker."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    said += dict.fromkeys(str(warning.message) for warning in caught)


def batch_length(length: int | None, device: Any) -> int:
    """Return the most images of a batch: by default one on a CPU, which takes them one at a time.

    Raises:
        SettingError: If it is not a number from 1 to 4096.
    """
    if length is None:
        return 1 if device_of(device).type == "cpu" else TOGETHER
    check("the length of a batch", length, int)
    if not 1 <= length <= 4096:
        raise SettingError(f"a batch has 1 to 4096 images, got {length}")
    return length


def batches(sizes: Sequence[Hashable], most: int) -> list[list[int]]:
    """Return the numbers of images that are worked on together: at most so many, of one size.

    Arguments:
        sizes: The size of each image, or whatever must be equal in a batch.
        most: The most images of a batch.
    """
    groups: dict[Hashable, list[int]] = {}
    for i, size in enumerate(sizes):
        groups.setdefault(size, []).append(i)
    return [rows[k : k + most] for rows in groups.values() for k in range(0, len(rows), most)]


@dataclass
class Solver:
    """A task whose prior stays loaded from one call to the next.

    Arguments:
        function: The function of the task, which takes images.
        values: The settings that all images have in common.
        most: The most images of a batch.
    """

    function: TaskFunction
    values: Mapping[str, Any]
    most: int = 1
    _priors: dict[str, Prior] = field(default_factory=dict, repr=False)

    def solve(self, items: Sequence[Item]) -> list[Row | Exception]:
        """Return the results of images, in their order; of one that failed, why.

        An image gets what it would get by itself: on a CPU to the last bit.

        Raises:
            PriorError: If the prior cannot be loaded, without which no image can be done.
        """
        results: list[Row | Exception] = [RuntimeError("nothing")] * len(items)
        with prior_cache(self._priors):
            for rows in batches([_kind(item) for item in items], self.most):
                for i, result in zip(rows, self._batch([items[i] for i in rows]), strict=True):
                    results[i] = result
        return results

    def _batch(self, items: Sequence[Item]) -> list[Row | Exception]:
        """Return the results of images of one kind; where they fail together, one by one."""
        try:
            return list(self._together(items))
        except PriorError:
            raise
        except Exception as error:
            if len(items) == 1:
                return [error]
        return [result for item in items for result in self._batch([item])]

    def _together(self, items: Sequence[Item]) -> list[Row]:
        settings = dict(self.values)
        for name in items[0].own:
            each = [item.own[name] for item in items]
            settings[name] = _stacked(each) if isinstance(each[0], Images) else each[0]
        if self.function.task.ids:
            settings["ids"] = [item.name for item in items]
        with hearing() as said:
            result = self.function(_stacked([item.images for item in items]), **settings)
        return [replace(_row(result, i, len(items)), warnings=said) for i in range(len(items))]


def _kind(item: Item) -> Hashable:
    """Return what images of a batch have in common."""
    parts = (("", item.images), *sorted(item.own.items()))
    return tuple((name, _form(x) if isinstance(x, Images) else id(item)) for name, x in parts)


def _form(x: Images) -> Hashable:
    return x.values.shape, x.values.dtype.str, x.alpha is None, x.orientation, x.lossy


def _stacked(images: Sequence[Images]) -> Images:
    """Return images of one kind as a batch, of which results are values and alpha."""
    alphas = [x.alpha for x in images if x.alpha is not None]
    return replace(
        images[0],
        values=np.concatenate([x.values for x in images]),
        alpha=np.concatenate(alphas) if alphas else None,
        rebuild=lambda values, alpha: (values, alpha),
    )


def _row(result: Any, i: int, count: int) -> Row:
    """Return what a result says of one image."""
    own = slice(i, i + 1)
    samples = [(v[own], None if a is None else a[own]) for v, a in result.samples]
    each = {k: v for k, v in result.report.items() if isinstance(v, list) and len(v) == count}
    report = {**result.report, **{k: v[own] for k, v in each.items()}}
    if count > 1:
        report["batch"] = count
    return Row(samples, report)
