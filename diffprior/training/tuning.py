"""Fine-tuning of text-to-image models: the run that the options of a person ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import SettingError
from ..pretrained.load import load_prior
from ..validation import warn
from .captioned import read_captioned, read_pairs
from .control import ControlRun
from .lora import LoraConfig, LoraRun, PreferenceRun
from .runs import Run, RunConfig
from .text_model import TextModel

__all__ = ["Tuning", "tuning_run"]

MANY = 1e-5  # learning rate of a whole network, from weights that are good already


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What a person asks for.

    Attributes:
        lora: The model that gets a LoRA: a folder or a hub id.
        controlnet: The model that gets a ControlNet.
        prompt: What images show that have no text of their own.
        class_images: Folder of images that are to stay as they are.
        class_prompt: What they show.
        rejected: Folder of the worse image of each pair.
        control_images: Folder of the control image of each image.
        rank: Rank of a LoRA.
        rate: Learning rate; by default that of its kind.
    """

    lora: str | None = None
    controlnet: str | None = None
    prompt: str | None = None
    class_images: Path | None = None
    class_prompt: str | None = None
    rejected: Path | None = None
    control_images: Path | None = None
    rank: int | None = None
    rate: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is fine-tuned."""
        return bool(self.lora or self.controlnet)

    def check(self) -> None:
        """Refuse options that do not go together, by their names.

        Raises:
            SettingError: If there are such options.
        """
        lora = {"class_images", "class_prompt", "rejected", "rank"}
        own = {"prompt", "rate"}
        allowed = own | (lora if self.lora else set()) | {"lora", "controlnet"}
        allowed |= {"control_images"} if self.controlnet else set()
        for name, value in vars(self).items():
            if value is not None and (name not in allowed or not self.wanted):
                whose = "--lora" if name in lora else "--controlnet"
                whose = "--lora or --controlnet" if name in own else whose
                whose = f"--text, {whose}" if name == "prompt" else whose
                raise SettingError(f"--{name.replace('_', '-')} is an option of {whose}")
        if self.lora and self.controlnet:
            raise SettingError("a run trains one thing: give --lora or --controlnet, and not both")
        if (self.class_images is None) != (self.class_prompt is None):
            raise SettingError("--class-images and --class-prompt go together")
        if self.class_images and self.rejected:
            raise SettingError("--rejected has no --class-images: the model itself is kept there")
        if self.controlnet and not self.control_images:
            raise SettingError("--controlnet needs --control-images, a folder of the same names")


def tuning_run(
    wanted: Tuning,
    paths: Sequence[Path],
    out: Path,
    place: str,
    config: RunConfig,
) -> Run:
    """Return the run that is asked for, at its beginning.

    Arguments:
        wanted: What is asked for.
        paths: Folders of the images.
        out: Folder of the run.
        place: Device.
        config: Batch and seed of the run.

    Raises:
        DiffpriorError: If the options, the images or the model do not fit.
    """
    wanted.check()
    model = TextModel(load_prior(wanted.lora or wanted.controlnet, place))
    data = read_captioned(paths, model.size, wanted.prompt)
    if str(data.skipped):
        warn(str(data.skipped))
    if wanted.controlnet:
        assert wanted.control_images is not None
        control = read_pairs(data, wanted.control_images, model.size, "control image")
        settings = RunConfig(batch=config.batch, rate=wanted.rate or MANY, seed=config.seed)
        return ControlRun(model, model.rows(data, control), settings, out)
    lora = LoraConfig(batch=config.batch, seed=config.seed)
    lora = replace(lora, rank=wanted.rank or lora.rank, rate=wanted.rate or lora.rate)
    rows = model.rows(data)
    if wanted.rejected is not None:
        worse = read_pairs(data, wanted.rejected, model.size, "rejected image")
        return PreferenceRun(model, rows, model.encode(worse), lora, out)
    kept = None
    if wanted.class_images is not None:
        kept = model.rows(read_captioned([wanted.class_images], model.size, wanted.class_prompt))
    return LoraRun(model, rows, lora, out, kept)
