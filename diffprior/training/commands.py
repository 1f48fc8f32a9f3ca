"""The command of training: train.

The module imports nothing heavy, so that the command line can read the options of its function.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..networks.nafunet import NAFUNet
    from .hole_validation import HoleValidation
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .processes import Processes
    from .trainer import Trainer, TrainingConfig

__all__ = ["train"]

PAUSE = 0.5  # seconds between two looks of the progress bar


def train(  # noqa: PLR0913 (the options of the command)
    photographs: Annotated[
        list[Path],
        typer.Argument(help="ZIP files or folders of images, or an .npz file of classes."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run in it goes on.")],
    minutes: Annotated[
        float | None,
        typer.Option(help="Length of the whole run, over all parts.", show_default="60"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Length of the whole run in steps, in place of minutes. A run that was stopped "
            "then ends with the very weights of one that was not."
        ),
    ] = None,
    every: Annotated[float, typer.Option(help="Minutes between validations.")] = 5,
    init: Annotated[
        Path | None,
        typer.Option(help="Model folder with the weights to start from, or a shipped prior."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=WEIGHT", help="How often a source of images is drawn; can be repeated."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Images of each step, in each process.")] = 32,
    holes: Annotated[int, typer.Option(help="Held-out images that are also inpainted.")] = 4,
    device: Annotated[
        str | None, typer.Option(help="Device; default: cuda if there is one, else cpu.")
    ] = None,
    compile: Annotated[bool, typer.Option(help="Compile the network.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and noise.")] = 0,
) -> None:
    """Train a prior on photographs, or on small images with classes.

    A run that was stopped goes on with the same command. OUT/weights is a model folder for --prior,
    OUT/curve.csv the validation table. Both are written again when a finished run is called again.
    Processes that torchrun or accelerate launch starts train together, on a GPU each.
    """
    import torch

    from .hole_validation import HoleValidation
    from .trainer import Trainer

    length = _length(minutes, steps)
    try:
        _check(every, holes, length)
        with _joined(device, out) as (processes, place):
            torch.manual_seed(seed)
            images, network, config = _prepare(photographs, _weights(source or ()), batch, seed)
            network = _initial(init, network) if init else network
            images.check_room(max(config.patch, config.late_patch))
            trainer = Trainer(network, images, config, out, place, processes)
            resumed = trainer.resume()
            if compile:
                network.compile()
            if not processes.rank.is_first:
                trainer.run(every=every, **length)
                return
            _introduce(images, resumed)
            measure = HoleValidation(images.validation, holes, place)
            _run(trainer, measure, every=every, **length)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    _draw_curve(out)
    print((out / "curve.csv").read_text(encoding="utf-8"))


@contextmanager
def _joined(device: str | None, out: Path) -> "Iterator[tuple[Processes, str]]":
    """Give the processes of the run and the device of this one; the first one locks the folder."""
    import torch

    from ..io import documents
    from ..runtime.placement import device_of
    from ..runtime.ranks import Rank, own_device
    from .processes import together

    rank = Rank.here()
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = device_of(own_device(name, rank.local) if rank.size > 1 else name)
    with ExitStack() as stack:
        if rank.is_first:
            stack.enter_context(documents.locked(out / ".lock"))
        yield stack.enter_context(together(rank, place)), str(place)


def _length(minutes: float | None, steps: int | None) -> dict[str, Any]:
    """Return the length of the run, as arguments of ``Trainer.run``."""
    if steps is not None and minutes is not None:
        raise typer.BadParameter("a run has a length in --minutes or in --steps, and not both")
    return {"minutes": 60.0 if minutes is None and steps is None else minutes, "steps": steps}


def _check(every: float, holes: int, length: Mapping[str, Any]) -> None:
    """Check, before any work, the options that nothing else checks before it."""
    from ..validation import Positive, Whole, check

    check("--every", every, Positive)
    check("--holes", holes, Whole)
    check("--minutes", length["minutes"], Positive | None)
    check("--steps", length["steps"], int | None)


def _introduce(images: "Photographs | ClassedImages", resumed: bool) -> None:
    """Say what the run has, and what it passed over."""
    from ..validation import shown, warn

    counts = {shown(name): len(levels) for name, levels in images.sources.items()}
    print(f"{counts}, {len(images.validation)} held out; {'resumed' if resumed else 'new run'}")
    if str(images.skipped):
        warn(str(images.skipped))


def _run(trainer: "Trainer", measure: "HoleValidation", **length: Any) -> None:
    """Train, with a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=1.0)

        shown = 0.0

        def callback(trainer: "Trainer", share: float) -> None:
            nonlocal shown
            if share < 1 and time.monotonic() - shown < PAUSE:
                return  # to read the loss is to wait for the device
            shown = time.monotonic()
            text = f"step {trainer.step}, loss {trainer.loss:.4f}"
            progress.update(bar, completed=share, description=text)

        trainer.run(callback=callback, measure=measure, **length)


def _initial(folder: Path, new: "NAFUNet") -> "NAFUNet":
    """Return the network of a model folder, which must fit the images as a new one does.

    Arguments:
        folder: The folder, or the name of a shipped prior.
    """
    from ..catalog import shipped_priors
    from ..errors import PriorError
    from ..networks.nafunet import load_network
    from ..validation import shown

    folder = folder if folder.exists() else shipped_priors().get(str(folder), folder)
    try:
        network = load_network(folder)
    except Exception as error:  # json, torch and safetensors raise anything on damaged data
        raise PriorError(
            f"{shown(folder)} is no model folder of this network, or it is damaged: "
            f"{shown(error, 100)}"
        ) from error
    for name in ("image_channels", "classes"):
        wanted, found = getattr(new, name), getattr(network, name)
        if wanted != found:
            raise PriorError(f"{shown(folder)} has {name} {found}, and the images need {wanted}")
    return network


def _weights(sources: Sequence[str]) -> dict[str, float]:
    """Return the weights of NAME=WEIGHT texts."""
    weights = {}
    for text in sources:
        name, _, value = text.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            shown = repr(text)[:60]
            raise ValueError(f"--source is NAME=WEIGHT, as in cities=2, got {shown}") from None
    return weights


def _prepare(
    paths: Sequence[Path], weights: dict[str, float], batch: int, seed: int
) -> "tuple[Photographs | ClassedImages, NAFUNet, TrainingConfig]":
    """Return the images, and a new network and a configuration for their kind."""
    from ..networks.nafunet import NAFUNet
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .trainer import TrainingConfig

    TrainingConfig(batch=batch, seed=seed)  # checked before the images are read
    if len(paths) > 1 and any(path.suffix == ".npz" for path in paths):
        raise ValueError("an .npz file of classes is the only source of a run")
    if paths[0].suffix != ".npz":
        config = TrainingConfig(batch=batch, seed=seed)
        return Photographs(paths, weights=weights), NAFUNet(), config
    images = ClassedImages(paths[0])
    _, channels, side, _ = images.pixels.shape
    std = float((images.pixels[::50].float() / 127.5 - 1).std())
    network = NAFUNet(
        (96, 160),
        (3, 4),
        image_channels=channels,
        sigma_data=max(round(std, 2), 0.01),
        classes=images.classes,
        size=side,
    )
    config = TrainingConfig(
        batch=batch, patch=side, late_patch=side, p_mean=-0.6, p_std=1.4, seed=seed
    )
    return images, network, config


def _draw_curve(out: Path) -> None:
    """Draw the validation table of a run, if matplotlib is installed."""
    from ..errors import FigureError
    from ..io import figures
    from ..io.ledger import read_rows
    from .trainer import SIGMAS

    rows = read_rows(out / "curve.csv")
    columns = [name for name in (*SIGMAS, "hole") if all(row.get(name) for row in rows)]
    minutes = [float(row["minutes"]) for row in rows]
    series = {name: [float(row[name]) for row in rows] for name in columns}
    try:
        figures.lines(out / "curve.png", minutes, series, axes=("minutes", "PSNR, dB"))
    except FigureError as error:
        print(f"no learning curve was drawn: {error}")
