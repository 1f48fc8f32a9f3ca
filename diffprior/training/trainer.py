"""Training of a noise-conditioned network on photographs, resumable at any kill."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..metrics import psnr
from ..networks.nafunet import NAFUNet, karras, save_network
from .labelled import ClassedImages
from .muon import Muon
from .photographs import Crops, Image, Photographs

__all__ = ["Recipe", "Trainer"]

SIGMAS = {
    "15/255": 15 / 127.5,
    "25/255": 25 / 127.5,
    "50/255": 50 / 127.5,
    "0.5": 0.5,
    "1": 1.0,
    "3": 3.0,
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that shapes a run, but for its images and its length.

    The noise levels are log-normal, log(sigma) ~ N(p_mean, p_std^2) in [-1, 1] units, stratified
    over the batch; the loss is that of Karras et al. (2022), sec. 5. Learning rates warm up, stay,
    then fall linearly to nothing over the last ``decay`` of the run, in which patches of
    ``late_patch`` replace those of ``patch`` at an equal number of pixels.

    Arguments:
        batch: Crops a step, while they are of the first size.
        patch, late_patch: Sides of the crops; multiples of the network's stride.
        decay: Share of the run in which the learning rates fall.
        warmup: Steps in which they rise.
        adam_rate, muon_rate: Learning rates: of AdamW, of Muon for the inner convolutions.
        clip: Largest norm of the gradient that AdamW is given.
        p_mean, p_std: Of the logarithm of the noise level.
        crops: How crops are drawn.
        ema: Width of the moving average of the weights, relative to the run so far.
        drop: Share of the classes, where there are any, that the network is not told.
        seed: Of the stream of crops and noise.
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
        """Return the factor of both learning rates, in (0, 1]."""
        fall = min(1.0, (1 - progress) / self.decay)
        return max(fall, 0.01) * min(1.0, (step + 1) / self.warmup)

    def shape(self, progress: float) -> tuple[int, int]:
        """Return the batch size and the side of a patch."""
        if progress < 1 - self.decay:
            return self.batch, self.patch
        return max(1, self.batch * self.patch**2 // self.late_patch**2), self.late_patch


class Trainer:
    """One run: its network, its optimisers, its moving average and its clock, in one folder.

    ``folder/checkpoint.pt`` is the whole state, written whole or not at all; every batch is a
    function of (seed, step), so that a run that was killed goes on with the stream it would have
    had. ``folder/weights`` holds the moving average as a model folder, ``folder/curve.csv`` the
    validation table.
    """

    def __init__(
        self,
        network: NAFUNet,
        photographs: Photographs | ClassedImages,
        recipe: Recipe,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.photographs, self.recipe, self.folder = photographs.to(device), recipe, folder
        self.device, self.step, self.seconds = torch.device(device), 0, 0.0
        kernels = [p for n, p in network.named_parameters() if _is_kernel(n, p)]
        rest = [p for n, p in network.named_parameters() if not _is_kernel(n, p)]
        self.rest = rest
        self.optimizers: list[torch.optim.Optimizer] = [
            Muon(kernels, recipe.muon_rate),
            torch.optim.AdamW(
                rest, recipe.adam_rate, betas=(0.9, 0.99), weight_decay=0, fused=True
            ),
        ]
        self.rates = recipe.muon_rate, recipe.adam_rate
        self.ema = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.loss = float("nan")

    @property
    def checkpoint(self) -> Path:
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
        """Take up the checkpoint, if there is one, and say whether there was."""
        if not self.checkpoint.exists():
            return False
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.ema, self.step, self.seconds = state["ema"], state["step"], state["seconds"]
        return True

    def train_step(self, progress: float) -> float:
        """Take one step at this share of the run, in [0, 1]; return the loss."""
        x_0, sigma, noise, labels = self._draw(progress)
        x, sigma_data = x_0 + sigma[:, None, None, None] * noise, self.network.sigma_data
        with torch.autocast(self.device.type, torch.bfloat16):
            estimate = karras(self.network, x, sigma, sigma_data, labels)
        weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
        loss = (weight[:, None, None, None] * (estimate - x_0) ** 2).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self.rest, self.recipe.clip)
        factor = self.recipe.rate(progress, self.step)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        return float(loss.detach())

    def _draw(self, progress: float) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return images ``(B, C, H, W)``, noise levels ``(B,)``, noise, and what is told."""
        recipe, rng = self.recipe, np.random.default_rng([self.recipe.seed, self.step])
        n, side = recipe.shape(progress)
        images, labels = self.photographs.batch(rng, n, side, recipe.crops)
        x_0 = (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        levels = (torch.from_numpy(rng.permutation(n)) + torch.from_numpy(rng.random(n))) / n
        normal = torch.special.ndtri(levels.clamp(1e-4, 1 - 1e-4)).float()
        sigma = torch.exp(recipe.p_mean + recipe.p_std * normal).to(self.device)
        generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**62)))
        noise = torch.randn(x_0.shape, generator=generator, device=self.device)
        if labels is not None:
            dropped = torch.from_numpy(rng.random(n) < recipe.drop).to(self.device)
            labels = labels.masked_fill(dropped, self.network.classes)
        return x_0, sigma, noise, labels

    def _average(self) -> None:
        """Follow the weights by a power law of relative width ``recipe.ema`` (EDM2, sec. 3.1)."""
        gamma = 1 / self.recipe.ema - 3  # inverts the width of that average to 1%
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
        """Train until the run's clock, over all its parts, shows ``minutes``.

        Arguments:
            every: Minutes between two checkpoints, each with its row of the curve.
            callback: Called after each step with the trainer and the share of the run that is done.
            measure: More columns for the curve, of the moving average.
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
        row = {
            "minutes": round(self.seconds / 60, 1),
            "step": self.step,
            "loss": round(self.loss, 4),
        }
        found = self.validate(network) | (measure(network) if measure else {})
        row |= {name: round(value, 2) for name, value in found.items()}
        path = self.folder / "curve.csv"
        rows: list[dict[str, Any]] = [row]
        if path.exists():
            rows = [*csv.DictReader(path.read_text().splitlines()), row]
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, dict.fromkeys(name for r in rows for name in r))
            writer.writeheader()
            writer.writerows(rows)
        part.replace(path)

    def averaged(self) -> NAFUNet:
        """Return the network with its moving average for weights."""
        network: NAFUNet = type(self.network)(**self.network.settings).to(self.device)
        network.load_state_dict(self.ema)
        return network.eval()

    @torch.no_grad()
    def validate(self, network: NAFUNet) -> dict[str, float]:
        """Return the mean denoising PSNR of a network at each of ``SIGMAS``, if it can be had."""
        side = min(128, self.recipe.late_patch)
        crops = [_center(x, side) for x in self.photographs.validation if min(x.shape[:2]) >= side]
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
    """Whether Muon takes it: inner convolutions that mix channels."""
    return p.ndim == 4 and p.shape[1] > 1 and not name.startswith(("first", "last"))
