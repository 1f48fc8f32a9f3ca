"""Priors of the images that a text describes, trained from nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from ..architectures.unet import UNet as UNetSettings
from ..catalog import build
from ..errors import ExtraError, UnsuitedError
from ..networks._shared import json_bytes
from ..networks.parameterizations import Discrete
from ..networks.text_unet import TextUNet
from ..networks.unet import SCHEDULER, scheduler_config
from .captioned import CaptionedImages
from .folders import saved_files
from .latents import INDEX, Latents, held_out_loss
from .trainer import Trainer, TrainingConfig

__all__ = ["TextTrainer", "new_text_unet", "new_tokenizer", "text_architecture"]

NETWORK = "unet(channels=[32, 64, 64])"
WORDS = 4096  # the most tokens of a vocabulary
SHORTEST, LONGEST = 8, 77  # tokens that all texts are filled up to: few are learned sooner
TRAILING = {"timestep_spacing": "trailing", "steps_offset": 1, "clip_sample": False}
ENDS = ("<|startoftext|>", "<|endoftext|>")
SUFFIX = "</w>"  # of the tokens that end a word
PRIVATE = 0xE000  # where characters without a meaning begin


def new_tokenizer(captions: Sequence[str]) -> Any:
    """Return a tokenizer of the form of CLIP, whose words are those of the captions.

    Frequent words are one token, and others are spelled by shorter ones (byte pair encoding).

    Raises:
        ExtraError: If transformers is not installed.
    """
    try:
        from transformers import CLIPTokenizerFast
    except ImportError as error:
        raise ExtraError("texts need transformers: pip install 'diffprior[latent]'") from error

    def opened(vocabulary: Sequence[str], merges: Sequence[str]) -> Any:
        with TemporaryDirectory() as folder:
            files = Path(folder) / "vocab.json", Path(folder) / "merges.txt"
            files[0].write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
            files[1].write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
            return CLIPTokenizerFast(*map(str, files))

    tokenizer = opened(*_learned(opened(ENDS, []).backend_tokenizer, captions))
    longest = max(len(ids) for ids in tokenizer([*captions]).input_ids)
    tokenizer.model_max_length = min(LONGEST, max(SHORTEST, longest))
    return tokenizer


def _learned(blank: Any, captions: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the vocabulary and the merges of byte pairs that captions have most often.

    The library numbers letters with a suffix in a random order. Here a letter that ends a word is
    therefore another letter until the end, and a vocabulary is the same each time.

    Arguments:
        blank: A tokenizer that splits texts into words.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    last = {letter: chr(PRIVATE + i) for i, letter in enumerate(letters)}
    back = {ord(mark): f"{letter}{SUFFIX}" for letter, mark in last.items()}

    def marked(text: str) -> str:
        pieces = blank.pre_tokenizer.pre_tokenize_str(blank.normalizer.normalize_str(text))
        return " ".join(f"{word[:-1]}{last[word[-1]]}" for word, _ in pieces)

    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=[*ENDS],
        initial_alphabet=[*letters, *last.values()],
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(map(marked, captions), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary = sorted(model["vocab"], key=model["vocab"].get)
    merges = [" ".join(pair) for pair in model["merges"]]
    return [token.translate(back) for token in vocabulary], [m.translate(back) for m in merges]


def text_architecture(text: str, side: int) -> UNetSettings:
    """Return the architecture of a network that sees texts.

    Arguments:
        text: Its text, a ``unet``.
        side: Side of a state.

    Raises:
        UnsuitedError: If it is another architecture, or does not fit the states.
    """
    kind = build(text, ("architectures",))
    if not isinstance(kind, UNetSettings) or kind.time != "positional":
        raise UnsuitedError("a network that sees texts is a unet with time='positional'")
    multiple = 2 ** (len(kind.channels) - 1)
    if side % multiple:
        raise UnsuitedError(
            f"unet takes square images whose side is a multiple of {multiple}, and these have "
            f"{side}x{side} pixels"
        )
    return kind


def new_text_unet(
    text: str | None,
    shape: Sequence[int],
    captions: Sequence[str],
    tokenizer: Any,
    sigma_data: float = 1.0,
) -> TextUNet:
    """Return a new network of images under captions.

    Arguments:
        text: Text of its architecture, a ``unet``.
        shape: Shape ``(C, S, S)`` of a state.
        captions: The captions that it is trained with.
        tokenizer: What makes tokens of them.
        sigma_data: Deviation of the states.

    Raises:
        UnsuitedError: If it is another architecture, or does not fit the states.
    """
    kind = text_architecture(text or NETWORK, shape[-1])
    ids = tokenizer(
        [*captions, ""], padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
    return TextUNet(
        ids,
        len(tokenizer),
        (tokenizer.bos_token_id, tokenizer.eos_token_id),
        shape[-1],
        shape[0],
        kind.channels,
        kind.layers,
        kind.attention,
        kind.adaptive,
        sigma_data=sigma_data,
    )


class TextTrainer(Trainer):
    """The training of a network of images, or of latents, under their captions.

    A part of the captions is hidden, ``config.drop``, for guidance. The result is a pipeline of
    diffusers: of Stable Diffusion, with an autoencoder or without one.

    Arguments:
        network: The network.
        images: The images, or their latents.
        tokenizer: What made its tokens.
        config, folder, device: As of ``Trainer``.
    """

    def __init__(  # noqa: PLR0913 - those of a trainer, and one more
        self,
        network: TextUNet,
        images: CaptionedImages | Latents,
        tokenizer: Any,
        config: TrainingConfig,
        folder: Path,
        device: str = "cpu",
    ) -> None:
        super().__init__(network, images, config, folder, device)
        self.tokenizer = tokenizer
        self.vae = images.vae if isinstance(images, Latents) else None

    @classmethod
    def of(  # noqa: PLR0913 - what is learned, how, and where
        cls,
        images: CaptionedImages,
        latents: Latents | None,
        config: TrainingConfig,
        network: str | None,
        folder: Path,
        device: str = "cpu",
    ) -> "TextTrainer":
        """Return the training of a new network.

        Arguments:
            images: The images.
            latents: Their latents; None for a prior of pixels.
            config: Settings of the run.
            network: Text of the architecture.
            folder, device: As of ``Trainer``.
        """
        tokenizer = new_tokenizer(images.captions)
        shape = images.pixels.shape[1:] if latents is None else latents.shape
        deviation = images.deviation if latents is None else 1.0
        made = new_text_unet(network, shape, images.captions, tokenizer, deviation)
        return cls(made, latents or images, tokenizer, config, folder, device)

    def notes(self) -> dict[str, Any]:
        images = self.images
        own = {"autoencoder": images.digest} if isinstance(images, Latents) else {}
        return super().notes() | own

    def measure(self, prior: Any) -> dict[str, float]:
        """Return the loss of held-out latents without a caption, at fixed times and noise."""
        if not isinstance(self.images, Latents):
            return {}
        return held_out_loss(self, self.images.means(), prior.network)

    def _packed(self) -> dict[str, bytes]:
        """Return the files of the pipeline, as diffusers and transformers write them."""
        network = cast(TextUNet, self.averaged())
        parts = {"unet": network.unet, "text_encoder": network.text_encoder}
        parts["tokenizer"] = self.tokenizer
        scheduler = scheduler_config(self.task, 1)
        if isinstance(self.task, Discrete):
            scheduler |= TRAILING  # as Stable Diffusion expects it, or begins a step too late
        index: dict[str, Any] = {
            "_class_name": "StableDiffusionPipeline",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", scheduler["_class_name"]],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", type(self.tokenizer).__name__],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": [None, None] if self.vae is None else ["diffusers", "AutoencoderKL"],
        }
        files = {INDEX: json_bytes(index), f"scheduler/{SCHEDULER}": json_bytes(scheduler)}
        files |= {
            f"{name}/{k}": v for name, part in parts.items() for k, v in saved_files(part).items()
        }
        coder = {} if self.vae is None else saved_files(self.vae)
        return files | {f"vae/{name}": data for name, data in coder.items()}
