"""LoRA of a text-to-image model: for a subject (DreamBooth), a style, or a preference."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ExtraError, UnsuitedError
from ..validation import Positive
from .runs import Run, RunConfig
from .text_model import Draws, Rows, TextModel

__all__ = ["LoraConfig", "LoraRun", "PreferenceRun"]

LAYERS = ["to_k", "to_q", "to_v", "to_out.0"]  # of attention, in all families
FILE = "pytorch_lora_weights.safetensors"  # the name that diffusers gives to it


@dataclass(frozen=True, kw_only=True)
class LoraConfig(RunConfig):
    """The settings of the training of a LoRA.

    Arguments:
        rank: Rank of the change of each layer.
        keep: Weight of the loss of the images that are to stay as they are.
        beta: How strongly a preference pulls away from the model.
    """

    rate: Positive = 1e-4
    rank: int = 4
    keep: float = 1.0
    beta: Positive = 2000.0


class LoraRun(Run):
    """Images with texts teach the attention of a network a change of low rank.

    With images of a subject and a prompt that names it by a rare word it is DreamBooth. Images of
    the subject's class, drawn from the model itself, then keep what it knows (prior preservation):
    "DreamBooth" (Ruiz et al., 2023), https://arxiv.org/abs/2208.12242; "LoRA" (Hu et al., 2021),
    https://arxiv.org/abs/2106.09685. The layers are those of peft, and alpha is the rank.

    Arguments:
        model: The model; its network gets an adapter of peft.
        rows: What is learned.
        config: Settings of the run.
        folder: Folder of the run.
        kept: What is to stay as it is.

    Raises:
        ExtraError: If peft is not installed.
    """

    name = "lora"

    def __init__(
        self,
        model: TextModel,
        rows: Rows,
        config: LoraConfig,
        folder: Path,
        kept: Rows | None = None,
    ) -> None:
        super().__init__(config, folder, _begun(model, rows, kept))
        self.settings = config
        self.model = model
        self.rows = rows
        self.kept = kept
        network = model.family.network
        _add_adapter(network, config.rank)
        self._train({k: p for k, p in network.named_parameters() if p.requires_grad})

    def losses(self, rng: np.random.Generator, progress: float) -> Tensor:
        losses = self._losses(rng, self.rows)
        if self.kept is None:
            return losses
        return losses + self.settings.keep * self._losses(rng, self.kept)

    def _losses(self, rng: np.random.Generator, rows: Rows) -> Tensor:
        batch = rows.take(rng.integers(len(rows), size=self.config.batch).tolist())
        return self.model.errors(batch, Draws.of(rng, batch.z))

    def measured(self) -> dict[str, float]:
        """Return the error at fixed times and noise, of what is learned and of what is kept."""
        found = {"error": self.model.measured(self.rows)}
        return found | ({"kept": self.model.measured(self.kept)} if self.kept else {})

    def files(self) -> dict[str, bytes]:
        """Return the LoRA, as diffusers writes it."""
        return {FILE: _packed(self.model)}


class PreferenceRun(LoraRun):
    """Pairs of a better and a worse image of one text: "Diffusion-DPO" (Wallace et al., 2023).

    The loss is -log sigmoid(m), where m = (beta / 2) (r(worse) - r(better)), r is the error of the
    tuned network above that of the model itself, and both images have the same time and noise.
    m is the margin of the implicit reward: it rises as the better image becomes likelier, relative
    to the model, than the worse one. https://arxiv.org/abs/2311.12908, eq. 14.

    Arguments:
        model, config, folder: As of ``LoraRun``.
        rows: The better images.
        worse: States of the worse images, of the shape of those of the better ones.
    """

    name = "preference"

    def __init__(
        self, model: TextModel, rows: Rows, worse: Tensor, config: LoraConfig, folder: Path
    ) -> None:
        super().__init__(model, rows, config, folder)
        self.worse = Rows(worse, rows.conditions)

    def losses(self, rng: np.random.Generator, progress: float) -> Tensor:
        index = rng.integers(len(self.rows), size=self.config.batch).tolist()
        return -F.logsigmoid(self.margins(index, Draws.of(rng, self.rows.z[index])))

    def margins(self, index: list[int], draws: Draws) -> Tensor:
        """Return the margin of the implicit reward of some pairs, ``(B,)``."""
        better, worse = (self._above(rows.take(index), draws) for rows in (self.rows, self.worse))
        return self.settings.beta / 2 * (worse - better)

    def _above(self, rows: Rows, draws: Draws) -> Tensor:
        """Return the error of the tuned network above that of the model itself, ``(B,)``."""
        network = self.model.family.network
        network.disable_adapters()
        try:
            with torch.no_grad():
                own = self.model.errors(rows, draws)
        finally:
            network.enable_adapters()
        return self.model.errors(rows, draws) - own

    @torch.no_grad()
    def measured(self) -> dict[str, float]:
        """Return the margin of the first pairs, at fixed times and noise."""
        index = list(range(min(8, len(self.rows))))
        draws = Draws.of(np.random.default_rng(0), self.rows.z[index])
        return {"margin": float(self.margins(index, draws).mean())}


def _begun(model: TextModel, rows: Rows, kept: Rows | None) -> Mapping[str, Any]:
    """Return what a run is begun with, beside its settings."""
    return {
        "model": model.prior.sha256,
        "size": "x".join(map(str, model.size)),
        "images": len(rows),
        "kept images": 0 if kept is None else len(kept),
    }


def _add_adapter(network: Any, rank: int) -> None:
    """Add the layers of peft to the attention of a network."""
    try:
        from peft import LoraConfig as Settings
    except ImportError as error:
        raise ExtraError("a LoRA is trained by peft: pip install 'diffprior[lora]'") from error
    if getattr(network, "peft_config", None):
        raise UnsuitedError("this network has an adapter of peft already; open the model again")
    network.add_adapter(
        Settings(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=LAYERS)
    )


def _packed(model: TextModel) -> bytes:
    """Return the file of the changes, as the pipeline of diffusers writes it."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    part = "unet" if "unet" in model.family.pipe.components else "transformer"
    layers = get_peft_model_state_dict(model.family.network)
    layers = {k: v.detach().float().cpu().contiguous() for k, v in layers.items()}
    if part == "unet":
        layers = convert_state_dict_to_diffusers(layers)
    with TemporaryDirectory() as folder:
        model.family.pipe.save_lora_weights(folder, **{f"{part}_lora_layers": layers})
        return (Path(folder) / FILE).read_bytes()
