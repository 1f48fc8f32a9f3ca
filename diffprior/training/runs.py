"""A run that trains parts of a model: its clock, its optimizer and its folder."""

import csv
import hashlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Annotated, Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..io import documents
from ..io.ledger import Row
from ..validation import Checked, Positive, Whole, Within, check, literal, shown

__all__ = [
    "Run",
    "RunConfig",
    "check_begun",
    "digest",
    "rate_factor",
    "reading_checkpoint",
    "settings_of",
    "share_of",
    "write_curve",
]

LARGEST = 2**36  # bytes of a checkpoint


@dataclass(frozen=True, kw_only=True)
class RunConfig(Checked):
    """The settings that all such runs have.

    Arguments:
        batch: Images of a step.
        rate: Learning rate of AdamW.
        warmup: Steps in which it rises.
        decay: Share of the run, at its end, in which it falls.
        clip: Largest norm of the gradient.
        seed: Seed of the batches and their noise.
    """

    batch: Annotated[int, Within(1, 2**14)] = 4
    rate: Positive = 1e-4
    warmup: int = 10
    decay: Annotated[float, Within(0, 1, above=True)] = 0.5
    clip: Positive = 1.0
    seed: Whole = 0

    def factor(self, progress: float, step: int) -> float:
        """Return the factor of the learning rate, in (0, 1], at a share of the run in [0, 1]."""
        return rate_factor(self, progress, step)


class Run(ABC):
    """A run: what is trained, its optimizer and its clock, in one folder.

    ``folder/checkpoint.pt`` holds the whole state, ``folder/weights`` the result and
    ``folder/curve.csv`` a row for each validation. A batch is a function of (seed, step), so a run
    of steps that was stopped ends as one that was not. A subclass sets ``name``, calls ``_train``
    with its parameters, and defines ``losses`` and ``files``.

    Arguments:
        config: Settings of the run.
        folder: Folder of the run.
        notes: What else the run was begun with, as texts and numbers; another run does not go on
            in its folder.
    """

    name = "run"

    def __init__(self, config: RunConfig, folder: Path, notes: Mapping[str, Any]) -> None:
        self.config = config
        self.folder = folder
        self.notes = {"kind": self.name, **asdict(config), **notes}
        self.step = 0
        self.seconds = 0.0
        self.running = math.nan
        self.curve: list[Row] = []

    def _train(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Take the parameters that are trained, by their names."""
        self.parameters = dict(parameters)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            self.config.rate,
            betas=(0.9, 0.99),
            weight_decay=0.0,
            fused=True,
        )

    @property
    def loss(self) -> float:
        """The running mean of the loss."""
        return self.running

    @property
    def checkpoint(self) -> Path:
        """File of the state."""
        return self.folder / "checkpoint.pt"

    @abstractmethod
    def losses(self, rng: np.random.Generator, progress: float) -> Tensor:
        """Return the loss of each row of a batch, ``(B,)``.

        Arguments:
            rng: All that is random in the batch.
            progress: Share of the run that is done.
        """

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Return the files of the result, by their names in ``folder/weights``."""

    def measured(self) -> dict[str, float]:
        """Return more columns of the validation table."""
        return {}

    def train_step(self, progress: float) -> float:
        """Take one step at a share of the run, in [0, 1]; return the loss."""
        rng = np.random.default_rng([self.config.seed, self.step])
        loss = self.losses(rng, progress).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip)
        group = self.optimizer.param_groups[0]
        group["lr"] = self.config.rate * self.config.factor(progress, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def run(
        self,
        minutes: float | None = None,
        every: float = 5.0,
        callback: Callable[[Self, float], None] | None = None,
        steps: int | None = None,
    ) -> None:
        """Train until the run, over all its parts, has taken ``minutes``, or ``steps``.

        Arguments:
            minutes: Length of the whole run.
            every: Minutes between two checkpoints; each adds a row to the validation table.
            callback: Called after each step with the run and the share of it that is done.
            steps: Length of the whole run, in place of ``minutes``.
        """
        share = share_of(self, minutes, steps)
        check("every", every, Positive)
        due = self.seconds + 60 * every
        while (done := share()) < 1:
            start = time.perf_counter()
            loss = self.train_step(done)
            self.running = loss if math.isnan(self.running) else 0.98 * self.running + 0.02 * loss
            self.seconds += time.perf_counter() - start
            if callback is not None:
                callback(self, share())
            if self.seconds >= due:
                self.record()
                due = self.seconds + 60 * every
        if not self.curve or int(self.curve[-1]["step"]) != self.step:
            self.record()
        else:
            self.export()

    def record(self) -> None:
        """Add a row to the validation table, and save."""
        row: Row = {
            "minutes": round(self.seconds / 60, 1),
            "step": self.step,
            "loss": round(self.loss, 4),
        }
        self.curve.append(row | {name: round(v, 4) for name, v in self.measured().items()})
        self.save()

    def save(self) -> None:
        """Write the checkpoint, and what is made of it."""
        state = {
            "parameters": {k: v.detach() for k, v in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "curve": self.curve,
            "notes": self.notes,
        }
        file = BytesIO()
        torch.save(state, file)
        documents.write(file.getvalue(), self.checkpoint)
        self.export()

    def export(self) -> None:
        """Write the result, and the validation table."""
        for name, data in self.files().items():
            documents.write(data, self.folder / "weights" / name)
        write_curve(self.curve, self.folder)

    def resume(self) -> bool:
        """Load the checkpoint if there is one; return whether there was.

        Raises:
            SettingError: If it is damaged, or is that of another run.
        """
        if not self.checkpoint.exists():
            return False
        path = documents.regular(self.checkpoint, LARGEST)
        with reading_checkpoint(path):
            state = torch.load(path, map_location="cpu", weights_only=True)
            check_begun(state.get("notes", {}), self.notes, self.folder)
            self._restore(state)
        return True

    def _restore(self, state: Mapping[str, Any]) -> None:
        saved = state["parameters"]
        if saved.keys() != self.parameters.keys():
            raise SettingError("the checkpoint is that of another network")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(saved[name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        self.running = float(state["loss"])
        self.curve = [dict(row) for row in state["curve"]]


class Slopes(Protocol):
    """How learning rates rise and fall.

    Attributes:
        warmup: Steps in which they rise.
        decay: Share of the run, at its end, in which they fall.
    """

    @property
    def warmup(self) -> int: ...

    @property
    def decay(self) -> float: ...


def rate_factor(slopes: Slopes, progress: float, step: int) -> float:
    """Return the factor of learning rates, in (0, 1]: they rise, stay, and fall linearly.

    Arguments:
        slopes: How they do.
        progress: Share of the run that is done, in [0, 1].
        step: Steps that were taken.
    """
    fall = min(1.0, (1 - progress) / slopes.decay)
    return max(fall, 0.01) * min(1.0, (step + 1) / slopes.warmup)


def check_begun(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuse to go on with other settings than those that a run was begun with.

    Checkpoints of older releases say less; what they do not say is not compared.

    Arguments:
        before, now: The settings of the checkpoint, and those of this run, by their names.
        folder: Folder of the run.

    Raises:
        SettingError: If one differs.
    """
    for name, value in now.items():
        if before.get(name, value) != value:
            raise SettingError(
                f"the run in {shown(folder)} was begun with {name} {literal(before[name])}, not "
                f"{literal(value)}; choose another folder"
            )


def settings_of(network: nn.Module) -> dict[str, Any]:
    """Return the settings of a network of this library as a checkpoint keeps them.

    Weights of one shape can belong to networks that compute different things.
    """
    own: Any = network.settings
    return {f"{name} of {type(network).__name__}": _plain(value) for name, value in own.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return digest([value])
    return [*value] if isinstance(value, list | tuple) else value


def digest(tensors: Iterable[Tensor]) -> str:
    """Return the SHA-256 of tensors in hexadecimal, by which a run knows its parts again."""
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def write_curve(rows: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Write the validation table of a run; a row may lack columns that others have."""
    file = StringIO()
    columns = dict.fromkeys(name for row in rows for name in row)
    writer = csv.DictWriter(file, [*columns], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    documents.write(file.getvalue().encode(), folder / "curve.csv")


@contextmanager
def reading_checkpoint(path: Path) -> Iterator[None]:
    """Say in one sentence that a checkpoint is damaged: torch raises anything on damaged data."""
    try:
        yield
    except SettingError:
        raise
    except Exception as error:
        raise SettingError(
            f"{shown(path)} is damaged, or is the checkpoint of another network; choose "
            "another folder, or remove it to begin anew"
        ) from error


def share_of(run: Any, minutes: float | None, steps: int | None) -> Callable[[], float]:
    """Return a function that returns the share of a run that is done.

    Raises:
        SettingError: If the run has no length, or two.
    """
    if (minutes is None) == (steps is None):
        raise SettingError("a run has a length in minutes or in steps, and not both")
    if steps is not None:
        check("steps", steps, int)
        return lambda: run.step / steps
    check("minutes", minutes, Positive)
    seconds = 60 * float(minutes or 0)
    return lambda: run.seconds / seconds
