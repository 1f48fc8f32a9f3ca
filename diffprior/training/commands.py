"""The command of training: train.

The module imports nothing heavy, so that the command line can read the options of its function.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from ..objectives.base import Objective
    from ..priors.base import Prior
    from .data import Data
    from .hole_validation import HoleValidation
    from .processes import Processes
    from .runs import Run
    from .trainer import Network, Trainer, TrainingConfig
    from .tuning import Tuning

__all__ = ["train", "weights_of"]

PARTS = ("text", "latent", "cascade", "condition")  # options of priors of several parts
STRIDE = 16  # of which the sides of crops are multiples
BATCH, TUNED = 32, 4  # images of each step, of a new prior and in fine-tuning
COPY_RATE, COPY_MUON_RATE = 2e-4, 4e-3  # learning rates of a copy, or against a critic
PREVIEW = 256  # side of the images that a network for any size generates by default
HOLES = 4  # held-out images that are also inpainted
PAUSE = 0.5  # seconds between two looks of the progress bar


def _tuning(metavar: str, help: str) -> Any:
    """Return an option of fine-tuning."""
    panel = "Fine-tuning of a text-to-image model"
    return typer.Option(metavar=metavar, help=help, rich_help_panel=panel)


def _staged(metavar: str | None, help: str) -> Any:
    """Return an option of priors of several parts."""
    return typer.Option(metavar=metavar, help=help, rich_help_panel="Texts, latents, cascades")


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
    batch: Annotated[
        int | None,
        typer.Option(
            help="Images of each step, in each process.", show_default="32, or 4 in fine-tuning"
        ),
    ] = None,
    holes: Annotated[
        int | None,
        typer.Option(help="Held-out images that are also inpainted.", show_default="4"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Device; default: cuda if there is one, else cpu.")
    ] = None,
    compile: Annotated[bool, typer.Option(help="Compile the network.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of weights, crops and noise.")] = 0,
    side: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Side of the crops of photographs in pixels, or of images with texts.",
            show_default="64, and later 128 where the network allows it",
        ),
    ] = None,
    text: Annotated[
        bool,
        _staged(
            None,
            "Train a prior that reads texts; those of dog.png are in dog.txt or metadata.jsonl.",
        ),
    ] = False,
    latent: Annotated[
        int | None,
        _staged("N", "Train an autoencoder first, with N channels, and a prior of its latents."),
    ] = None,
    joint: Annotated[
        bool, _staged(None, "Train the autoencoder and the prior of its latents together, too.")
    ] = False,
    adversarial: Annotated[
        float | None, _staged("X", "Weight of a critic of the autoencoder; default: no critic.")
    ] = None,
    cascade: Annotated[
        bool, _staged(None, "Train a prior of images of half the size, and one that enlarges them.")
    ] = False,
    condition: Annotated[
        str | None,
        _staged(
            "OPERATOR",
            "Train a prior that sees what an operator leaves of an image, as in gray.",
        ),
    ] = None,
    lora: Annotated[
        str | None, _tuning("MODEL", "A text-to-image model that gets a LoRA: a folder or hub id.")
    ] = None,
    controlnet: Annotated[
        str | None, _tuning("MODEL", "A text-to-image model that gets a ControlNet.")
    ] = None,
    prompt: Annotated[
        str | None, _tuning("TEXT", "What images show that have no .txt file beside them.")
    ] = None,
    class_images: Annotated[
        Path | None, _tuning("FOLDER", "Images that the model is to draw as before.")
    ] = None,
    class_prompt: Annotated[str | None, _tuning("TEXT", "What they show.")] = None,
    rejected: Annotated[
        Path | None, _tuning("FOLDER", "The worse image of each pair, by the name of the better.")
    ] = None,
    control_images: Annotated[
        Path | None, _tuning("FOLDER", "The control image of each image, by its name.")
    ] = None,
    rank: Annotated[int | None, _tuning("N", "Rank of the LoRA; default: 4.")] = None,
    rate: Annotated[
        float | None, _tuning("X", "Learning rate; default: 1e-4, or 1e-5 of a ControlNet.")
    ] = None,
) -> None:
    """Train a prior on images or points, or fine-tune a text-to-image model on images.

    A run that was stopped goes on with the same command. OUT/weights is a model folder for --prior,
    or one for --lora or --controlnet; OUT/curve.csv is the validation table. Both are written again
    when a finished run is called again. Processes that torchrun or accelerate launch starts train a
    prior together, on a GPU each.
    """
    import torch

    from .tuning import Tuning

    length = _length(minutes, steps)
    tuning = Tuning(
        lora=lora,
        controlnet=controlnet,
        prompt=None if text else prompt,
        class_images=class_images,
        class_prompt=class_prompt,
        rejected=rejected,
        control_images=control_images,
        rank=rank,
        rate=rate,
    )
    stages: dict[str, Any] = {
        "latent": latent,
        "cascade": cascade,
        "joint": joint,
        "adversarial": adversarial,
    }
    stages |= {"text": text, "condition": condition, "side": side, "prompt": prompt}
    plain: dict[str, Any] = {"compile": compile, "holes": holes}
    try:
        _check(every, holes, length)
        tuning.check()
        staged = _check_stages(stages, tuning.wanted or bool(init or teacher))
        with _joined(device, out) as (processes, place):
            if tuning.wanted or staged:
                _refuse_several(processes)
            torch.manual_seed(seed)
            if tuning.wanted:
                new: dict[str, Any] = {
                    "objective": objective,
                    "network": network,
                    "teacher": teacher,
                    "init": init,
                    "source": source,
                    "side": side,
                }
                _refuse(new | plain, "for a new prior, and this run fine-tunes a model")
                begun = _Begun(out, place, TUNED if batch is None else batch, seed)
                _tune(tuning, photographs, begun, every=every, **length)
            else:
                count = BATCH if batch is None else batch
                data = _read(photographs, weights_of(source or ()), count, seed, stages)
                if staged:
                    _refuse(plain, "for a prior of one part, and this one has several")
                    named = {"objective": objective, "network": network}
                    _in_stages(data, stages | named, out, place, length | {"every": every})
                else:
                    tutor = _tutor(teacher)
                    made, config = _prepare(*data, objective, network, tutor)
                    made = _initial(init, made) if init else made
                    trainer = _trainer(made, data[0], config, _Place(out, place, processes), tutor)
                    if compile:
                        made.compile()
                    if not processes.rank.is_first:
                        trainer.run(every=every, **length)
                        return
                    measure = _holes(trainer, data[0], HOLES if holes is None else holes, place)
                    _run(trainer, measure=measure, every=every, **length)
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


class _Begun(NamedTuple):
    """Where a run is, and what it draws its batches by."""

    out: Path
    place: str
    batch: int
    seed: int


class _Place(NamedTuple):
    """Where a new prior is trained, and by which processes."""

    out: Path
    device: str
    processes: "Processes"


def _refuse_several(processes: "Processes") -> None:
    """Refuse several processes where one does the work."""
    if processes.rank.size > 1:
        raise ValueError("several processes train plain priors alone; leave torchrun out")


def _refuse(options: Mapping[str, object], why: str) -> None:
    """Refuse options that a run has no use for, if they are given."""
    for name, value in options.items():
        if _is_given(value):
            raise ValueError(f"--{name} is {why}")


def _check_stages(stages: Mapping[str, Any], built_on: bool) -> bool:
    """Return whether a prior has several parts; refuse options of parts that are not there."""
    kinds = [f"--{name}" for name in PARTS if _is_given(stages[name])]
    for name in ("joint", "adversarial"):
        if stages[name] and "--latent" not in kinds:
            raise ValueError(f"--{name} is an option of --latent")
    if stages["joint"] and "--text" in kinds:
        raise ValueError("--joint trains a prior without texts: leave --text out")
    if len(kinds) > 1 and kinds != ["--text", "--latent"]:
        raise ValueError(f"a prior is one of them: give {' or '.join(kinds)}, or --text --latent N")
    if kinds and built_on:
        others = "--init, --teacher, --lora or --controlnet"
        raise ValueError(f"{kinds[0]} is for a new prior: it has no {others}")
    return bool(kinds)


def _is_given(value: Any) -> bool:
    """Return whether an option is there; a number of 0 is."""
    return value is not None and value is not False


def _in_stages(
    data: "tuple[Data, TrainingConfig]",
    stages: Mapping[str, Any],
    out: Path,
    place: str,
    length: dict[str, Any],
) -> None:
    """Train a prior of several parts."""
    from .stages import (
        OBJECTIVE,
        Course,
        LatentWish,
        train_cascade,
        train_conditioned,
        train_latent,
        train_text,
    )

    images: Any = data[0]
    config = data[1]
    objective, network = stages["objective"], stages["network"]
    every = length.pop("every")

    def run(trainer: Any, **more: Any) -> None:
        _run(trainer, every=every, **more)

    begun = {"latent": out / "autoencoder", "cascade": out / "base"}
    parts = [folder for name, folder in begun.items() if stages[name]]
    kind = _kind(images, stages)
    _introduce(images, ((parts or [out])[0] / "checkpoint.pt").exists())
    course = Course(out=out, device=place, run=run, **length)
    if kind == "latent":
        names = ("joint", "adversarial", "objective", "network")
        given = {k: stages[k] for k in names if stages[k] is not None}
        train_latent(images, config, LatentWish(channels=stages["latent"], **given), course)
    else:
        usual = OBJECTIVE if kind == "text" else config.objective
        config = replace(config, objective=objective or usual)
        if kind == "condition":
            train_conditioned(images, config, stages["condition"], network, course)
        else:
            start = train_text if kind == "text" else train_cascade
            start(images, config, network, course)


def _kind(images: Any, stages: Mapping[str, Any]) -> str:
    """Return of which kind a prior of several parts is, for images that suit it."""
    from .labelled import ClassedImages
    from .points import Points

    kind = next(name for name in ("latent", *PARTS) if _is_given(stages[name]))
    if isinstance(images, Points):
        raise ValueError(f"--{kind} is for images, and these are points")
    if kind == "cascade" and not isinstance(images, ClassedImages):
        raise ValueError("--cascade is for small images, in an .npz file")
    return kind


def _tune(tuning: "Tuning", paths: Sequence[Path], begun: _Begun, **length: Any) -> None:
    """Fine-tune a text-to-image model."""
    from .runs import RunConfig
    from .tuning import tuning_run

    config = RunConfig(batch=begun.batch, seed=begun.seed)
    run = tuning_run(tuning, paths, begun.out, begun.place, config)
    print(f"{run.notes['images']} images; {'resumed' if run.resume() else 'new run'}")
    _run(run, **length)


def _trainer(
    made: "Network",
    images: "Data",
    config: "TrainingConfig",
    where: _Place,
    tutor: "Prior | None" = None,
) -> "Trainer":
    """Return the trainer of a new prior, or of one that goes on."""
    from .trainer import Trainer

    images.check_room(max(config.patch, config.late_patch))
    trainer = Trainer(made, images, config, where.out, where.device, where.processes, tutor)
    resumed = trainer.resume()
    if where.processes.rank.is_first:
        _introduce(images, resumed)
    return trainer


def _holes(trainer: "Trainer", images: "Data", holes: int, place: str) -> "HoleValidation":
    """Return the measure of holes, for a network of any size that learns means."""
    from .hole_validation import HoleValidation

    draws = trainer.task.consistency or trainer.task.draws
    means = trainer.network.stride and not draws
    return HoleValidation(images.validation if means else [], holes, place)


def _length(minutes: float | None, steps: int | None) -> dict[str, Any]:
    """Return the length of the run, as arguments of ``Trainer.run``."""
    if steps is not None and minutes is not None:
        raise typer.BadParameter("a run has a length in --minutes or in --steps, and not both")
    return {"minutes": 60.0 if minutes is None and steps is None else minutes, "steps": steps}


def _check(every: float, holes: int | None, length: Mapping[str, Any]) -> None:
    """Check, before any work, the options that nothing else checks before it."""
    from ..validation import Positive, Whole, check

    check("--every", every, Positive)
    check("--holes", HOLES if holes is None else holes, Whole)
    check("--minutes", length["minutes"], Positive | None)
    check("--steps", length["steps"], int | None)


def _introduce(images: "Data", resumed: bool) -> None:
    """Say what the run has, and what it passed over."""
    from ..validation import shown, warn

    counts = [f"{len(levels)} of {shown(name)}" for name, levels in images.sources.items()]
    held_out = f"{len(images.validation)} held out"
    print(f"{', '.join(counts)}; {held_out}; {'resumed' if resumed else 'new run'}")
    if str(images.skipped):
        warn(str(images.skipped))


def _run(trainer: "Trainer | Run", **length: Any) -> None:
    """Train, with a progress bar."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("", total=1.0)

        shown = 0.0

        def callback(trainer: Any, share: float) -> None:
            nonlocal shown
            if share < 1 and time.monotonic() - shown < PAUSE:
                return  # to read the loss is to wait for the device
            shown = time.monotonic()
            text = f"step {trainer.step}, loss {trainer.loss:.4f}"
            progress.update(bar, completed=share, description=text)

        trainer.run(callback=callback, **length)


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
    paths: Sequence[Path],
    weights: dict[str, float],
    batch: int,
    seed: int,
    stages: Mapping[str, Any] | None = None,
) -> "tuple[Data, TrainingConfig]":
    """Return the images or points, and a configuration for their kind."""
    from ..validation import Within, check
    from .captioned import CaptionedImages
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .points import Points
    from .trainer import TrainingConfig

    config = TrainingConfig(batch=batch, seed=seed)  # checked before the images are read
    given = stages or {}
    side = given.get("side")
    for suffix, what in ((".npz", "classes"), (".npy", "points")):
        if len(paths) > 1 and any(path.suffix == suffix for path in paths):
            raise ValueError(f"an {suffix} file of {what} is the only source of a run")
    is_array = paths[0].suffix in (".npz", ".npy")
    if weights and (is_array or given.get("text")):
        raise ValueError("--source is for folders and ZIP files of images without texts")
    if side is not None:
        if is_array:
            raise ValueError("--side is for folders and ZIP files: an array has its own shape")
        check("--side", side, int, Within(STRIDE, 1024))
        if side % STRIDE:
            raise ValueError(f"--side is a multiple of {STRIDE}, got {side}")
        config = replace(config, patch=side, late_patch=side)
    if paths[0].suffix == ".npy":
        return Points(paths[0]), config
    if given.get("text"):
        texts = CaptionedImages(paths, config.patch, given.get("prompt"))
        side = texts.pixels.shape[-1]
        return texts, replace(config, patch=side, late_patch=side)
    if paths[0].suffix != ".npz":
        return Photographs(paths, weights=weights), config
    images = ClassedImages(paths[0])
    if images.captions:
        raise ValueError("y_train holds texts: give --text")
    side = images.pixels.shape[-1]
    law = "edm(p_mean=-0.6, p_std=1.4)"
    return images, replace(config, patch=side, late_patch=side, objective=law)


def _prepare(
    images: "Data",
    config: "TrainingConfig",
    objective: str | None = None,
    network: str | None = None,
    teacher: "Prior | None" = None,
) -> "tuple[Network, TrainingConfig]":
    """Return the network that a run begins with, and its configuration.

    It is a new one for the images and the objective, or a copy of that of a teacher.
    """
    from ..architectures.base import Architecture
    from ..catalog import build
    from ..objectives.base import Objective
    from .labelled import ClassedImages
    from .photographs import Photographs
    from .points import Points
    from .teachers import check_teacher
    from .trainer import demand_of

    text = network or ("mlp" if isinstance(images, Points) else "nafunet")
    law = objective or config.objective
    law = config.objective if law == "edm" and isinstance(images, ClassedImages) else law
    task: Objective = build(law, ("objectives",))
    check_teacher(task, teacher)
    config = replace(config, objective=law)
    if teacher is not None:
        config = replace(config, teacher=teacher.sha256 or teacher.name)
        if (copied := _copied(images, task, network, teacher)) is not None:
            config = replace(config, adam_rate=COPY_RATE, muon_rate=COPY_MUON_RATE)
            return copied, replace(_sized(config, copied), warmup=10)
    kind: Architecture = build(text, ("architectures",))
    is_plain = text.startswith("nafunet")
    side = PREVIEW if is_plain and isinstance(images, Photographs) else config.patch
    made: Any = kind.build(demand_of(kind, task, images, side))
    if not (is_plain or text.startswith("mlp")):
        config = replace(config, adam_rate=3e-4)
    if task.rival:
        config = replace(config, adam_rate=COPY_RATE, muon_rate=COPY_MUON_RATE)
    return made, _sized(config, made)


def _sized(config: "TrainingConfig", network: "Network") -> "TrainingConfig":
    """Return a configuration whose crops have the size of a network that has one alone."""
    if network.stride is not None:
        return config
    side = network.shape[-1]
    return replace(config, patch=side, late_patch=side)


def _tutor(teacher: str | None) -> "Prior | None":
    """Return the teacher of a run, if it has one."""
    from ..pretrained.load import load_prior

    return None if teacher is None else load_prior(teacher)


def _copied(
    images: "Data",
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

    shape = images.shape_at(teacher.shape[-1])
    for name, wanted, found in (
        ("axes", len(shape), len(teacher.shape)),
        ("channels", shape[0], teacher.shape[0]),
        ("classes", images.classes if teacher.classes else 0, teacher.classes),
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
