"""The command of many images: batch, with a command for each task.

The module imports nothing heavy, so that the command line can read its options.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..cli import index, specs
from ..cli.commands import EMPTY, SHARED, with_options
from ..cli.progress import Bar
from ..cli.streams import say

__all__ = ["batch"]

SOURCE = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="A folder, or an address such as s3://bucket/photos."),
]


def _option(kind: Any, *flags: str, help: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(*flags, help=help, rich_help_panel="Batch", **more)]


OPTIONS: dict[str, tuple[Any, Any]] = {
    "output": (
        _option(
            str,
            "-o",
            "--output",
            help="Where the results go: a folder of their own, or an address. They keep the "
            "folders of their images.",
        ),
        EMPTY,
    ),
    "on": (
        _option(str, help="Where it runs: in processes of this machine, or on ray, a cluster."),
        "processes",
    ),
    "jobs": (
        _option(
            int | None,
            min=1,
            max=100_000,
            help="Workers; default: 1 process, or on ray one for each GPU, or for each core.",
        ),
        None,
    ),
    "together": (
        _option(
            int | None,
            min=1,
            max=4096,
            help="The most images of one size that are worked on together; default: 8 on a GPU, "
            "and 1 on a CPU.",
        ),
        None,
    ),
    "ledger": (
        _option(
            Path | None,
            help="File of what is done and what failed, .csv; default: ledger.csv among the "
            "results. The same command goes on with what it does not name as done.",
        ),
        None,
    ),
    "force": (_option(bool, "--force", help="Overwrite results that another run left."), False),
    **{name: SHARED[name] for name in ("strip_metadata", "max_pixels", "quiet")},
}


batch = typer.Typer(
    name="batch",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run a task over all images of a folder or a store, here or on a cluster. A run that was "
    "stopped goes on.",
)


def _function(command: specs.Command) -> Callable[..., None]:
    """Return the function of a task, which runs a batch."""

    def function(context: typer.Context, **settings: Any) -> None:
        bar = Bar(settings["quiet"])
        with bar.run():
            from ..cli.outputs import Options
            from ..errors import SettingError
            from .batch import Batch, run

            shared = {name: settings.pop(name) for name in OPTIONS}
            names = ("force", "quiet", "strip_metadata", "max_pixels")
            work = Batch(
                function=command.load(),
                source=settings.pop("source"),
                settings=settings,
                o=Options(**{name: shared[name] for name in names}),
                target=shared["output"],
                ledger=shared["ledger"],
                on=shared["on"],
                workers=shared["jobs"],
                length=shared["together"],
            )
            try:
                code = run(work, bar)
            except SettingError as error:
                bar.clear()
                say(error)
                code = 2
        raise typer.Exit(code)

    return with_options(function, command, {"source": (SOURCE, EMPTY)}, OPTIONS)


for _command in index.commands().values():
    if _command.inputs == "images":
        batch.command(_command.name, help=_command.help)(_function(_command))
