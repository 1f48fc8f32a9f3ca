# Written by scripts/generate_index.py.
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy import ndarray
from PIL.Image import Image

from diffprior.attention.base import AttentionEdit
from diffprior.editing.trajectory import InversionResult, Trajectory
from diffprior.inversions.base import Inversion
from diffprior.io.arrays import Images
from diffprior.io.jpeg import Coding
from diffprior.methods.base import Method
from diffprior.operators.base import Operator
from diffprior.priors.base import Prior
from diffprior.samplers.base import Sampler

from . import architectures as architectures
from . import attention as attention
from . import bands as bands
from . import batching as batching
from . import catalog as catalog
from . import classical as classical
from . import densities as densities
from . import diffusions as diffusions
from . import distributed as distributed
from . import editing as editing
from . import errors as errors
from . import evaluation as evaluation
from . import exemplar as exemplar
from . import interop as interop
from . import inversions as inversions
from . import io as io
from . import kernels as kernels
from . import likelihoods as likelihoods
from . import masks as masks
from . import methods as methods
from . import metrics as metrics
from . import networks as networks
from . import objectives as objectives
from . import operators as operators
from . import phases as phases
from . import pretrained as pretrained
from . import priors as priors
from . import processes as processes
from . import random as random
from . import runtime as runtime
from . import samplers as samplers
from . import schedules as schedules
from . import server as server
from . import solvers as solvers
from . import tasks as tasks
from . import training as training
from . import turns as turns
from . import validation as validation
from .errors import DiffpriorError as DiffpriorError
from .interop.notebook import widget as widget
from .pretrained.load import load_prior as load_prior
from .runtime.results import Result as Result

__version__: str
_T = TypeVar("_T", bound=Image | ndarray[Any, Any] | torch.Tensor)
__all__ = [
    "DiffpriorError",
    "Result",
    "__version__",
    "architectures",
    "attention",
    "bands",
    "batching",
    "blend",
    "catalog",
    "classical",
    "colorize",
    "deblur",
    "dejpeg",
    "denoise",
    "densities",
    "diffusions",
    "distributed",
    "edit",
    "editing",
    "errors",
    "evaluation",
    "exemplar",
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
    "masks",
    "methods",
    "metrics",
    "networks",
    "objectives",
    "operators",
    "phases",
    "pretrained",
    "priors",
    "processes",
    "random",
    "reconstruct",
    "restore",
    "runtime",
    "samplers",
    "schedules",
    "sdedit",
    "server",
    "solvers",
    "style",
    "super_resolve",
    "tasks",
    "training",
    "turns",
    "upscale",
    "validation",
    "variations",
    "widget",
]

def blend(
    image: _T | Images,
    mask: Any = None,
    *,
    strength: float = 1.0,
    repeats: int = 4,
    feather: int = 0,
    steps: int | None = None,
    mask_color: str | None = None,
    invert_mask: bool = False,
    prior: Prior | str | Path | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Redraw a region of an image from noise.

    On a command line::

        diffprior blend --mask region.png photo.jpg -o blended.png

    x_s = m x_s' + (1 - m) q(x_s | x), x_s' ~ p(x_s | x_t), in the states of the prior: pixels, or
    latents, of which those that the mask touches are redrawn. At the end the pixels outside are the
    image's, bit for bit. "Blended Diffusion for Text-driven Editing of Natural Images" (Avrahami et
    al., 2022), https://arxiv.org/abs/2111.14818; "Blended Latent Diffusion" (2023),
    https://arxiv.org/abs/2206.02779; the travels in time are RePaint's,
    https://arxiv.org/abs/2201.09865.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        mask: Mask of the region to redraw, white where to redraw. True or 1 where to redraw; gray
            blends. One for all images or one for each.
        strength: Share of the noise that the region starts from, in (0, 1]; default: 1, pure noise,
            which keeps nothing of what was there. t0 on the linear-beta schedule of DDPM, as in
            ``sdedit``.
        repeats: How often each stretch of the chain is run, from 1 on; default 4. More make the
            region agree better with its surroundings.
        feather: Width of the blend around the region, in pixels; default: 0, a hard edge.
        steps: Steps of the chain; default: 30, or 4 for a consistency model.
        mask_color: Color of the paint, where the mask is a copy of the image that is painted over,
            as in red or #ff00ff; without a mask the image itself is; default: a mask of black and
            white.
        invert_mask: Take the mask the other way round, black where white would be; default: no.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def colorize(
    image: _T | Images,
    mask: Any = None,
    *,
    scribble: Any = None,
    hint: float = 0.02,
    sigma: float | str = 0.0,
    mask_color: str | None = None,
    invert_mask: bool = False,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Color a gray image; an image with colors loses them first.

    On a command line::

        diffprior colorize gray.jpg -o colored.png

    The luma of the result is the gray image, up to its noise and the rounding to pixels. One result
    is cautious, with pale colors; several differ in their colors. A prior of small textures knows
    little of which thing has which color. Strokes say it: they are a measurement, as the luma is.
    Of a stroke its hue and saturation count, and its brightness does not.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        mask: Mask of the region to color, white where to color; the rest keeps its colors; default:
            the whole image. True or 1 where to color; elsewhere the image stays, bit for bit, and
            its colors are known.
        scribble: Strokes of color on the image: an image of its size with transparency; default:
            none. Clear where it says nothing.
        hint: Noise level of the strokes: the standard deviation of their colors, in (0, 1]; default
            0.02. At higher levels strokes are suggestions. For paint that is half transparent it is
            twice as much.
        sigma: Noise level of the gray image: its standard deviation in [0, 1] units, or auto;
            default 0. In [-1, 1] units it is twice as much.
        mask_color: Color of the paint, where the mask is a copy of the image that is painted over,
            as in red or #ff00ff; without a mask the image itself is; default: a mask of black and
            white.
        invert_mask: Take the mask the other way round, black where white would be; default: no.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. A text, a
            method object, its class, or a class with settings, as in ``functools.partial(MMPS,
            iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def deblur(
    image: _T | Images,
    kernel: torch.Tensor | str | None = None,
    *,
    blind: bool = False,
    size: int = 31,
    boundary: str = "free",
    sigma: float | str = "auto",
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Undo a blur.

    On a command line::

        diffprior deblur --kernel motion:9,30 photo.jpg -o sharp.png

    With the boundary "free" the scene is restored a little wider than the image, by as much as the
    blur reached in from beyond its border, and cut to it at the end.

    An unknown kernel is estimated from strong edges, see ``diffprior.classical.blind_kernel``. This
    is experimental: it needs such edges, and a blur that is the same all over the image.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        kernel: Kernel of the blur, as in gaussian:3, motion:15,45 or uniform:9 (pixels, degrees),
            or an image of it; default: none, which needs blind. Or a tensor ``(h, w)``, or ``(B, h,
            w)`` with one for each image. Texts are those of
            ``diffprior.operators.generators.kernels.kernel``.
        blind: Estimate the kernel from the image (experimental); default: no.
        size: Side of an estimated kernel, in pixels, odd, from 3 on; default 31. A little wider
            than the blur.
        boundary: What lies beyond the border: free (unknown, as in a photograph), reflect, circular
            or zero; default: free.
        sigma: Noise level: its standard deviation in [0, 1] units, or auto; default: auto. In [-1,
            1] units it is twice as much. "auto" estimates it in each image, as 1/255 at the least;
            as 0.02 with an estimated kernel.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. A text, a
            method object, its class, or a class with settings, as in ``functools.partial(MMPS,
            iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def dejpeg(
    image: Any,
    quality: int | None = None,
    *,
    subsampling: str | None = None,
    coding: Coding | None = None,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[Any]:
    """Remove the artifacts of JPEG.

    On a command line::

        diffprior dejpeg photo.jpg -o smooth.png

    A file says in which interval each coefficient of its image lies. The result lies in all of
    them, up to the rounding to pixels: saved again, it is nearly the same file. How the image was
    compressed is taken from ``quality``, from the file, or from the pixels, which show it as long
    as they were only decoded.

    Arguments:
        image: Its blocks begin at its upper left corner.
        quality: JPEG quality, 1 to 100; default: as the file or its pixels say. That of libjpeg's
            tables; other programs have other scales.
        subsampling: Chroma subsampling, with a quality: 4:2:0, 4:2:2, 4:4:4, 4:4:0 or 4:1:1;
            default: 4:2:0.
        coding: Tables and subsampling of the file, where ``image`` is no longer the PIL image that
            was opened.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. One of
            those that hold images to data by a conditional mean: dpir and diffpir; for a latent
            prior resample. A text, a method object, its class, or a class with settings, as in
            ``functools.partial(MMPS, iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def denoise(
    image: _T | Images,
    *,
    sigma: float | str = "auto",
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Remove white noise from an image.

    On a command line::

        diffprior denoise photo.jpg -o clean.png

    One result is the posterior mean, in one call of the prior: it has the least mean squared error,
    and is smooth. Several results are samples of the posterior, each with its own texture.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        sigma: Noise level: its standard deviation in [0, 1] units, or auto; default: auto. In [-1,
            1] units it is twice as much. "auto" is the most likely level under the prior, see
            ``diffprior.runtime.noise_level``.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. A text, a
            method object, its class, or a class with settings, as in ``functools.partial(MMPS,
            iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def edit(
    image: Image | ndarray[Any, Any] | torch.Tensor | Images | None = None,
    mask: Any = None,
    *,
    inversion: Trajectory | Inversion | str | Path | None = None,
    strength: float | None = None,
    attention: AttentionEdit | str | None = None,
    feather: int = 2,
    steps: int | None = None,
    mask_color: str | None = None,
    invert_mask: bool = False,
    prior: Prior | str | Path | None = None,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
    source_prompt: str | None = None,
    source_label: int | None = None,
    source_guidance_scale: float | None = None,
) -> Result[Any]:
    """Show an image under another prompt or class.

    On a command line::

        diffprior edit photo.png --prior path/to/model --prompt "a wolf" -o wolf.png

    Its code is read back under that condition; under its own it is the round trip. With a mask,
    image and edit come down the chain in step, and after every step the states outside are the
    image's own (blended diffusion). The result is the image there, bit for bit; inside, its colors
    are brought to meet those at the edge. Without a file the image is inverted first.

    Arguments:
        image: None for the image of the file of an inversion, to get PIL.
        mask: Mask of the region to edit, white where to edit; auto finds it; default: the whole
            image. True or 1 where to edit. One for all images or one for each. "auto" is where the
            two conditions disagree: "DiffEdit" (Couairon et al., 2023),
            https://arxiv.org/abs/2210.11427.
        inversion: File that invert wrote, a folder/ of them, or an inversion to make, as of invert;
            default: edit_friendly. Or the ``trajectory`` of a result of ``invert``. A folder, with
            / at its end, has a file by the name of each image.
        strength: Share of the noise that an inversion made here goes up to, in (0, 1]; default:
            that of the inversion. As of ``invert``.
        attention: Attention that the edit takes over from the source prompt, as in
            "replace(cross=0.8)"; default: none. One of ``diffprior.attention``: replace, refine or
            reweight.
        feather: Width of the blend inside the mask, in pixels, from 0 on; default 2.
        steps: Steps of an inversion made here; default: as many as the inversion has.
        mask_color: Color of the paint, where the mask is a copy of the image that is painted over,
            as in red or #ff00ff; without a mask the image itself is; default: a mask of black and
            white.
        invert_mask: Take the mask the other way round, black where white would be; default: no.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: float32,
            so that inversion and reconstruction meet.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.
        source_prompt: Text that the image shows before the edit, where the task inverts it;
            default: no text.
        source_label: Class of the image before the edit, where the task inverts it; default: no
            class.
        source_guidance_scale: Strength of the source prompt or label during inversion; default: 1,
            the plain condition, and 7.5 for null_text.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def generate(
    *,
    width: int | None = None,
    height: int | None = None,
    sampler: Sampler | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    prior: Prior | str | Path | None = None,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[Any]:
    """Draw images from the prior, or from a prompt or a class, as PIL images.

    On a command line::

        diffprior generate --width 192 --height 192 --samples 3 -o drawn.png

    Arguments:
        width: Width in pixels, from 16 on; default: that of the prior's own images.
        height: Height in pixels, from 16 on; default: that of the prior's own images.
        sampler: Sampler, as in "heun(steps=50)"; default: DPM-Solver++ in 30 steps, or 4 steps of
            multistep sampling for a consistency model, or that of a distilled prior. The default
            takes the grid that suits the prior's schedule.
        steps: Steps of the sampler; default: as many as the sampler has.
        samples: Number of images to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def inpaint(
    image: _T | Images,
    mask: Any = None,
    *,
    fill: str = "auto",
    reference: Any = None,
    sigma: float | str = 0.0,
    dilate: int = 0,
    feather: int = 0,
    fit_mask: bool = False,
    mask_color: str | None = None,
    invert_mask: bool = False,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Fill the hole of an image; all else stays bit for bit.

    On a command line::

        diffprior inpaint --mask mask.png photo.jpg -o filled.png

    A narrow hole is filled by annealed plug-and-play (dpir), first in PSNR over the hole in our
    benchmark, from a noisier start where the hole is thick. Several such fills come from mmps, the
    sampler that keeps the most texture there for the PSNR that it costs. A wide hole, and one
    that is compact, is filled with copies of what is round it (exemplar): the shipped prior knows
    textures and edges, not what belongs there. A prior of text or of classes, or one that was
    trained to fill holes, knows more, and fills wide holes, too. What a reference shows of a hole
    comes first.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        mask: Mask of the hole, white where to fill; default: the transparent part. True or 1 where
            to fill; gray blends. One for all images or one for each. None is what is transparent in
            ``image``.
        fill: How holes are filled: smooth, near to the truth; texture, smooth with the grain of a
            photograph; structure, with copies of what is round a hole; default: auto, structure for
            wide holes and smooth for narrow ones. Texture lays the fine detail of a sample over a
            smooth fill, at the strength of what is around the hole; wide holes get structure.
            Several fills with texture differ in detail, several by structure in layout. The
            deviation of either says where they differ, and is not that of a posterior.
        reference: Further image of the scene, to fill holes with what it shows there, or a folder
            of them; may be given several times; default: none. One image or several, of any size;
            best a shot from the same place. It is moved, turned and scaled to fit the image, and
            gets its light. If it fits around a hole, it fills it, unless the fill is smooth; if
            not, its patches may be copied into wide holes.
        sigma: Noise level of the known pixels: its standard deviation in [0, 1] units, or auto;
            default: 0, which keeps them bit for bit. In [-1, 1] units it is twice as much. Above 0
            the known pixels are cleaned, too, and all holes are filled smoothly.
        dilate: Pixels to grow the hole by; default 0.
        feather: Width of the blend around the hole, in pixels; default: 0, a hard edge.
        fit_mask: Resize a mask of another size to the image's; default: no.
        mask_color: Color of the paint, where the mask is a copy of the image that is painted over,
            as in red or #ff00ff; without a mask the image itself is; default: a mask of black and
            white.
        invert_mask: Take the mask the other way round, black where white would be; default: no.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. A text, a
            method object, its class, or a class with settings, as in ``functools.partial(MMPS,
            iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def interpolate(
    image: _T | Images,
    to: Any,
    *,
    steps: int = 30,
    samples: int = 8,
    prior: Prior | str | Path | None = None,
    seed: int = 0,
    prompt: str | None = None,
    label: int | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Draw frames that lead from an image to another one.

    On a command line::

        diffprior interpolate first.png --to last.png --samples 5 -o frame.png

    z = U(x) is the code of DPM-Solver++, upwards to pure noise, of each of the two. Frame k comes
    down from ``slerp`` of the codes, so that the first and the last are the round trips of the two
    images. "Denoising Diffusion Implicit Models" (Song et al., 2021), sec. 5.3 and app. D.5,
    https://arxiv.org/abs/2010.02502.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        to: The other image, of the same size. One for all images or one for each.
        steps: Steps up to the codes, and as many down; default 30.
        samples: Number of frames, the two ends included; default 8. One result is the best guess
            where the method has one; several are samples.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        seed: Seed of the random numbers, from 0 on; default 0. Nothing is drawn; it stands in the
            report. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text. It holds on
            the path up and on the path down, without guidance, so that they meet.
        label: Class that the result shows, for a class-conditional prior; default: no class. It
            holds on both paths, too.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: float32,
            so that inversion and reconstruction meet.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. Nothing
            is drawn. The noise of an image depends on ``seed`` and its id alone, not on its
            neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def invert(
    image: _T | Images,
    *,
    inversion: Inversion | str = "edit_friendly",
    strength: float | None = None,
    steps: int | None = None,
    prior: Prior | str | Path | None = None,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> InversionResult:
    """Invert an image: find the code that the prior turns back into it.

    On a command line::

        diffprior invert photo.png -o code.safetensors

    ``edit`` reads the file that the command writes. The result's image is the round trip, and its
    report has the PSNR of that.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        inversion: Inversion, as in "ddim_inversion(rounds=4)"; default: edit_friendly, in 50 steps.
            One of ``diffprior.inversions``.
        strength: Share of the noise that the inversion goes up to, in (0, 1]; default: that of the
            inversion. 1 is pure noise. As of ``sdedit``, in the place of the inversion's ``stop``.
            Below 1 edits keep more of the image, as in "An Edit Friendly DDPM Noise Space"
            (Huberman-Spiegelglas et al., 2024), https://arxiv.org/abs/2304.06140, T_skip.
        steps: Steps of the chain; default: as many as the inversion has.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text. Here it
            says what the image shows.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class. Here
            it says which class the image has.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. Here the default is 1, whatever an
            edit's is to be; 7.5 for ``null_text``, which fits it. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
            The file remembers the weights that were added; an edit is to name the same.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: float32,
            so that inversion and reconstruction meet.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def reconstruct(
    y: ndarray[Any, Any] | torch.Tensor,
    operator: Operator | str,
    *,
    width: int,
    height: int,
    sigma: float = 0.0,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[Any]:
    """Reconstruct a color image from y = A x + noise, for any operator A.

    On a command line::

        diffprior reconstruct y.npy --operator "hadamard(ratio=0.25)" --width 64 --height 64

    Arguments:
        y: What A measures of an image ``(3, H, W)`` in [-1, 1], in A's own shape: a numpy array, to
            get uint8 ``(H, W, 3)``; or a tensor, also of a batch, to get floats ``([B,] 3, H, W)``
            in [0, 1]. With a gray prior all images are gray: ``(1, H, W)``, and ``(H, W)``.
        operator: Operator that measured y, as in "hadamard(ratio=0.25)"; A @ B is first B, then A.
            Or an operator object.
        width: Width of the image, in pixels.
        height: Height of the image, in pixels.
        sigma: Noise level: its standard deviation in the units of y, from 0 on; default 0. Behind
            an operator that is not linear it is 0.01 at the least.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. The
            default is dpir for one result and mmps for several; daps behind an operator that is not
            linear; resample and daps for a latent prior. A text, a method object, its class, or a
            class with settings, as in ``functools.partial(MMPS, iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def restore(
    image: _T | Images,
    scratches: Any = None,
    *,
    blur: str | None = None,
    boundary: str = "free",
    gray: bool = False,
    sigma: float | str = "auto",
    mask_color: str | None = None,
    invert_mask: bool = False,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Mend an image with several faults in one solve.

    On a command line::

        diffprior restore --scratches scratches.png --blur gaussian:1 --gray old.jpg -o mended.png

    It undoes a blur, then the loss of colors, then scratches, then white noise: the operator is
    their composition, and every pixel is estimated anew.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        scratches: Mask of what is lost, white where lost; default: nothing. True or 1 where lost.
            One for all images or one for each.
        blur: Blur to undo, as in gaussian:2 or motion:9,30 (pixels, degrees), or an image of its
            kernel; default: none. What ``diffprior.operators.generators.kernels.kernel`` reads.
        boundary: What lies beyond the border, where the blur reached in from: free (unknown, as in
            a photograph), reflect, circular or zero; default: free.
        gray: Whether the colors are lost, too; default: no.
        sigma: Noise level: its standard deviation in [0, 1] units, or auto; default: auto. In [-1,
            1] units it is twice as much. "auto" estimates it in each image, as 1/255 at the least.
        mask_color: Color of the paint, where the mask is a copy of the image that is painted over,
            as in red or #ff00ff; without a mask the image itself is; default: a mask of black and
            white.
        invert_mask: Take the mask the other way round, black where white would be; default: no.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. A text, a
            method object, its class, or a class with settings, as in ``functools.partial(MMPS,
            iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def sdedit(
    image: _T | Images,
    mask: Any = None,
    *,
    strength: float = 0.3,
    strokes: Any = None,
    repeats: int = 1,
    steps: int | None = None,
    mask_color: str | None = None,
    invert_mask: bool = False,
    prior: Prior | str | Path | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Add noise to an image and remove it again, so that rough strokes become things.

    On a command line::

        diffprior sdedit --strokes paint.png --strength 0.15 photo.jpg -o painted.png

    x_t0 = alpha_t0 x + sigma_t0 eps, then the reverse diffusion from t0 down. Outside the mask the
    states are those of the noised image, and the result is the image, bit for bit. "SDEdit: Guided
    Image Synthesis and Editing with Stochastic Differential Equations" (Meng et al., 2022),
    https://arxiv.org/abs/2108.01073, in the form (VP or VE) of the prior's own schedule.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        mask: Mask of the region to edit, white where to edit; default: the whole image. True or 1
            where to edit. One for all images or one for each.
        strength: Share of the noise that the edit starts from, in (0, 1]; default 0.3. 1 keeps
            nothing of the image. t0 on the linear-beta schedule of DDPM, whatever the schedule of
            the prior: the noise begins at its sigma / alpha, 0.36 at 0.1, 1.2 at 0.3, 3.4 at 0.5. A
            network that edits images, or fills holes in them, sees image and mask, and works best
            from a strength of 1.
        strokes: Paint to lay over the image: an image of its size with transparency; default: none.
        repeats: Number of rounds, each from the result of the last, from 1 on; default 1. K in the
            paper. More rounds are nearer to the prior and further from the image.
        steps: Steps of the chain of each round; default: 50, or 4 for a consistency model.
        mask_color: Color of the paint, where the mask is a copy of the image that is painted over,
            as in red or #ff00ff; without a mask the image itself is; default: a mask of black and
            white.
        invert_mask: Take the mask the other way round, black where white would be; default: no.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def style(
    image: _T | Images,
    reference: Any = None,
    *,
    factor: int = 32,
    strength: float = 0.2,
    steps: int | None = None,
    prior: Prior | str | Path | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Draw an image anew under the low frequencies of a reference.

    On a command line::

        diffprior style --reference look.jpg photo.jpg -o styled.png

    The result, made small by ``factor``, is the reference made small, up to the rounding to pixels.
    Its details are the prior's; at a strength below 1 they begin with the image's own. "ILVR:
    Conditioning Method for Denoising Diffusion Probabilistic Models" (Choi et al., 2021),
    https://arxiv.org/abs/2108.02938.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        reference: Image whose colors and layout the result takes; default: the image itself. One
            for all images or one for each; one of another size is resized.
        factor: Size below which details are free, in pixels; default 32. N of the low-pass filter;
            the paper has 8 to 64.
        strength: Share of the noise that the details start from, in (0, 1]; default 0.2. 1 keeps no
            detail of the image. t0 on the linear-beta schedule of DDPM, as in ``sdedit``; the paper
            has 1.
        steps: Steps of the chain; default: 50, or 4 for a consistency model.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def super_resolve(
    image: _T | Images,
    scale: int = 4,
    *,
    kernel: str = "bicubic",
    sigma: float | str = 0.0,
    prior: Prior | str | Path | None = None,
    method: Method[Any] | type[Method[Any]] | Callable[[], Method[Any]] | str | None = None,
    steps: int | None = None,
    samples: int = 1,
    seed: int = 0,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "auto",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Enlarge an image.

    On a command line::

        diffprior upscale --scale 2 photo.jpg -o large.png

    The result, made small again by ``diffprior.operators.bicubic`` or ``average``, is the image
    that came in, up to its noise and the rounding to pixels.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        scale: Factor by which width and height grow, from 2 on; default 4.
        kernel: How the image was made small: bicubic or average; default: bicubic. "bicubic" has
            antialiasing, as in MATLAB (Pillow treats the border otherwise); "average" is the mean
            over blocks.
        sigma: Noise level of the small image: its standard deviation in [0, 1] units, or auto;
            default 0. In [-1, 1] units it is twice as much. "auto" is the most likely level under
            the prior, see ``diffprior.runtime.noise_level``.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        method: Method to solve with, as in "mmps(iterations=5)"; default: the task's own. A text, a
            method object, its class, or a class with settings, as in ``functools.partial(MMPS,
            iterations=5)``.
        steps: Steps of the chain; default: as many as the method has.
        samples: Number of results to draw; default 1. One result is the best guess where the method
            has one; several are samples.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text.
        negative_prompt: Text that the result moves away from; default: the empty text.
        label: Class that the result shows, for a class-conditional prior; default: no class.
        guidance_scale: Strength of the prompt or the label; 1 is the plain condition. Default: the
            model's own, or 7.5 for a prompt and 3 for a label. w of ``diffprior.priors.guided``.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: auto, half
            precision where the device computes in it.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

def variations(
    image: _T | Images,
    *,
    strength: float = 0.15,
    steps: int = 30,
    samples: int = 4,
    prior: Prior | str | Path | None = None,
    seed: int = 0,
    prompt: str | None = None,
    label: int | None = None,
    lora: str | Path | None = None,
    lora_scale: float | None = None,
    controlnet: str | Path | None = None,
    control_image: Any = None,
    offload: bool = False,
    tile_size: int | str | None = "auto",
    device: str | torch.device | None = None,
    dtype: str | torch.dtype = "float32",
    backend: str | None = None,
    ids: Sequence[int | str] | None = None,
    callback: Callable[[torch.Tensor, float], None] | None = None,
) -> Result[_T]:
    """Draw variations of an image.

    On a command line::

        diffprior variations --samples 3 photo.jpg -o varied.png

    z = U(x) is the code of DPM-Solver++, upwards to pure noise; the result is what comes down from
    cos(a) z + sin(a) sigma_T eps, a = strength pi / 2. Where the prior is Gaussian the variation of
    a draw is a draw again, of correlation cos(a) with it: the proposal of "MCMC Methods for
    Functions" (Cotter et al., 2013), https://arxiv.org/abs/1202.0709, made to the code.

    Arguments:
        image: PIL image, numpy array ``(H, W[, C])`` or tensor ``([B,] C, H, W)``; uint8, uint16 or
            floats in [0, 1]. A tensor may hold a batch.
        strength: Angle of the turn as a share of a right angle, in (0, 1]; default 0.15. 1 keeps
            nothing of the image. Layout and colors stay at 0.1, and shift at 0.3.
        steps: Steps up to the code, and as many down; default 30.
        samples: Number of variations; default 4. One result is the best guess where the method has
            one; several are samples.
        prior: Prior to use: a shipped name, a folder, a file or a hub id; default: the shipped
            prior of photographs. Or a prior object, which stays on its device unless ``device`` is
            given.
        seed: Seed of the random numbers, from 0 on; default 0. The same seed gives the same result.
        prompt: Text that the result shows, for a text-to-image prior; default: no text. It holds on
            the path up and on the path down, without guidance, so that they meet.
        label: Class that the result shows, for a class-conditional prior; default: no class. It
            holds on both paths, too.
        lora: LoRA weights for a text-to-image prior: a file, a folder or a hub id; default: none.
        lora_scale: Strength of the LoRA weights; default 1.
        controlnet: ControlNet for a text-to-image prior: a folder or a hub id; default: none.
        control_image: Image that the ControlNet follows, such as edges or depths, of the size of
            the result; default: none.
        offload: Keep in GPU memory only the network at work, and the others in main memory;
            default: keep all.
        tile_size: Side of the windows that a large image is worked on in, in pixels, from 128 on,
            or auto; default: auto, 1024 for images over 2.4 megapixels and otherwise no windows.
        device: Device to compute on: auto, cpu, cuda, cuda:n, mps or xpu; default: auto, a GPU
            where there is one.
        dtype: Number format of the network: auto, float32, bfloat16 or float16; default: float32,
            so that inversion and reconstruction meet.
        backend: What computes the network: torch; or openvino, which is faster on a CPU with
            bfloat16 and needs the extra openvino; default: torch. A prior object keeps its own by
            default.
        ids: Names of the noise streams, one for each image; default: all images share one. The
            noise of an image depends on ``seed`` and its id alone, not on its neighbors.
        callback: Function that is called after each step with the states and the share of work
            done. The share lies in (0, 1]. An exception that it raises ends the call.

    Returns:
        A ``Result``; its images are of the kind of the one that came in.

    Raises:
        ImageError: If an image or a mask cannot be used.
        SettingError: If a setting cannot be used.
        TaskError: If the task cannot be done on these images.
        TypeError: If there is no such parameter.
    """

upscale = super_resolve
