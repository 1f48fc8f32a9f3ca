"""One task over many files, here or in several processes. A failed file stops no other."""

import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..runtime.placement import prior_cache
from ..runtime.ranks import Rank, own_device
from ..runtime.settings import check_counts
from ..runtime.signature import TaskFunction
from ..validation import shown
from .inputs import expand
from .masks import unused, without_masks
from .outputs import Input, Options, Targets, plan_outputs
from .pool import Pool, Tell, Work
from .process import check_signals, describe
from .progress import Bar
from .runs import (
    Outcome,
    Run,
    open_folders,
    read_settings,
    suffixes,
    threads_of_each,
    use_threads,
)
from .streams import emit, say

__all__ = ["Options", "run"]

Items = Mapping[Input, Targets]


@prior_cache()
def run(
    function: TaskFunction,
    names: Sequence[str] | None,
    settings: dict[str, Any],
    o: Options,
    bar: Bar | None = None,
) -> int:
    """Run a task over files. Whatever goes wrong with a file ends that file alone.

    Where torchrun started several processes, each takes its share of the files, and the first one
    reports.

    Arguments:
        function: The function of the task.
        names: Files, folders, patterns, or "-"; None for a task that reads nothing.
        settings: The settings of the task. Those that are paths are read as images.
        o: The options that all commands share.
        bar: Where progress is shown; a new one by default.

    Returns:
        The exit code: 0, 1 if a file failed, 2 for wrong usage, where nothing was done.
    """
    task = function.task
    known = suffixes(task)
    rank = Rank()
    try:
        rank = Rank.here()
        if rank.restarts and not o.force:
            o = replace(o, skip_existing=True)
        samples = settings.get("samples", 1)
        check_counts(samples, settings.get("steps"))  # before any name is laid out
        found = expand(names)
        values = open_folders(task, settings)
        inputs = without_masks(values, found.inputs)
        plan = plan_outputs(inputs, f"{task.past}{known[0]}", known, samples, o)
        read = read_settings(values, o)
    except Exception as error:
        check_signals()
        if rank.is_first:
            say(describe(error))
        return 2 if isinstance(error, SettingError) else 1
    bar = bar or Bar(o.quiet)
    report = _Report(bar, o.json)
    if rank.is_first:
        for note in (*found.notes, *plan.notes, *unused(values, inputs)):
            say(note)
        for fault in (*found.faults, *plan.faults):
            report.fail(describe(fault))
    items = rank.share(plan.targets)
    crew = _Crew(function, values, o, rank)
    here = Run(function, crew.placed(read, 0), o, bar)
    outcomes = crew.outcomes(items, here)
    if not rank.reports:
        return _hand_over(outcomes, rank)
    for outcome in outcomes:
        if not report.take(outcome):
            return 2
    for line in rank.handed_over() if rank.is_first else ():
        report.take(Outcome(*json.loads(line)))
    return report.end()


def _hand_over(outcomes: Iterator[Outcome], rank: Rank) -> int:
    """Leave the report of what became of the inputs, and the exit code, to the first process."""
    with rank.handing_over() as lines:
        for outcome in outcomes:
            name = outcome.source and str(outcome.source)
            lines.append(json.dumps(outcome._replace(source=name)))  # type: ignore[arg-type]
            if outcome.fate == "no prior":
                break
    return 0


@dataclass
class _Report:
    """What is said of a run, and its exit code.

    Attributes:
        bar: The bar, which is taken away for lines.
        json: Whether there is a line of JSON for each input.
    """

    bar: Bar
    json: bool
    done: int = 0
    skipped: int = 0
    failed: bool = False
    refusals: set[str] = field(default_factory=set)  # each is said once: most are about all files

    def fail(self, text: str) -> None:
        """Say what went wrong."""
        say(text)
        self.failed = True

    def take(self, outcome: Outcome) -> bool:
        """Say what became of an input; return whether the others can be done."""
        with self.bar.aside():
            if outcome.fate == "failed":
                self.fail(_named(outcome.error, outcome.source))
            elif outcome.fate in ("refused", "no prior"):
                if outcome.error not in self.refusals:
                    say(outcome.error)
                self.refusals.add(outcome.error)
            else:
                self._praise(outcome)
        return outcome.fate != "no prior"

    def _praise(self, outcome: Outcome) -> None:
        """Say what there is to say of an input that is done."""
        self.done += 1
        self.skipped += outcome.fate == "skipped"
        if self.json:
            emit(outcome.line)
            return
        if outcome.wrote:
            start = "" if outcome.source is None else f"{shown(outcome.source)} -> "
            self.bar.leave(f"{start}{outcome.wrote}")
        if outcome.note:
            say(f"{shown(outcome.source)}: {outcome.note}")

    def end(self) -> int:
        """Say how many inputs were done before, and return the exit code."""
        if self.skipped:
            files_are = "file is" if self.skipped == 1 else "files are"
            say(f"{self.skipped} {files_are} done already")
        if self.refusals:
            return 1 if self.done else 2
        return int(self.failed)


def _named(error: str, source: Input) -> str:
    """Return what went wrong with an input, with its name."""
    known = source is None or error.startswith((str(source), shown(source)))
    return error if known else f"{shown(source)}: {error}"


@dataclass(frozen=True)
class _Crew:
    """The processes of a run, as many as there are ``jobs``.

    Attributes:
        function: The function of the task.
        values: Its settings, before images are read from paths.
        o: The options of the command.
        rank: The place of this process among those of torchrun.
    """

    function: TaskFunction
    values: Mapping[str, Any]
    o: Options
    rank: Rank

    def outcomes(self, items: Items, here: Run) -> Iterator[Outcome]:
        """Yield what became of each input, in the order in which they end.

        Arguments:
            items: The inputs, with the files to write.
            here: The run of this process. It takes what no other can, the standard streams, and
                what is done already.
        """
        shared: Items = {s: t for s, t in items.items() if self._is_shared(s, t)}
        jobs = min(self.o.jobs, len(shared))
        if jobs < 2:
            shared = {}
        else:
            yield from self._from_processes(shared, jobs, here.bar)
        for source, targets in items.items():
            if source not in shared:
                outcome = here.outcome(source, targets)
                here.bar.clear()
                yield outcome

    def _is_shared(self, source: Input, targets: Targets) -> bool:
        """Return whether another process can, and need, do an input."""
        paths = [path for path in targets.values() if path is not None]
        if not isinstance(source, Path) or len(paths) < len(targets):
            return False
        return not (self.o.skip_existing and all(path.exists() for path in paths))

    def placed(self, values: Mapping[str, Any], number: int) -> Mapping[str, Any]:
        """Return settings with the device of a process of this run."""
        place = self.rank.local if self.rank.size > 1 else number
        shares = self.rank.size > 1 or self.o.jobs > 1
        if not shares or "device" not in values:
            return values
        return {**values, "device": own_device(values["device"], place)}

    def _from_processes(self, items: Items, jobs: int, bar: Bar) -> Iterator[Outcome]:
        """Yield what became of the inputs that several processes take, one at a time."""
        unique, twice = _told_apart(items)
        yield from twice
        pool = Pool(jobs, partial(_work, self, threads_of_each(jobs)))
        shares: dict[Input, float] = {}
        with bar.of(f"{len(unique)} files", "starting", stays=False):
            for told in pool.run(unique):
                source = told.job[0]
                shares[source] = told.value if told.kind == "share" else 1.0
                if told.kind == "warning":
                    with bar.aside():
                        say(told.value)
                    continue
                bar.update(sum(shares.values()) / len(unique))
                if told.kind == "lost":
                    error = f"its process {told.value}, twice; is there enough memory?"
                    yield Outcome(source, "failed", error)
                elif told.kind == "answer":
                    yield told.value


def _told_apart(items: Items) -> tuple[list[tuple[Input, Targets]], list[Outcome]]:
    """Return the inputs whose results are files of their own, and that the others are not."""
    unique: list[tuple[Input, Targets]] = []
    twice: list[Outcome] = []
    seen: set[str] = set()
    for source, targets in items.items():
        names = {os.path.realpath(path): path for path in targets.values() if path}
        if again := [path for name, path in names.items() if name in seen]:
            error = f"{shown(again[0])} is the result of another input of this run"
            twice.append(Outcome(source, "failed", error))
            continue
        seen.update(names)
        unique.append((source, targets))
    return unique, twice


class _Wire(Bar):
    """The progress of one process, told to the one that shows it."""

    def __init__(self, tell: Tell) -> None:
        super().__init__(quiet=True)
        self._tell = tell

    def update(self, share: float) -> None:
        """Tell the share of the work that is done."""
        self._tell("share", share)


@contextmanager
def _work(crew: _Crew, threads: int, number: int, tell: Tell) -> Iterator[Work]:
    """Give the work of one process of a run: all its inputs share its prior."""
    use_threads(threads)
    with prior_cache(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: tell("warning", str(message))
        values = crew.placed(read_settings(crew.values, crew.o), number)
        run = Run(crew.function, values, crew.o, _Wire(tell))
        yield lambda item: run.outcome(*item)
