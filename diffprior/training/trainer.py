"""Training of a noise-conditioned network; a run that was killed goes on."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..io.ledger import Ledger
from ..metrics import psnr
from ..networks.nafunet import NAFUNet, save_network
from ..networks.parameterizations import karras
from .labelled import ClassedImages
from .muon import Muon
from .photographs import Crops, Image, Photographs

__all__ = ["SIGMAS", "Trainer", "TrainingConfig"]

SIGMAS = {  # noise levels of the validation, in units of [-1, 1], by their names
    "15/255": 15 / 127.5,
    "25/255": 25 / 127.5,
    "50/255": 50 / 127.5,
    "0.5": 0.5,
    "1": 1.0,
    "3": 3.0,
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The settings of a training run, except its images and its length.

    Noise levels are log-normal, log(sigma) ~ N(p_mean, p_std^2) in units of [-1, 1], stratified
    over the batch. The loss is that of "Elucidating the Design Space of Diffusion-Based Generative
    Models" (Karras et al., 2022), https://arxiv.org/abs/2206.00364, sec. 5. The learning rates rise
    during the warm-up, stay, and fall linearly over the last ``decay`` of the run. In this last
    part, crops of side ``late_patch`` replace those of side ``patch``; a batch has the same number
    of pixels.

    Arguments:
        batch: Crops of a step in the first part of the run.
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

    batch: int = 32
    patch: int = 64
    late_patch: int = 128
    decay: float = 0.5
    warmup: int = 50
    adam_rate: float = 1e-3
    muon_rate: float = 0.02
    clip: float = 1.0
    p_mean: float = -1.0
    p_std: float = 1.5
    crops: Crops = Crops()
    ema: float = 0.05
    drop: float = 0.1
    seed: int = 0

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

    ``folder/checkpoint.pt`` holds the whole state. A kill while it is written leaves the last one.
    Each batch is a function of (seed, step): a run that was killed goes on with the batches that
    it would have had. ``folder/weights`` holds the moving average of the weights as a model folder,
    ``folder/curve.csv`` the validation table.

    Arguments:
        network: Network to train.
        images: Images to draw batches from.
        config: Settings of the run.
        folder: Folder of the run.
        device: Device of the network and the images.
    """

    def __init__(
        self,
        network: NAFUNet,
        images: Photographs | ClassedImages,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.images = images.to(device)
        self.config = config
        self.folder = folder
        self.device = torch.device(device)
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
        self.loss = float("nan")

    @property
    def checkpoint(self) -> Path:
        """File of the state."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint, and the moving average as float16 weights."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "network": self.network.state_dict(),
            "ema": self.ema,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)
        save_network(self.network, self.folder / "weights", self.ema)

    def resume(self) -> bool:
        """Load the checkpoint if there is one; return whether there was."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ema = state["ema"]
        self.step = state["step"]
        self.seconds = state["seconds"]
        return True

    def train_step(self, progress: float) -> float:
        """Take one step at a share of the run, in [0, 1]; return the loss."""
        x_0, sigma, noise, labels = self._draw(progress)
        x = x_0 + sigma[:, None, None, None] * noise
        sigma_data = self.network.sigma_data
        with torch.autocast(self.device.type, torch.bfloat16):
            estimate = karras(self.network, x, sigma, sigma_data, labels)
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        loss = (weight[:, None, None, None] * (estimate - x_0) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.others, self.config.clip)
        factor = self.config.rate(progress, self.step)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        return float(loss.detach())

    def _draw(self, progress: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return images ``(B, C, H, W)``, noise levels ``(B,)``, noise, and labels ``(B,)``."""
        config = self.config
        rng = np.random.default_rng([config.seed, self.step])
        n, side = config.shape(progress)
        images, labels = self.images.batch(rng, n, side, config.crops)
        x_0 = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        levels = (torch.from_numpy(rng.permutation(n)) + torch.from_numpy(rng.random(n))) / n
        normal = torch.special.ndtri(levels.clamp(1e-4, 1 - 1e-4)).float()
        sigma = torch.exp(config.p_mean + config.p_std * normal).to(self.device)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(x_0.shape, generator=generator, device=self.device)
        if labels is not None:
            dropped = torch.from_numpy(rng.random(n) < config.drop).to(self.device)
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
        minutes: float,
        every: float = 5.0,
        callback: Callable[["Trainer", float], None] | None = None,
        measure: Callable[[NAFUNet], dict[str, float]] | None = None,
    ) -> None:
        """Train until the run, over all its parts, has taken ``minutes``.

        Arguments:
            minutes: Length of the whole run.
            every: Minutes between two checkpoints; each adds a row to the validation table.
            callback: Called after each step with the trainer and the share of the run that is done.
            measure: Returns more columns of the validation table, for the averaged network.
        """
        due = self.seconds + 60 * every
        while self.seconds < 60 * minutes:
            start = time.perf_counter()
            loss = self.train_step(self.seconds / (60 * minutes))
            self.loss = loss if math.isnan(self.loss) else 0.99 * self.loss + 0.01 * loss
            self.seconds += time.perf_counter() - start
            if callback is not None:
                callback(self, self.seconds / (60 * minutes))
            if self.seconds >= due or self.seconds >= 60 * minutes:
                self.save()
                self.record(measure)
                due = self.seconds + 60 * every

    def record(self, measure: Callable[[NAFUNet], dict[str, float]] | None = None) -> None:
        """Append the validation row of the moving average to ``curve.csv``."""
        network = self.averaged()
        row: dict[str, float] = {
            "minutes": round(self.seconds / 60, 1),
            "step": self.step,
            "loss": round(self.loss, 4),
        }
        values = self.validate(network) | (measure(network) if measure else {})
        row |= {name: round(value, 2) for name, value in values.items()}
        Ledger(self.folder / "curve.csv").add(row)

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
