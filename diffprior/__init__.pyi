# Written by scripts/generate_index.py.
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from diffprior.attention.base import AttentionEdit
from diffprior.editing.invert import InversionResult
from diffprior.editing.trajectory import Trajectory
from diffprior.inversions.base import Inversion
from diffprior.io.jpeg import Coding
from diffprior.methods.base import Method
from diffprior.operators.base import Operator
from diffprior.priors.base import Prior
from diffprior.samplers.base import Sampler

from . import attention as attention
from . import batching as batching
from . import catalog as catalog
from . import classical as classical
from . import diffusions as diffusions
from . import editing as editing
from . import errors as errors
from . import evaluation as evaluation
from . import interop as interop
from . import inversions as inversions
from . import io as io
from . import kernels as kernels
from . import likelihoods as likelihoods
from . import methods as methods
from . import metrics as metrics
from . import networks as networks
from . import operators as operators
from . import pretrained as pretrained
from . import priors as priors
from . import random as random
from . import runtime as runtime
from . import samplers as samplers
from . import schedules as schedules
from . import solvers as solvers
from . import tasks as tasks
from . import training as training
from . import validation as validation
from .errors import DiffpriorError as DiffpriorError
from .pretrained.load import load_prior as load_prior
from .runtime.results import Result as Result

__version__: str
__all__ = [
    "DiffpriorError",
    "Result",
    "__version__",
    "attention",
    "batching",
    "blend",
    "catalog",
    "classical",
    "colorize",
    "deblur",
    "dejpeg",
    "denoise",
    "diffusions",
    "edit",
    "editing",
    "errors",
    "evaluation",
    "generate",
    "inpaint",
    "interop",
    "interpolate",
    "inversions",
    "invert",
    "io",
    "kernels",
    "likelihoods",
    "load_prior",
    "methods",
    "metrics",
    "networks",
    "operators",
    "pretrained",
    "priors",
    "random",
    "reconstruct",
    "restore",
    "runtime",
    "samplers",
    "schedules",
    "sdedit",
    "solvers",
    "style",
    "super_resolve",
    "tasks",
    "training",
    "upscale",
    "validation",
    "variations",
]

def blend(
    image: Any,
    mask: Any,
    *,
    strength: float = 1.0,
    repeats: int = 4,
    feather: int = 0,
    prior: Prior | str | Path | None = None,
    steps: int = 30,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Redraw a region of an image, or of each image of a batch, from noise.

    x_s = m x_s' + (1 - m) q(x_s | x), x_s' ~ p(x_s | x_t), in the states of the prior: pixels, or
    latents, whose cells are redrawn where the mask touches them. At the end the pixels outside are
    the image's, bit for bit. "Blended Diffusion for Text-driven Editing of Natural Images"
    (Avrahami et al., 2022), https://arxiv.org/abs/2111.14818; "Blended Latent Diffusion" (2023),
    https://arxiv.org/abs/2206.02779; the travels in time are RePaint's,
    https://arxiv.org/abs/2201.09865.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to redraw; gray blends; one for all or one for each.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``; 1 is pure noise.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """

def colorize(
    image: Any,
    mask: Any = None,
    *,
    scribble: Any = None,
    hint: float = 0.02,
    sigma: float | str = 0.0,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Color a gray image, or each image of a batch; what has colors loses them first.

    The luma of what comes out is what came in, up to its noise and the rounding to pixels. One
    answer is cautious, its colors pale; several differ in their colors. A prior of small textures
    knows little of what has which color: strokes tell it, a measurement like the luma. Of a stroke
    the hue counts and how strong it is, not how bright.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to color, everywhere where not given; elsewhere the image
            stays bit for bit, and its colors are known.
        scribble: An image of the same size, clear where it says nothing.
        hint: Standard deviation of the colors of the strokes in [0, 1] units; of paint that is
            half clear it is twice as much.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]).
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """

def deblur(
    image: Any,
    kernel: torch.Tensor | str | None = None,
    *,
    blind: bool = False,
    size: int = 31,
    boundary: str = "reflect",
    sigma: float | str = "auto",
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Undo a blur of an image, or of each image of a batch.

    An unknown kernel is estimated from strong edges, see ``diffprior.classical.blind_kernel``. This
    is experimental: it needs such edges, and a blur that is the same all over the image.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        kernel: A tensor ``(h, w)`` or ``(B, h, w)``, or what
            ``diffprior.operators.generators.kernels.kernel`` reads; needed unless ``blind``.
        size: Of the kernel that is estimated: wider than the blur, but not by much.
        boundary: What lay beyond the border when the image was blurred.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" estimates it in each image, 1/255 at the least; 0.02 for an estimated kernel.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, kernel or a setting is not usable; one sentence says why.
    """

def dejpeg(
    image: Any,
    quality: int | None = None,
    *,
    subsampling: str | None = None,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    coding: Coding | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Remove the artifacts of JPEG from an image, or from each image of a batch.

    A file tells the interval that each coefficient of its image lies in; what comes out lies in
    all of them, up to the rounding to pixels: saved again, it is nearly the same file. How it was
    compressed is taken from ``quality``, from the file, or from the pixels, which show it as long
    as nothing but decoding was done to them.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1]; its
            blocks begin at its upper left corner.
        quality: That of libjpeg's tables; other programs have other scales.
        subsampling: "4:2:0" where only a quality is given.
        method: Of those that hold images to data by a conditional mean: dpir and diffpir; behind
            a decoder resample.
        coding: The file's own, where ``image`` is no longer the PIL image that was opened.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """

def denoise(
    image: Any,
    *,
    sigma: float | str = "auto",
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Clean an image, or each image of a batch, of white noise.

    One image is the posterior mean, in one call of the prior: the least mean squared error, and
    smooth. Several are samples of the posterior, each with its own texture.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" is the most likely one under the prior (``diffprior.runtime.noise_level``).
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """

def edit(
    image: Any = None,
    mask: Any = None,
    *,
    inversion: Trajectory | Inversion | str | Path | None = None,
    prompt: str | None = None,
    negative: str | None = None,
    label: int | None = None,
    guidance: float | None = None,
    source_prompt: str | None = None,
    source_label: int | None = None,
    source_guidance: float | None = None,
    strength: float | None = None,
    attention: AttentionEdit | str | None = None,
    feather: int = 2,
    prior: Prior | str | Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Show an image, or each image of a batch, under another prompt or class.

    Its code is read back under that condition; under its own it is the round trip. With a mask,
    image and edit go down the chain side by side, and after every step the states outside are the
    image's own (blended diffusion); the answer is the image there, bit for bit, and inside its
    colors are brought to meet those at the edge. Without ``inversion``, or with the name of one,
    the image is inverted first.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1]. None
            is what the file of an inversion is of, to get PIL.
        mask: White, True or 1 where to edit; one for all or one for each; or "auto", for where the
            two conditions disagree: "DiffEdit" (Couairon et al., 2023),
            https://arxiv.org/abs/2210.11427.
        inversion: What ``invert`` gave as ``trajectory``, its file, a folder/ with one by the name
            of each image, or an inversion to make.
        guidance: By default 7.5 of a prompt, 3 of a class.
        strength: As of ``invert``.
        attention: What is taken over from where the network looked for the source's prompt, one of
            ``diffprior.attention``: replace, refine or reweight.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``LoadSettings``.

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """

def generate(
    *,
    width: int | None = None,
    height: int | None = None,
    prior: Prior | str | Path | None = None,
    sampler: Sampler | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Draw images from the prior alone, or of what a text or a class asks of it, as PIL images.

    Arguments:
        sampler: The way down from pure noise; DPM-Solver++ with 30 steps where not given,
            on the grid that suits the schedule.
        callback: Called after each step with the states and the share of the chain that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If a setting is not usable; one sentence says why.
    """

def inpaint(
    image: Any,
    mask: Any = None,
    *,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    texture: bool = False,
    sigma: float | str = 0.0,
    dilate: int = 0,
    feather: int = 0,
    fit_mask: bool = False,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Fill the hole of an image, or of each image of a batch; all else stays bit for bit.

    One image comes from annealed plug-and-play (dpir), first in PSNR over the hole by
    ``scripts/benchmark_inpainting.py``, from a noisier start where the hole is thick; several come
    from mmps, the sampler that there keeps the most texture for the PSNR that it costs. Neither has
    all the texture of a photograph; ``texture`` gives a fill that of what is round it. A network
    that was trained to fill holes is shown the image and the hole, and sampled as it is.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: The hole: white, True or 1 where the image is to be filled; gray blends; one for
            all or one for each. None: what is transparent in ``image``.
        texture: Whether the fine detail of a sample is laid over the one fill, at the strength of
            what is round the hole: less like the truth, more like a photograph. Several such fills
            differ in detail only; their deviation is no measure of uncertainty.
        sigma: Standard deviation of the noise of the known pixels in [0, 1] units (half of what it
            is in [-1, 1]); above 0 they are cleaned too.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """

def interpolate(
    image: Any,
    to: Any,
    *,
    prompt: str | None = None,
    label: int | None = None,
    prior: Prior | str | Path | None = None,
    steps: int = 30,
    samples: int = 8,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Walk from an image to another one, or from each image of a batch.

    z = U(x) is the code of DPM-Solver++, upwards to pure noise, of each of the two; frame k comes
    down from ``slerp`` of the codes, so that the first and the last are the round trips of what was
    given. "Denoising Diffusion Implicit Models" (Song et al., 2021), sec. 5.3 and app. D.5,
    https://arxiv.org/abs/2010.02502.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        to: As ``image``; one for all or one for each.
        prompt, label: What both ways go under, unguided, so that they meet.
        seed, ids: Nothing is drawn; they are here for the report.
        callback: Called with the states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``LoadSettings``.

    Raises:
        ValueError: If an image or a setting is not usable; one sentence says why.
    """

def invert(
    image: Any,
    *,
    inversion: Inversion | str = "edit_friendly",
    strength: float | None = None,
    prompt: str | None = None,
    negative: str | None = None,
    label: int | None = None,
    guidance: float | None = None,
    prior: Prior | str | Path | None = None,
    steps: int | None = None,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> InversionResult:
    """Invert an image, or each image of a batch; ``edit`` reads the file that this writes.

    The report has the PSNR of the round trip, and ``--compare`` shows it. The network runs in full
    precision, since its two ways have to meet the same numbers.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        inversion: One of ``diffprior.inversions``; edit-friendly (see there) in 50 steps.
        strength: The noise that the way ends at, as that of ``sdedit``; in place of ``stop``. Below
            1 edits keep more of the image, as in "An Edit Friendly DDPM Noise Space"
            (Huberman-Spiegelglas et al., 2024), https://arxiv.org/abs/2304.06140, T_skip.
        guidance: By default 1, whatever the edit's is to be; 7.5 for ``null_text``, which fits it.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with states and the share of the work that is done.
        added: As of ``LoadSettings``. They change the prior, and the file
            remembers them: an edit is to name the same.

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """

def reconstruct(
    y: Any,
    operator: Operator | str,
    *,
    width: int,
    height: int,
    sigma: float = 0.0,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Reconstruct a color image, or a batch of them, from y = A x + noise, for any operator A.

    Arguments:
        y: What A made of an image ``(3, H, W)`` in [-1, 1], in A's own shape: a numpy array, to
            get uint8 ``(H, W, 3)``; or a tensor, also of a batch, to get floats ``([B,] 3, H, W)``
            in [0, 1]. With a gray prior all are gray: ``(1, H, W)`` in, ``(H, W)`` out.
        operator: A: an operator, or text that ids those of the catalog.
        sigma: Standard deviation of the noise in the units of y. Behind an operator that is not
            linear, 0.01 at the least.
        method: By default dpir for one answer and mmps for several; behind an operator that is not
            linear, daps; with a latent prior resample, and daps for several.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If y or a setting is not usable; one sentence says why.
    """

def restore(
    image: Any,
    scratches: Any = None,
    *,
    blur: str | None = None,
    grey: bool = False,
    sigma: float | str = "auto",
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Mend an image, or each image of a batch, of several faults in one solve.

    What is undone is a blur, then the loss of colors, then scratches, then white noise: the
    operator is their composition, and every pixel is estimated anew.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        scratches: What is lost: white, True or 1; one for all or one for each.
        blur: What ``diffprior.operators.generators.kernels.kernel`` reads.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" estimates it in each image, 1/255 at the least.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """

def sdedit(
    image: Any,
    mask: Any = None,
    *,
    strength: float = 0.3,
    strokes: Any = None,
    repeats: int = 1,
    prior: Prior | str | Path | None = None,
    steps: int = 50,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Noise an image, or each image of a batch, and draw it clean again: strokes become things.

    x_t0 = alpha_t0 x + sigma_t0 eps, then the reverse diffusion from t0 down; outside the mask the
    states are those of the noised image, and the answer is the image, bit for bit. "SDEdit:
    Guided Image Synthesis and Editing with Stochastic Differential Equations" (Meng et al., 2022),
    https://arxiv.org/abs/2108.01073, in the form (VP or VE) of the prior's own schedule.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        mask: White, True or 1 where to edit; one for all or one for each.
        strength: t0 on the linear-beta schedule of DDPM, whatever the schedule of the prior: the
            noise begins at its sigma / alpha, 0.36 at 0.1, 1.2 at 0.3, 3.4 at 0.5. A network that
            edits images, or fills holes in them, is shown image and mask, and is best walked
            from a strength of 1.
        strokes: An image of the same size with transparency, as ``image``.
        repeats: K in the paper: more are nearer to the prior and further from the image.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image, mask or a setting is not usable; one sentence says why.
    """

def style(
    image: Any,
    reference: Any = None,
    *,
    factor: int = 32,
    strength: float = 0.2,
    prior: Prior | str | Path | None = None,
    steps: int = 50,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Draw an image, or each image of a batch, anew under the low frequencies of a reference.

    What comes out, made small by ``factor``, is the reference made small, up to the rounding to
    pixels; the details are the prior's, and at a strength below 1 begin with the image's own.
    "ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models" (Choi et al., 2021),
    https://arxiv.org/abs/2108.02938.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        reference: One for all or one for each; one of another size is brought to the image's.
        factor: N of the low-pass filter; the paper has 8 to 64.
        strength: t0 on the linear-beta schedule of DDPM, as in ``sdedit``; the paper has 1.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If an image or a setting is not usable; one sentence says why.
    """

def super_resolve(
    image: Any,
    scale: int = 4,
    *,
    kernel: str = "bicubic",
    sigma: float | str = 0.0,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "auto",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    prompt: str | None = ...,
    negative: str | None = ...,
    label: int | None = ...,
    guidance: float | None = ...,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Enlarge an image, or each image of a batch.

    What comes out, made small again by ``diffprior.operators.bicubic`` or ``average``, is what came
    in, up to its noise and the rounding to pixels.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        scale: Width and height become this many times as large.
        kernel: What is undone: "bicubic", antialiased, as of MATLAB (Pillow's treats the border
            otherwise), or "average" of blocks.
        sigma: Standard deviation of the noise in [0, 1] units (half of what it is in [-1, 1]);
            "auto" is the most likely one under the prior (``diffprior.runtime.noise_level``).
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        asked: Prompt, class, guidance, added weights (``PriorSettings``).

    Raises:
        ValueError: If image or a setting is not usable; one sentence says why.
    """

def variations(
    image: Any,
    *,
    strength: float = 0.15,
    prompt: str | None = None,
    label: int | None = None,
    prior: Prior | str | Path | None = None,
    steps: int = 30,
    samples: int = 4,
    seed: int = 0,
    tile: int | None = None,
    device: str | torch.device | None = None,
    precision: str = "full",
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    lora: str | Path | None = ...,
    lora_scale: float | None = ...,
    controlnet: str | Path | None = ...,
    control: Any = ...,
    offload: bool = ...,
) -> Result:
    """Draw variations of an image, or of each image of a batch.

    z = U(x) is the code of DPM-Solver++, upwards to pure noise; the answer is its way down, of
    cos(a) z + sin(a) sigma_T eps, a = strength pi / 2. Where the prior is Gaussian the variation of
    a draw is a draw again, of correlation cos(a) with it: the proposal of "MCMC Methods for
    Functions" (Cotter et al., 2013), https://arxiv.org/abs/1202.0709, made to the code.

    Arguments:
        image: PIL, numpy ``(H, W[, C])`` or torch ``([B,] C, H, W)``; uint8, uint16 or [0, 1].
        strength: Share of a right angle; layout and colors stay at 0.1, and shift at 0.3.
        prompt, label: What both ways go under, unguided, so that they meet.
        ids: What the images' noise streams depend on beside ``seed``; by default they share.
        callback: Called with the states and the share of the work that is done.
        added: LoRA, ControlNet and where they run, as of ``LoadSettings``.

    Raises:
        ValueError: If an image or a setting is not usable; one sentence says why.
    """

upscale = super_resolve
