"""Training of a noise-conditioned network; a run that was killed goes on."""

import csv
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..io import documents
from ..io.ledger import Row, read_rows
from ..metrics import psnr
from ..networks.nafunet import NAFUNet, packed
from ..networks.parameterizations import karras
from ..validation import ANYWHERE, Checked, Positive, Share, Whole, Within, check, shown
from .image_files import Image
from .labelled import ClassedImages
from .muon import Muon
from .photographs import Crops, Photographs
from .processes import Processes

__all__ = ["SIGMAS", "Trainer", "TrainingConfig"]

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

    Noise levels are log-normal, log(sigma) ~ N(p_mean, p_std^2) in units of [-1, 1], stratified
    over the batch. The loss is that of "Elucidating the Design Space of Diffusion-Based Generative
    Models" (Karras et al., 2022), https://arxiv.org/abs/2206.00364, sec. 5. The learning rates rise
    during the warm-up, stay, and fall linearly over the last ``decay`` of the run. In this last
    part, crops of side ``late_patch`` replace those of side ``patch``; a batch has the same number
    of pixels.

    Arguments:
        batch: Crops of a step in the first part of the run, in each process.
        patch: Side of the crops in pixels, a multiple of the stride of the network.
        late_patch: Side of the crops in the last part.
        decay: Share of the run in which the learning rates fall, in [0, 1].
        warmup: Steps in which the learning rates rise.
        adam_rate: Learning rate of AdamW.
        muon_rate: Learning rate of Muon, which updates the inner convolutions.
        clip: Largest norm of the gradient for AdamW.
        p_mean: Mean of the logarithm of the noise level.
        p_std: Standard deviation of the logarithm of the noise level.
        crops: How crops are drawn.
        ema: Width of the moving average of the weights, relative to the number of steps so far.
        drop: Share of the class labels that are hidden from the network.
        seed: Seed of crops and noise.
    """

    batch: Annotated[int, Within(1, 2**14)] = 32
    patch: Annotated[int, Within(1, 2**12)] = 64
    late_patch: Annotated[int, Within(1, 2**12)] = 128
    decay: Annotated[float, Within(0, 1, above=True)] = 0.5
    warmup: int = 50
    adam_rate: Positive = 1e-3
    muon_rate: Positive = 0.02
    clip: Positive = 1.0
    p_mean: Annotated[float, ANYWHERE] = -1.0
    p_std: Positive = 1.5
    crops: Crops = Crops()
    ema: Annotated[float, Within(0, 0.25, above=True)] = 0.05
    drop: Share = 0.1
    seed: Whole = 0

    def rate(self, progress: float, step: int) -> float:
        """Return the factor of both learning rates, in (0, 1], at a share of the run in [0, 1]."""
        fall = min(1.0, (1 - progress) / self.decay)
        return max(fall, 0.01) * min(1.0, (step + 1) / self.warmup)

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
        images: Images to draw batches from.
        config: Settings of the run.
        folder: Folder of the run.
        device: Device of the network and the images.
        processes: The processes that train together.
    """

    def __init__(
        self,
        network: NAFUNet,
        images: Photographs | ClassedImages,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
        processes: Processes = Processes(),  # noqa: B008 (frozen)
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = images.to(device)
        self.config = config
        self.folder = folder
        self.device = torch.device(device)
        self.processes = processes
        self.step = 0
        self.seconds = 0.0
        kernels = [p for n, p in network.named_parameters() if _is_kernel(n, p)]
        self.others = [p for n, p in network.named_parameters() if not _is_kernel(n, p)]
        adam = torch.optim.AdamW(
            self.others, config.adam_rate, betas=(0.9, 0.99), weight_decay=0, fused=True
        )
        self.optimizers: list[torch.optim.Optimizer] = [Muon(kernels, config.muon_rate), adam]
        self.rates = config.muon_rate, config.adam_rate
        self.ema = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.running = torch.full((), math.nan, device=self.device)
        self.curve: list[Row] = []

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
        }
        file = BytesIO()
        torch.save(state, file)
        documents.write(file.getvalue(), self.checkpoint)
        self.export()

    def export(self) -> None:
        """Write the moving average as float16 weights, and the validation table."""
        for name, data in packed(self.network, self.ema, torch.float16).items():
            documents.write(data, self.folder / "weights" / name)
        if self.curve:
            file = StringIO()
            columns = dict.fromkeys(name for row in self.curve for name in row)
            writer = csv.DictWriter(file, [*columns], restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.curve)
            documents.write(file.getvalue().encode(), self.folder / "curve.csv")

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
        try:
            state = torch.load(BytesIO(data), map_location=self.device, weights_only=True)
            self._check_config(state.get("config", {}))
            self._restore(state)
        except SettingError:
            raise
        except Exception as error:  # torch raises anything on damaged data
            raise SettingError(
                f"{shown(path)} is damaged, or is the checkpoint of another network; choose "
                "another folder, or remove it to begin anew"
            ) from error
        return True

    def _check_config(self, before: Mapping[str, Any]) -> None:
        """Refuse to go on with other settings than those that the run was begun with."""
        for name, value in asdict(self.config).items():
            if before.get(name, value) != value:
                raise SettingError(
                    f"the run in {shown(self.folder)} was begun with {name} {before[name]!r}, not "
                    f"{value!r}; choose another folder"
                )

    def _restore(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if {k: v.shape for k, v in state["ema"].items()} != {
            k: v.shape for k, v in self.ema.items()
        }:
            raise SettingError("the moving average is that of another network")
        self.ema = state["ema"]
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        self.running = torch.tensor(float(state.get("loss", math.nan)), device=self.device)
        older = self.folder / "curve.csv"  # checkpoints were once without the table
        self.curve = [dict(row) for row in state.get("curve") or read_rows(older)]

    def mend(self, measure: Callable[[NAFUNet], dict[str, float]] | None = None) -> None:
        """Write what a kill left out, or what was broken since: the weights and the table."""
        if not self.curve or int(self.curve[-1]["step"]) != self.step:
            self.record(measure)
        else:
            self.export()

    def train_step(self, progress: float) -> Tensor:
        """Take one step at a share of the run, in [0, 1]; return the loss, on the device."""
        x_0, sigma, noise, labels = self._draw(progress)
        x = x_0 + sigma[:, None, None, None] * noise
        sigma_data = self.network.sigma_data
        with torch.autocast(self.device.type, torch.bfloat16):
            estimate = karras(self.network, x, sigma, sigma_data, labels)
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        loss = (weight[:, None, None, None] * (estimate - x_0) ** 2).mean()
        loss.backward()
        mean: Tensor = loss.detach()
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        self.processes.average([mean, *gradients])
        nn.utils.clip_grad_norm_(self.others, self.config.clip)
        factor = self.config.rate(progress, self.step)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        return mean

    def _draw(self, progress: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return images ``(B, C, H, W)``, noise levels ``(B,)``, noise, and labels ``(B,)``.

        All is drawn for the batch of all processes; each takes its rows.
        """
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        own, side = config.shape(progress)
        rows = self.processes.rows(own)
        n = own * self.processes.rank.size
        images, labels = self.images.batch(rng, n, side, config.crops, rows)
        x_0 = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        levels = (torch.from_numpy(rng.permutation(n)) + torch.from_numpy(rng.random(n))) / n
        normal = torch.special.ndtri(levels.clamp(1e-4, 1 - 1e-4)).float()
        sigma = torch.exp(config.p_mean + config.p_std * normal)[rows]
        sigma = sigma.to(self.device, non_blocking=True)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn((n, *x_0.shape[1:]), generator=generator, device=self.device)[rows]
        if labels is not None:
            dropped = torch.from_numpy(rng.random(n) < config.drop)[rows].to(self.device)
            labels = labels.masked_fill(dropped, self.network.classes)
        return x_0, sigma, noise, labels

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
        measure: Callable[[NAFUNet], dict[str, float]] | None = None,
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
        share = self._clock(minutes, steps)
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

    def _clock(self, minutes: float | None, steps: int | None) -> Callable[[], float]:
        """Return a function that returns the share of the run that is done."""
        if (minutes is None) == (steps is None):
            raise SettingError("a run has a length in minutes or in steps, and not both")
        if steps is not None:
            check("steps", steps, int)
            return lambda: self.step / steps
        check("minutes", minutes, Positive)
        seconds = 60 * float(minutes or 0)
        return lambda: self.seconds / seconds

    def record(self, measure: Callable[[NAFUNet], dict[str, float]] | None = None) -> None:
        """Add the validation row of the moving average to the table, and save."""
        network = self.averaged()
        row: Row = {
            "minutes": round(self.seconds / 60, 1),
            "step": self.step,
            "loss": round(self.loss, 4),
        }
        values = self.validate(network) | (measure(network) if measure else {})
        self.curve.append(row | {name: round(value, 2) for name, value in values.items()})
        self.save()

    def averaged(self) -> NAFUNet:
        """Return the network with the moving average as its weights."""
        network: NAFUNet = type(self.network)(**self.network.settings).to(self.device)
        network.load_state_dict(self.ema)
        return network.eval()

    @torch.no_grad()
    def validate(self, network: NAFUNet) -> dict[str, float]:
        """Return the mean denoising PSNR in dB at each of ``SIGMAS``; nothing without images."""
        side = min(128, self.config.late_patch)
        crops = [_center(x, side) for x in self.images.validation if min(x.shape[:2]) >= side]
        if not crops:
            return {}
        x_0 = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(self.device) / 127.5 - 1
        table = {}
        for name, level in SIGMAS.items():
            generator = torch.Generator().manual_seed(0)
            x = x_0 + level * torch.randn(x_0.shape, generator=generator).to(self.device)
            estimates = []
            for part in torch.split(x, 8):
                sigma = torch.full((len(part),), level, device=self.device)
                with torch.autocast(self.device.type, torch.bfloat16):
                    estimates.append(karras(network, part, sigma, network.sigma_data))
            table[name] = psnr(torch.cat(estimates), x_0).mean().item()
        return table


def _center(x: Image, side: int) -> Image:
    i, j = ((n - side) // 2 for n in x.shape[:2])
    return x[i : i + side, j : j + side]


def _is_kernel(name: str, p: nn.Parameter) -> bool:
    """Return whether Muon updates it: it does for inner convolutions that mix channels."""
    return p.ndim == 4 and p.shape[1] > 1 and not name.startswith(("first", "last"))
