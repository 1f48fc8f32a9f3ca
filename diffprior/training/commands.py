"""The command of training: train.

The module imports nothing heavy, so that the command line can read the options of its function.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..objectives.base import Objective
    from ..priors.base import Prior
    from .hole_validation import HoleValidation
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .points import Points
    from .processes import Processes
    from .trainer import Network, Trainer, TrainingConfig

__all__ = ["train", "weights_of"]

SIDE = 64  # pixels of the crops of photographs for a network of one size
COPY_RATE, COPY_MUON_RATE = 2e-4, 4e-3  # learning rates of a copy, or against a critic
PAUSE = 0.5  # seconds between two looks of the progress bar


def train(  # noqa: PLR0913 (the options of the command)
    photographs: Annotated[
        list[Path],
        typer.Argument(
            help="ZIP files or folders of images, an .npz file of classes, or an .npy file of "
            "points or bits."
        ),
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
    objective: Annotated[
        str | None,
        typer.Option(
            help="What is minimized: bits, edm, flow, hybrid, implicit, mu, ncsn, simple, sliced, "
            "v, vlb or x0, with settings as in 'simple(steps=500)'; for few steps: progressive, "
            "guided, consistency_distillation, consistency_training or denoising_gan.",
            show_default="edm",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            help="Network: dit, mlp, nafunet or unet, with settings as in 'unet(layers=2)'.",
            show_default="nafunet, or mlp for points",
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="PRIOR",
            help="Prior to learn from, for progressive, guided and "
            "consistency_distillation: a shipped name, a folder or a hub id.",
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
    """Train a prior on photographs, on small images with classes, or on points.

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
            data = _read(photographs, weights_of(source or ()), batch, seed)
            tutor = _tutor(teacher)
            made, config = _prepare(*data, objective, network, tutor)
            made = _initial(init, made) if init else made
            images = data[0]
            images.check_room(max(config.patch, config.late_patch))
            trainer = Trainer(made, images, config, out, place, processes, tutor)
            resumed = trainer.resume()
            if compile:
                made.compile()
            if not processes.rank.is_first:
                trainer.run(every=every, **length)
                return
            _introduce(images, resumed)
            means = made.stride and not (trainer.task.consistency or trainer.task.draws)
            measure = HoleValidation(images.validation if means else [], holes, place)
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


def _introduce(images: "Photographs | ClassedImages | Points", resumed: bool) -> None:
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


def _initial(folder: Path, new: "Network") -> "Network":
    """Return the network of a model folder, which must fit the images as a new one does.

    Arguments:
        folder: The folder, or the name of a shipped prior.
    """
    from ..catalog import shipped_priors
    from ..errors import PriorError, UnsuitedError
    from ..networks.nafunet import NAFUNet, load_network
    from ..validation import shown

    if not isinstance(new, NAFUNet):
        raise UnsuitedError("--init is the folder of a nafunet, and --network is another")
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


def weights_of(sources: Sequence[str]) -> dict[str, float]:
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


def _read(
    paths: Sequence[Path], weights: dict[str, float], batch: int, seed: int
) -> "tuple[Photographs | ClassedImages | Points, TrainingConfig]":
    """Return the images or points, and a configuration for their kind."""
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .points import Points
    from .trainer import TrainingConfig

    config = TrainingConfig(batch=batch, seed=seed)  # checked before the images are read
    for suffix, what in ((".npz", "classes"), (".npy", "points")):
        if len(paths) > 1 and any(path.suffix == suffix for path in paths):
            raise ValueError(f"an {suffix} file of {what} is the only source of a run")
    if paths[0].suffix == ".npy":
        return Points(paths[0]), config
    if paths[0].suffix != ".npz":
        return Photographs(paths, weights=weights), config
    images = ClassedImages(paths[0])
    side = images.pixels.shape[-1]
    law = "edm(p_mean=-0.6, p_std=1.4)"
    return images, replace(config, patch=side, late_patch=side, objective=law)


def _prepare(
    images: "Photographs | ClassedImages | Points",
    config: "TrainingConfig",
    objective: str | None = None,
    network: str | None = None,
    teacher: "Prior | None" = None,
) -> "tuple[Network, TrainingConfig]":
    """Return the network that a run begins with, and its configuration.

    It is a new one for the images and the objective, or a copy of that of a teacher.
    """
    from ..architectures.base import Architecture, Demand
    from ..catalog import build
    from ..objectives.base import Objective
    from .labelled import ClassedImages
    from .points import Points
    from .teachers import check_teacher

    is_points = isinstance(images, Points)
    text = network or ("mlp" if is_points else "nafunet")
    law = objective or config.objective
    law = config.objective if law == "edm" and isinstance(images, ClassedImages) else law
    task: Objective = build(law, ("objectives",))
    check_teacher(task, teacher)
    if teacher is not None:
        config = replace(config, teacher=teacher.sha256 or teacher.name)
        if (copied := _copied(images, task, network, teacher)) is not None:
            return copied, replace(
                config, objective=law, warmup=10, adam_rate=COPY_RATE, muon_rate=COPY_MUON_RATE
            )
    kind: Architecture = build(text, ("architectures",))
    shape: Sequence[int] = (3, 256, 256)
    std = 0.5
    if is_points:
        shape, std = tuple(images.pixels.shape[1:]), float(images.pixels.std())
    elif isinstance(images, ClassedImages):
        shape = tuple(images.pixels.shape[1:])
        std = float((images.pixels[::50].float() / 127.5 - 1).std())
    elif text.partition("(")[0] != "nafunet":
        shape = (3, SIDE, SIDE)  # other networks have one size
        config = replace(config, patch=SIDE, late_patch=SIDE)
    sigma_data = std if std == 0.5 else max(round(std, 2), 0.01)
    scores = getattr(kind, "time", None) == "fourier"
    demand = Demand(
        shape=(task.inputs * shape[0], *shape[1:]),
        sigma_data=sigma_data,
        classes=getattr(images, "classes", 0),
        numbers=task.numbers,
        parameterization=(
            task.score_parameterization() if scores else task.parameterization(sigma_data)
        ),
    )
    made: Any = kind.build(demand)
    rate = config.adam_rate if text.startswith(("nafunet", "mlp")) else 3e-4
    if task.rival:
        rate = COPY_RATE
        config = replace(config, muon_rate=COPY_MUON_RATE)
    return made, replace(config, objective=law, adam_rate=rate)


def _tutor(teacher: str | None) -> "Prior | None":
    """Return the teacher of a run, if it has one."""
    from ..pretrained.load import load_prior

    return None if teacher is None else load_prior(teacher)


def _copied(
    images: "Photographs | ClassedImages | Points",
    objective: "Objective",
    network: str | None,
    teacher: "Prior",
) -> "Network | None":
    """Return a copy of the network of a teacher, if the run is to begin with one.

    Raises:
        PriorError: If the teacher is one of other images.
    """
    from ..errors import PriorError, UnsuitedError
    from .teachers import copy_of

    pixels = getattr(images, "pixels", None)
    numbers = 3 if pixels is None else pixels.shape[1]
    classes = getattr(images, "classes", 0)
    for name, wanted, found in (
        ("axes", 3 if pixels is None else pixels.ndim - 1, len(teacher.shape)),
        ("channels", numbers, teacher.shape[0]),
        ("classes", classes if teacher.classes else 0, teacher.classes),
    ):
        if wanted != found:
            raise PriorError(f"the teacher has {name} {found}, and the images have {wanted}")
    if network is None:
        return copy_of(teacher, objective)
    if objective.copies:
        raise UnsuitedError("the network is a copy of that of the teacher: leave --network out")
    return None


def _draw_curve(out: Path) -> None:
    """Draw the validation table of a run, if matplotlib is installed."""
    from ..errors import FigureError
    from ..io import figures
    from ..io.ledger import read_rows
    from .trainer import SIGMAS

    rows = read_rows(out / "curve.csv")
    columns = [name for name in (*SIGMAS, "hole") if all(row.get(name) for row in rows)]
    label = "PSNR, dB" if columns else "loss"
    columns = columns or ["loss"]  # points have no PSNR
    minutes = [float(row["minutes"]) for row in rows]
    series = {name: [float(row[name]) for row in rows] for name in columns}
    try:
        figures.lines(out / "curve.png", minutes, series, axes=("minutes", label))
    except FigureError as error:
        print(f"no learning curve was drawn: {error}")
