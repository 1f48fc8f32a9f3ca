"""Training of a noise-conditioned network; a run that was killed goes on."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..architectures.base import Demand
from ..catalog import build
from ..errors import SettingError, UnsuitedError
from ..io import documents
from ..io.ledger import Row, read_rows
from ..metrics import psnr
from ..networks.dit import DiT
from ..networks.mlp import MLP
from ..networks.nafunet import NAFUNet, packed
from ..networks.parameterizations import Karras, Parameterization
from ..networks.text_unet import TextUNet
from ..networks.unet import UNet, packed_unet, scheduler_config
from ..objectives.base import Batch, Denoiser, Objective
from ..objectives.guided import Guided
from ..objectives.progressive import Progressive
from ..priors.base import Prior
from ..priors.denoising_gan import prior_of
from ..priors.network import NetworkPrior
from ..schedules import EDM
from ..validation import Checked, Positive, Share, Whole, Within, check
from .data import Crops, Data
from .muon import Muon
from .processes import Processes
from .rival import BETAS, Rival
from .runs import (
    check_begun,
    rate_factor,
    reading_checkpoint,
    settings_of,
    share_of,
    write_curve,
)
from .teachers import as_teacher, check_teacher

__all__ = [
    "SIGMAS",
    "Network",
    "Trainer",
    "TrainingConfig",
    "check_task",
    "demand_of",
    "network_task",
]

Network = NAFUNet | UNet | TextUNet | DiT | MLP
LARGEST = 2**36  # bytes of a checkpoint
SIGMAS = {  # noise levels of the validation, in units of [-1, 1], by their names
    "15/255": 15 / 127.5,
    "25/255": 25 / 127.5,
    "50/255": 50 / 127.5,
    "0.5": 0.5,
    "1": 1.0,
    "3": 3.0,
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(Checked):
    """The settings of a training run, except its images and its length.

    The times are those of the objective, stratified over the batch. The learning rates rise during
    the warm-up, stay, and fall linearly over the last ``decay`` of the run. In this last part,
    crops of side ``late_patch`` replace those of side ``patch``; a batch has the same number of
    pixels.

    Arguments:
        batch: Crops of a step in the first part of the run, in each process.
        patch: Side of the crops in pixels, a multiple of the stride of the network.
        late_patch: Side of the crops in the last part.
        decay: Share of the run in which the learning rates fall, in [0, 1].
        warmup: Steps in which the learning rates rise.
        adam_rate: Learning rate of AdamW.
        muon_rate: Learning rate of Muon, which updates the inner convolutions of a ``NAFUNet``.
        clip: Largest norm of the gradient for AdamW.
        objective: What is minimized: the text of one of ``diffprior.objectives``.
        crops: How crops are drawn.
        ema: Width of the moving average of the weights, relative to the number of steps so far.
        drop: Share of the class labels that are hidden from the network.
        seed: Seed of crops and noise.
        teacher: The SHA-256 of the weights of the teacher; empty for none.
    """

    batch: Annotated[int, Within(1, 2**14)] = 32
    patch: Annotated[int, Within(1, 2**12)] = 64
    late_patch: Annotated[int, Within(1, 2**12)] = 128
    decay: Annotated[float, Within(0, 1, above=True)] = 0.5
    warmup: int = 50
    adam_rate: Positive = 1e-3
    muon_rate: Positive = 0.02
    clip: Positive = 1.0
    objective: str = "edm"
    crops: Crops = Crops()
    ema: Annotated[float, Within(0, 0.25, above=True)] = 0.05
    drop: Share = 0.1
    seed: Whole = 0
    teacher: str = ""

    def rate(self, progress: float, step: int) -> float:
        """Return the factor of both learning rates, in (0, 1], at a share of the run in [0, 1]."""
        return rate_factor(self, progress, step)

    def shape(self, progress: float) -> tuple[int, int]:
        """Return the batch size and the side of the crops at a share of the run in [0, 1]."""
        if progress < 1 - self.decay:
            return self.batch, self.patch
        return max(1, self.batch * self.patch**2 // self.late_patch**2), self.late_patch


class Trainer:
    """One run: its network, its optimizers, its moving average and its clock, in one folder.

    ``folder/checkpoint.pt`` holds the whole state. Each batch is a function of (seed, step): a run
    that was killed goes on with the batches that it would have had. ``folder/weights`` holds the
    moving average of the weights as a model folder, ``folder/curve.csv`` the validation table; both
    are written again from the checkpoint when the run goes on. A kill while a file is written
    leaves the last one.

    Several processes train as one with a batch as large as all of theirs: each has a part of it,
    and their gradients are averaged. The first one writes the files.

    Arguments:
        network: Network to train.
        images: What batches are drawn from.
        config: Settings of the run.
        folder: Folder of the run.
        device: Device of the network and the images.
        processes: The processes that train together.
        teacher: The prior that an objective of distillation learns from.
    """

    def __init__(  # noqa: PLR0913
        self,
        network: Network,
        images: Data,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
        processes: Processes = Processes(),  # noqa: B008 (frozen)
        teacher: Prior | None = None,
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = images.to(device)
        self.config = config
        self.folder = folder
        self.device = torch.device(device)
        self.processes = processes
        self.objective = build(config.objective, ("objectives",))
        check_teacher(self.objective, teacher)
        self.teacher = None if teacher is None else teacher.to(device)
        self.task = self._task(network)
        if self.objective.binary != images.binary:
            raise UnsuitedError(
                "bits is the objective of an .npy file of booleans, and of no other"
            )
        self.rival: Rival | None = None
        if self.objective.rival:
            self.rival = Rival(self._state_shape(), network.classes, config.adam_rate, self.device)
        self.step = 0
        self.seconds = 0.0
        muon = isinstance(network, NAFUNet)
        named = [(p, muon and _is_kernel(n, p)) for n, p in network.named_parameters()]
        kernels = [p for p, is_kernel in named if is_kernel]
        self.others = [p for p, is_kernel in named if not is_kernel]
        betas = (0.9, 0.99) if self.rival is None else BETAS
        adam = torch.optim.AdamW(
            self.others, config.adam_rate, betas=betas, weight_decay=0, fused=True
        )
        self.optimizers: list[torch.optim.Optimizer] = [adam]
        self.rates = [config.adam_rate]
        if kernels:
            self.optimizers.insert(0, Muon(kernels, config.muon_rate))
            self.rates.insert(0, config.muon_rate)
        self.ema = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.running = torch.full((), math.nan, device=self.device)
        self.curve: list[Row] = []

    def _task(self, network: Network) -> Parameterization:
        """Return what the network takes and says; that of a copy is that of its teacher."""
        if not self.objective.copies:
            return network_task(self.objective, network)
        assert isinstance(self.teacher, NetworkPrior)  # of which the network is a copy
        return self.teacher.parameterization

    def _state_shape(self) -> tuple[int, ...]:
        """Return the shape of a state, which is a part of what the network takes."""
        channels, *sides = self.network.shape
        return (channels // self.objective.inputs, *sides)

    @property
    def loss(self) -> float:
        """The running mean of the loss; to read it is to wait for the device."""
        return float(self.running)

    @property
    def checkpoint(self) -> Path:
        """File of the state."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, and what is made of it."""
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
            "loss": self.loss,
            "curve": self.curve,
            "config": asdict(self.config),
            "notes": self.notes(),
        }
        if self.rival is not None:
            state["rival"] = self.rival.state()
        file = BytesIO()
        torch.save(state, file)
        documents.write(file.getvalue(), self.checkpoint)
        self.export()

    def notes(self) -> dict[str, Any]:
        """Return what the run was begun with, beside its config, as texts and numbers."""
        return settings_of(self.network)

    def export(self) -> None:
        """Write the moving average as weights, and the validation table."""
        for name, data in self._packed().items():
            documents.write(data, self.folder / "weights" / name)
        if self.curve:
            write_curve(self.curve, self.folder)

    def _packed(self) -> dict[str, bytes]:
        """Return the files of the model folder: float16, but float32 where a network is small."""
        if isinstance(self.network, UNet):
            notes = {"_objective": self._noted()}
            return packed_unet(self.network, self.ema, self.task, notes)
        dtype = torch.float16 if isinstance(self.network, NAFUNet) else None
        return packed(self.network, self.ema, dtype, self.prior(self.averaged()).notes)

    def _noted(self) -> str | None:
        """Return the objective, if the settings of the network do not say how it was trained."""
        if self.objective.copies:
            return getattr(self.teacher, "objective", None)
        plain = isinstance(self.network, NAFUNet) and isinstance(self.task, Karras)
        return None if plain else self.config.objective

    def resume(self) -> bool:
        """Load the checkpoint if there is one; return whether there was.

        Raises:
            SettingError: If it is damaged, or is that of a run with another network or with other
                settings.
        """
        path = self.checkpoint
        is_here = self.processes.rank.is_first and path.exists()
        data = self.processes.copy(documents.read_bytes(path, LARGEST) if is_here else None)
        if data is None:
            return False
        with reading_checkpoint(path):
            state = torch.load(BytesIO(data), map_location=self.device, weights_only=True)
            before = {**state.get("config", {}), **state.get("notes", {})}
            check_begun(before, asdict(self.config) | self.notes(), self.folder)
            self._restore(state)
        return True

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if {k: v.shape for k, v in state["ema"].items()} != {
            k: v.shape for k, v in self.ema.items()
        }:
            raise SettingError("the moving average is that of another network")
        self.ema = state["ema"]
        if self.rival is not None:
            self.rival.restore(state["rival"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        self.running = torch.tensor(float(state.get("loss", math.nan)), device=self.device)
        older = self.folder / "curve.csv"  # checkpoints were once without the table
        self.curve = [dict(row) for row in state.get("curve") or read_rows(older)]

    def mend(self, measure: Callable[[NetworkPrior], dict[str, float]] | None = None) -> None:
        """Write what a kill left out, or what was broken since: the weights and the table."""
        if not self.curve or int(self.curve[-1]["step"]) != self.step:
            self.record(measure)
        else:
            self.export()

    def train_step(self, progress: float) -> Tensor:
        """Take one step at a share of the run, in [0, 1]; return the loss, on the device."""
        batch, labels = self._draw(progress)
        denoiser = Denoiser(
            network=self._forward,
            parameterization=self.task,
            labels=labels,
            teacher=None if self.teacher is None else as_teacher(self.teacher),
            critic=None if self.rival is None else self.rival.network,
        )
        factor = self.config.rate(progress, self.step)
        if self.rival is not None:
            losses = self.objective.critic_losses(denoiser, batch)
            self.rival.learn(losses.mean(), factor, self.processes)
        loss = self.objective.losses(denoiser, batch).mean()
        loss.backward()
        mean: Tensor = loss.detach().float()  # a bound is summed in float64
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        self.processes.average([mean, *gradients])
        nn.utils.clip_grad_norm_(self.others, self.config.clip)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        return mean

    def _forward(self, *inputs: Tensor) -> Tensor:
        """Return what the network says; images pass it in bfloat16.

        On a CPU the small networks of diffusers are slower so: one step of a ``UNet`` takes up to
        2.5 times as long.
        """
        quick = self.device.type != "cpu" or not isinstance(self.network, UNet | TextUNet)
        half = inputs[0].ndim == 4 and quick
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return self.network(*inputs)  # type: ignore[no-any-return]

    def _draw(self, progress: float) -> tuple[Batch, Tensor | None]:
        """Return a batch, and the labels ``(B,)`` of its images.

        All is drawn for the batch of all processes; each takes its rows.
        """
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        own, side = config.shape(progress)
        rows = self.processes.rows(own)
        n = own * self.processes.rank.size
        images, labels = self.images.batch(rng, n, side, config.crops, rows)
        x_0 = images
        if images.dtype == torch.uint8:
            x_0 = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        levels = (torch.from_numpy(rng.permutation(n)) + torch.from_numpy(rng.random(n))) / n
        t = self.objective.times(levels).float()[rows].to(self.device, non_blocking=True)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        if not self.network.classes:
            labels = None
        if labels is not None:
            dropped = torch.from_numpy(rng.random(n) < config.drop)[rows].to(self.device)
            labels = labels.masked_fill(dropped, self.network.classes)
        noises = self.objective.noises((n, *x_0.shape[1:]), generator)
        batch = self.objective.batch(x_0, t, (noise[rows] for noise in noises), progress)
        return batch, labels

    def _average(self) -> None:
        """Update the moving average, a power law of relative width ``config.ema``.

        "Analyzing and Improving the Training Dynamics of Diffusion Models" (Karras et al., 2024),
        https://arxiv.org/abs/2312.02696, sec. 3.1.
        """
        gamma = 1 / self.config.ema - 3  # inverts the width of that average to 1%
        keep = (1 - 1 / self.step) ** (gamma + 1)
        now = self.network.state_dict()
        torch._foreach_lerp_(list(self.ema.values()), [now[k] for k in self.ema], 1 - keep)

    def run(
        self,
        minutes: float | None = None,
        every: float = 5.0,
        callback: Callable[["Trainer", float], None] | None = None,
        measure: Callable[[NetworkPrior], dict[str, float]] | None = None,
        steps: int | None = None,
    ) -> None:
        """Train until the run, over all its parts, has taken ``minutes``, or ``steps``.

        The learning rates and the size of the crops depend on the share of the run that is done. A
        run of ``steps`` that was stopped therefore ends with the very weights of one that was not,
        on the same device and number of threads. A run of ``minutes`` does not: its share is that
        of a clock.

        Arguments:
            minutes: Length of the whole run.
            every: Minutes between two checkpoints; each adds a row to the validation table.
            callback: Called after each step with the trainer and the share of the run that is done.
            measure: Returns more columns of the validation table, for the averaged network.
            steps: Length of the whole run, in place of ``minutes``.
        """
        share = share_of(self, minutes, steps)
        check("every", every, Positive)
        writes = self.processes.rank.is_first
        if writes and self.step and self.checkpoint.exists():
            self.mend(measure)
        due = self.seconds + 60 * every
        while (done := self.processes.agree(share())) < 1:
            start = time.perf_counter()
            loss = self.train_step(done)
            mean = 0.99 * self.running + 0.01 * loss
            self.running = torch.where(self.running.isnan(), loss, mean)
            self.seconds += time.perf_counter() - start
            if callback is not None:
                callback(self, share())
            if writes and (self.seconds >= due or share() >= 1):
                self.save()
                self.record(measure)
                due = self.seconds + 60 * every

    def record(self, measure: Callable[[NetworkPrior], dict[str, float]] | None = None) -> None:
        """Add the validation row of the moving average to the table, and save."""
        network = self.averaged()
        row: Row = {
            "minutes": round(self.seconds / 60, 1),
            "step": self.step,
            "loss": round(self.loss, 4),
        }
        values = self.validate(network) | (measure(self.prior(network)) if measure else {})
        self.curve.append(row | {name: round(value, 2) for name, value in values.items()})
        self.save()

    def prior(self, network: Network) -> NetworkPrior:
        """Return the prior of a network that was trained so."""
        made = prior_of(network, self.task, self._noted())
        steps = getattr(self.teacher, "few_steps", None)
        scale = getattr(self.teacher, "folded_guidance", None)
        if isinstance(self.objective, Progressive):
            steps = self.objective.steps
        if isinstance(self.objective, Guided):
            scale = self.objective.guidance_scale
        return made.distilled(steps if self.objective.copies else None, scale)

    def averaged(self) -> Network:
        """Return the network with the moving average as its weights."""
        network: Network = type(self.network)(**self.network.settings).to(self.device)
        network.load_state_dict(self.ema)
        return network.eval()

    @torch.no_grad()
    def validate(self, network: Network) -> dict[str, float]:
        """Return the mean denoising PSNR in dB at each of ``SIGMAS``.

        Nothing without images, or for a network that does not say E[x_0 | x_t] at all times.
        """
        if self.task.consistency or self.task.draws:
            return {}
        crops = self.images.held_out(min(128, self.config.late_patch))
        if not crops:
            return {}
        x_0 = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(self.device) / 127.5 - 1
        table = {}
        for name, level in SIGMAS.items():
            generator = torch.Generator().manual_seed(0)
            noise = torch.randn(x_0.shape, generator=generator).to(self.device)
            parts = torch.split(x_0 + level * noise, 8)
            estimates = [self._estimate(network, x, level) for x in parts]
            table[name] = psnr(torch.cat(estimates), x_0).mean().item()
        return table

    def _estimate(self, network: Network, x: Tensor, level: float) -> Tensor:
        """Return the network's E[x_0 | x] of images x = x_0 + level eps, at the nearest time."""
        t = self.task.schedule.time(level)
        alpha_t = self.task.schedule(t)[0]
        classes = torch.full((len(x),), network.classes, device=self.device)
        denoiser = Denoiser(
            network=network, parameterization=self.task, labels=classes if network.classes else None
        )
        with torch.autocast(self.device.type, torch.bfloat16):
            return denoiser((alpha_t * x).to(x), t.expand(len(x)).to(x))


def network_task(objective: Objective, network: Network) -> Parameterization:
    """Return what a network takes and says in the training by an objective.

    Raises:
        UnsuitedError: If the network has not as many outputs as the objective needs, or cannot be
            saved with what it says.
    """
    check_numbers(objective, network.numbers)
    if _says_scores(network):
        return objective.score_parameterization()
    own = objective.parameterization(network.sigma_data)
    if isinstance(network, UNet | TextUNet):
        scheduler_config(own, network.numbers)  # which refuses what diffusers cannot say
    elif isinstance(network, NAFUNet) and isinstance(own, Karras) and type(own.schedule) is EDM:
        return Karras(network.sigma_min, network.sigma_max, network.sigma_data)
    return own


def check_task(objective: Objective, numbers: int) -> None:
    """Refuse an objective by which no network of diffusers can be trained and saved.

    Arguments:
        objective: The objective.
        numbers: Outputs that the network has for each number of a state.

    Raises:
        UnsuitedError: If the network has not as many outputs as the objective needs, or diffusers
            has no scheduler for what it says.
    """
    check_numbers(objective, numbers)
    scheduler_config(objective.parameterization(1.0), numbers)


def check_numbers(objective: Objective, numbers: int) -> None:
    """Refuse a network that has not as many outputs as an objective needs."""
    if numbers != objective.numbers:
        raise UnsuitedError(
            f"{type(objective).__name__} needs {objective.numbers} outputs for each number of an "
            f"image, and the network has {numbers}"
        )


def demand_of(kind: Any, objective: Objective, data: Data, side: int) -> Demand:
    """Return what data and an objective ask of a network.

    Arguments:
        kind: The architecture.
        objective: The objective.
        data: What the network is trained on.
        side: Side of crops in pixels.
    """
    numbers, *sides = data.shape_at(side)
    own = (
        objective.score_parameterization()
        if getattr(kind, "time", None) == "fourier"
        else objective.parameterization(data.deviation)
    )
    return Demand(
        shape=(objective.inputs * numbers, *sides),
        sigma_data=data.deviation,
        classes=data.classes,
        numbers=objective.numbers,
        parameterization=own,
    )


def _says_scores(network: Network) -> bool:
    """Return whether a network says the score itself."""
    return isinstance(network, UNet) and network.settings["time"] == "fourier"


def _is_kernel(name: str, p: nn.Parameter) -> bool:
    """Return whether Muon updates it: it does for inner convolutions that mix channels."""
    return p.ndim == 4 and p.shape[1] > 1 and not name.startswith(("first", "last"))
