"""PIE-Bench: its folder of images and prompts, and its measures of an edit."""

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
SIDE = 224  # short side of the images for DINO, in pixels
WHITE = 255  # their largest value; see ``structure_distance``
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One edit of the benchmark. The prompts are without the brackets around their difference.

    Arguments:
        name: Key of the edit in the mapping file.
        image: Path of the image below ``annotation_images``.
        source: Prompt of the image.
        target: Prompt of the edited image.
        instruction: The edit as an instruction.
        kind: Number of the type of edit, 0 to 9.
        word: Words that differ, of the source and of the target.
        runs: Region to edit: start and length of each run of pixels, row by row.
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
        MetricError: If the file cannot be read, or an entry is incomplete.
    """
    path = folder / "mapping_file.json"
    try:
        entries = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise MetricError(f"{path} is no mapping file of PIE-Bench: {error}") from error
    return [_edit(name, entry, folder) for name, entry in entries.items()]


def covered(runs: Sequence[int], size: tuple[int, int], border: bool = True) -> Tensor:
    """Return the region to edit as a mask of bool, of shape ``(1, 1, H, W)``.

    Arguments:
        runs: Start and length of each run of pixels, row by row.
        size: Height and width of the image.
        border: Whether the pixels at the border belong to the region. They do in the benchmark,
            whose annotations are not reliable there.
    """
    mask = torch.zeros(size[0] * size[1], dtype=torch.bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    mask = mask.reshape(1, 1, *size)
    if border:
        mask[..., [0, -1], :] = True
        mask[..., [0, -1]] = True
    return mask


def measure(
    x: Tensor, source: Tensor, mask: Tensor, prompt: str
) -> tuple[dict[str, float], list[str]]:
    """Return the values of ``COLUMNS``, and the reasons of those that are NaN.

    For measures of the background, the edited region is black in both images; means are over all
    pixels.

    Arguments:
        x: Edited image, of shape ``(1, 3, H, W)``, in [-1, 1].
        source: Original image, of the same shape.
        mask: Region to edit, of shape ``(1, 1, H, W)``.
        prompt: Prompt of the edited image.
    """
    background = torch.where(mask, -1.0, x), torch.where(mask, -1.0, source)
    region = torch.where(mask, x, -1.0)
    values: dict[str, float] = {}
    missing: list[str] = []
    measures: dict[str, Callable[[], Tensor]] = {
        "structure": lambda: structure_distance(x, source),
        "psnr": lambda: metrics.psnr(*background),
        "lpips": lambda: metrics.lpips(*background),
        "mse": lambda: ((background[0] - background[1]) / 2).square().flatten(1).mean(1),
        "ssim": lambda: metrics.ssim(*background),
        "prompt": lambda: prompt_score(x, prompt),
        "prompt_inside": lambda: prompt_score(region, prompt),
    }
    for name, compute in measures.items():
        empty = bool(mask.all()) and name in ("psnr", "lpips", "mse", "ssim")
        try:
            values[name] = float("nan") if empty else float(compute())
        except MetricError as error:
            values[name] = float("nan")
            missing.append(str(error))
    return values, list(dict.fromkeys(missing))


@torch.no_grad()
def structure_distance(x: Tensor, source: Tensor, model: Any = None) -> Tensor:
    """Return the mean square of S(x) - S(source), of shape ``(B,)``; lower is closer.

    S_ij = cos(k_i, k_j), with the keys k of the last layer of DINO ViT-B/8 for images with a short
    side of 224 pixels: "Splicing ViT Features for Semantic Appearance Transfer" (Tumanyan et al.,
    2022), https://arxiv.org/abs/2201.00424. DINO was trained on images in [0, 1]. The script of
    the benchmark feeds it images in [0, 255], and so does this function: the values compare with
    the published ones.

    Arguments:
        x: Edited images, of shape ``(B, 3, H, W)``, in [-1, 1].
        source: Original images, of the same shape.
        model: A ``ViTModel`` of transformers; by default DINO from the local cache.

    Raises:
        MetricError: If DINO is not in the local cache.
    """
    model = model or _from_cache("ViTModel", DINO, "structure distance")
    return (_similarity(x, model) - _similarity(source, model)).square().flatten(1).mean(1)


@torch.no_grad()
def prompt_score(x: Tensor, prompt: str, model: Any = None, processor: Any = None) -> Tensor:
    """Return 100 max(cos(image, text), 0) of the embeddings of CLIP, of shape ``(B,)``.

    The score is in [0, 100]; higher means that the image fits the prompt better. "CLIPScore: A
    Reference-free Evaluation Metric for Image Captioning" (Hessel et al., 2021),
    https://arxiv.org/abs/2104.08718, with ViT-L/14.

    Arguments:
        x: Images, of shape ``(B, 3, H, W)``, in [-1, 1].
        prompt: Text to compare with.
        model: A ``CLIPModel`` of transformers; by default that of the local cache.
        processor: Its ``CLIPProcessor``; by default that of the local cache.

    Raises:
        MetricError: If CLIP is not in the local cache.
    """
    model = model or _from_cache("CLIPModel", CLIP, "prompt score")
    processor = processor or _from_cache("CLIPProcessor", CLIP, "prompt score")
    images = ((x.clamp(-1, 1) + 1) * 127.5).round().byte()
    inputs = processor(text=[prompt], images=list(images), return_tensors="pt", truncation=True)
    out = model(**inputs.to(model.device))
    cos = (F.normalize(out.image_embeds, dim=-1) * F.normalize(out.text_embeds, dim=-1)).sum(-1)
    return 100 * cos.clamp_min(0)


def _similarity(x: Tensor, model: Any) -> Tensor:
    """Return S of each image, of shape ``(B, N, N)``, for N tokens."""
    scale = SIDE / min(x.shape[-2:])
    size = [round(n * scale) for n in x.shape[-2:]]
    x = F.interpolate((x.clamp(-1, 1) + 1) * WHITE / 2, size, mode="bilinear", antialias=True)
    x = (x - x.new_tensor(MEAN).reshape(3, 1, 1)) / x.new_tensor(STD).reshape(3, 1, 1)
    suffixes = ".k_proj", ".key"  # in version 5 and version 4 of transformers
    *_, last = (module for name, module in model.named_modules() if name.endswith(suffixes))
    keys: list[Tensor] = []
    hook = last.register_forward_hook(lambda module, inputs, out: keys.append(out))
    try:
        model(x, interpolate_pos_encoding=True)
    finally:
        hook.remove()
    k = F.normalize(keys[0], dim=-1)
    return k @ k.mT


@cache
def _from_cache(kind: str, name: str, what: str) -> Any:
    """Return a model or a processor of transformers from the local cache, without a download."""
    import transformers

    try:
        loaded = getattr(transformers, kind).from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        message = f"the {what} needs {name} in the local cache: hf download {name}"
        raise MetricError(message) from error
    return loaded.eval() if isinstance(loaded, torch.nn.Module) else loaded


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
