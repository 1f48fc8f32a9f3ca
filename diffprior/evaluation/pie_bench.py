"""What PIE-Bench measures of an edit, and the folder that it asks for edits with."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import metrics
from ..errors import MetricError

__all__ = ["COLUMNS", "Edit", "covered", "measure", "prompt_score", "read", "structure_distance"]

COLUMNS = {  # titles, factors and formats, in the order of the paper
    "structure": ("structure distance x 1000", 1e3, ".2f"),
    "psnr": ("background PSNR, dB", 1, ".2f"),
    "lpips": ("background LPIPS x 1000", 1e3, ".2f"),
    "mse": ("background MSE x 10000", 1e4, ".2f"),
    "ssim": ("background SSIM x 100", 1e2, ".2f"),
    "prompt": ("prompt score, whole", 1, ".2f"),
    "prompt_inside": ("prompt score, edited part", 1, ".2f"),
}
DINO, CLIP = "facebook/dino-vitb8", "openai/clip-vit-large-patch14"
SIDE, TOP = 224, 255  # what DINO is shown: the short side, and the white
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """What is asked for of one image; the prompts without the brackets round their difference.

    Attributes:
        image: The path of the image below ``annotation_images``.
        kind: The number of the type of edit, 0 to 9.
        word: The words to blend by, of the source and of the target.
        runs: The part to edit: start and length of each run of pixels, row by row.
    """

    name: str
    image: Path
    source: str
    target: str
    instruction: str
    kind: int
    word: tuple[str, ...]
    runs: tuple[int, ...]


def read(folder: Path) -> list[Edit]:
    """Return the edits of ``mapping_file.json`` in a folder of PIE-Bench's layout.

    "PnP Inversion: Boosting Diffusion-based Editing with 3 Lines of Code" (Ju et al., 2024),
    https://arxiv.org/abs/2310.01506, sec. 5; https://github.com/cure-lab/PnPInversion.

    Raises:
        MetricError: If the file cannot be read, or an entry of it lacks something.
    """
    path = folder / "mapping_file.json"
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise MetricError(f"{path} is no mapping file of PIE-Bench: {error}") from error
    return [_edit(name, entry, folder) for name, entry in entries.items()]


def covered(runs: Sequence[int], size: tuple[int, int], border: bool = True) -> Tensor:
    """Return the part to edit, ``(1, 1, H, W)`` of bool.

    Arguments:
        border: Whether the pixels at the border count as edited, as they do in the benchmark, to
            whose annotations they are lost.
    """
    mask = torch.zeros(size[0] * size[1], dtype=torch.bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    mask = mask.reshape(1, 1, *size)
    if border:
        mask[..., [0, -1], :], mask[..., [0, -1]] = True, True
    return mask


def measure(
    x: Tensor, source: Tensor, mask: Tensor, prompt: str
) -> tuple[dict[str, float], list[str]]:
    """Return the numbers of ``COLUMNS``, NaN where one cannot be had, and why each cannot.

    Background means that what is edited is black in both images; the mean goes over all pixels.

    Arguments:
        x, source: The edited image and what it was, ``(1, 3, H, W)`` in [-1, 1].
        mask: What was to be edited, ``(1, 1, H, W)``.
        prompt: What the edited image is to show.
    """
    hide = torch.where(mask, -1.0, x), torch.where(mask, -1.0, source)
    show = torch.where(mask, x, -1.0)
    found, missing = dict[str, float](), list[str]()
    ways: dict[str, Callable[[], Tensor]] = {
        "structure": lambda: structure_distance(x, source),
        "psnr": lambda: metrics.psnr(*hide),
        "lpips": lambda: metrics.lpips(*hide),
        "mse": lambda: ((hide[0] - hide[1]) / 2).square().flatten(1).mean(1),
        "ssim": lambda: metrics.ssim(*hide),
        "prompt": lambda: prompt_score(x, prompt),
        "prompt_inside": lambda: prompt_score(show, prompt),
    }
    for name, way in ways.items():
        empty = bool(mask.all()) and name in ("psnr", "lpips", "mse", "ssim")
        try:
            found[name] = float("nan") if empty else float(way())
        except MetricError as error:
            found[name] = float("nan")
            missing.append(str(error))
    return found, list(dict.fromkeys(missing))


@torch.no_grad()
def structure_distance(x: Tensor, source: Tensor, model: Any = None) -> Tensor:
    """Return the mean square of S(x) - S(source), of shape ``(B,)``.

    S_ij = cos(k_i, k_j) of the keys of DINO ViT-B/8's last layer, images at a short side of 224:
    "Splicing ViT Features for Semantic Appearance Transfer" (Tumanyan et al., 2022),
    https://arxiv.org/abs/2201.00424. DINO has learned from images in [0, 1]; the benchmark's own
    script shows it 255 times that, and so is it here, for numbers that are those of its tables.

    Arguments:
        x, source: Images, ``(B, 3, H, W)`` in [-1, 1].
        model: A ``ViTModel`` of transformers; DINO from the local cache where not given.

    Raises:
        MetricError: If that is not at hand.
    """
    model = model or _at_hand("ViTModel", DINO, "structure distance")
    return (_similarity(x, model) - _similarity(source, model)).square().flatten(1).mean(1)


@torch.no_grad()
def prompt_score(x: Tensor, prompt: str, model: Any = None, processor: Any = None) -> Tensor:
    """Return 100 max(cos(image, text), 0) of CLIP's embeddings, of shape ``(B,)``.

    "CLIPScore" (Hessel et al., 2021), https://arxiv.org/abs/2104.08718, with ViT-L/14.

    Arguments:
        x: Images, ``(B, 3, H, W)`` in [-1, 1].
        model, processor: A CLIP of transformers; that from the local cache where not given.

    Raises:
        MetricError: If that is not at hand.
    """
    model = model or _at_hand("CLIPModel", CLIP, "prompt score")
    processor = processor or _at_hand("CLIPProcessor", CLIP, "prompt score")
    images = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()
    given = processor(text=[prompt], images=list(images), return_tensors="pt", truncation=True)
    out = model(**given.to(model.device))
    cos = (F.normalize(out.image_embeds, dim=-1) * F.normalize(out.text_embeds, dim=-1)).sum(-1)
    return 100 * cos.clamp_min(0)


def _similarity(x: Tensor, model: Any) -> Tensor:
    """Return S of each image, ``(B, N, N)``, N its tokens."""
    scale = SIDE / min(x.shape[-2:])
    size = [round(n * scale) for n in x.shape[-2:]]
    x = F.interpolate((x.clamp(-1, 1) + 1) * TOP / 2, size, mode="bilinear", antialias=True)
    x = (x - x.new_tensor(MEAN).reshape(3, 1, 1)) / x.new_tensor(STD).reshape(3, 1, 1)
    named = model.named_modules()
    *_, last = (m for name, m in named if name.endswith((".k_proj", ".key")))  # 5.x, 4.x
    keys: list[Tensor] = []
    hook = last.register_forward_hook(lambda module, given, out: keys.append(out))
    try:
        model(x, interpolate_pos_encoding=True)
    finally:
        hook.remove()
    k = F.normalize(keys[0], dim=-1)
    return k @ k.mT


@cache
def _at_hand(kind: str, name: str, what: str) -> Any:
    """Return a model or a processor of transformers from the local cache; nothing is fetched."""
    import transformers

    try:
        thing = getattr(transformers, kind).from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        why = f"the {what} needs {name} in the local cache: hf download {name}"
        raise MetricError(why) from error
    return thing.eval() if isinstance(thing, torch.nn.Module) else thing


def _edit(name: str, entry: Any, folder: Path) -> Edit:
    try:
        return Edit(
            name=name,
            image=Path(entry["image_path"]),
            source=_plain(entry["original_prompt"]),
            target=_plain(entry["editing_prompt"]),
            instruction=entry.get("editing_instruction", ""),
            kind=int(entry["editing_type_id"]),
            word=tuple(entry.get("blended_word", "").split()),
            runs=tuple(map(int, entry["mask"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MetricError(
            f"{folder}: the entry {name} is no edit of PIE-Bench: {error!r}"
        ) from None


def _plain(prompt: str) -> str:
    return prompt.replace("[", "").replace("]", "")
