"""Recipes of corrupted datasets: the operators, their noise, and published results."""

import inspect
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import catalog
from ..errors import SettingError
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.noises import PoissonLikelihood, SaltPepperLikelihood, SpeckleLikelihood
from ..operators.base import Operator
from ..operators.generators import kernels, masks
from ..operators.generators.masks import inner_box

__all__ = [
    "NOISES",
    "BenchmarkRecipe",
    "Degradation",
    "build",
    "draw",
    "locate",
    "read",
    "split_files",
]

FOLDER = Path(__file__).parent / "recipe_files"
UNITS = {"[0, 1]": 2.0, "[-1, 1]": 1.0, "y": 1.0}  # units of sigma, each in units of [-1, 1]
NOISES: dict[str, Any] = {
    "gaussian": GaussianLikelihood,
    "poisson": PoissonLikelihood,
    "salt_pepper": SaltPepperLikelihood,
    "speckle": SpeckleLikelihood,
}
COMMON = ("sigma", "unit", "shared", "added")  # settings that the head of a file sets for all


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """One operator with its noise, and the results that others have published for it.

    Arguments:
        name: Name of the degradation, also of its folders.
        operator: Text of the operator, as in "decimate(factor=4) @ blur(kernel={drawn})". The word
            {drawn} stands for the array that is drawn, {seed} for the number it is drawn with.
        sigma: Standard deviation of Gaussian noise, in ``unit``.
        unit: Unit of sigma: "[0, 1]", "[-1, 1]", or "y" if measurements have units of their own.
        draw: What is drawn: one of ``DRAWS`` as ``kind``, and its settings.
        shared: Whether all images of one size share one draw; by default each has its own.
        quantized: Whether A x is rounded to 8 bits before the noise is added.
        added: Whether noise is added. If not, sigma is only what the methods assume.
        noise: Noise that is not Gaussian: one of ``NOISES`` as ``kind``, and its settings.
        note: Remark that reports print.
        published: Published results, with their method and, if it is not that of the recipe, their
            source.
    """

    name: str
    operator: str
    sigma: float | None = None
    unit: str = "[0, 1]"
    draw: Mapping[str, Any] | None = None
    shared: bool = False
    quantized: bool = False
    added: bool = True
    noise: Mapping[str, Any] | None = None
    note: str = ""
    published: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.+-]+", self.name):
            raise SettingError(f"the name of a problem is one word, as box-128, got {self.name!r}")
        if self.unit not in UNITS:
            raise SettingError(f"the unit of sigma is {', '.join(UNITS)}, got {self.unit!r}")
        if (self.sigma is None) == (self.noise is None):
            raise SettingError(f"{self.name} needs a sigma or a noise, and not both")
        words = set(re.findall(r"\{(\w+)\}", self.operator)) - {"seed"}
        if words != ({"drawn"} if self.draw else set()):
            raise SettingError(f"{self.name}: " + "{drawn} in the operator goes with a draw")
        for settings, kinds in ((self.draw, DRAWS), (self.noise, NOISES)):
            if settings is not None and settings.get("kind") not in kinds:
                kind = settings.get("kind")
                raise SettingError(f"no kind {kind!r}; there are {', '.join(kinds)}")

    def levels(self) -> dict[str, float | None]:
        """Return sigma in the units of [0, 1] and of [-1, 1]; measurements are in the latter."""
        if self.sigma is None:
            return {"[0, 1]": None, "[-1, 1]": None}
        sigma = UNITS[self.unit] * self.sigma
        return {"[0, 1]": None if self.unit == "y" else sigma / 2, "[-1, 1]": sigma}

    def description(self) -> str:
        """Return one sentence with the operator, the noise in both units, and the draw."""
        unit, sigma = self.levels().values()
        if sigma is None:
            noise = f"noise {dict(self.noise or {})}"
        elif unit is None:
            noise = f"sigma {sigma:.4g} in the units of y"
        else:
            noise = f"sigma {unit:.4g} in [0, 1], {sigma:.4g} in [-1, 1]"
        if not self.added:
            noise += ", assumed but not added"
        count = "one for all images" if self.shared else "one for each image"
        drawing = f"; drawn by {dict(self.draw)}, {count}" if self.draw else ""
        return f"{self.operator}, {noise}{drawing}."


@dataclass(frozen=True, kw_only=True)
class BenchmarkRecipe:
    """Degradations that belong together, and how images are prepared for them.

    Arguments:
        name: Name of the file, without its suffix.
        title: Title of the report.
        side: Short side in pixels to which images are reduced, then cropped to the central square;
            0 for whole images.
        multiple: The sides are cropped to multiples of it.
        images: Images on which the published results were obtained.
        prior: Prior with which they were obtained.
        source: Where they are published, and whether they were read there.
        note: Remark that reports print.
        problems: The degradations.
    """

    name: str
    title: str = ""
    side: int = 0
    multiple: int = 1
    images: str = ""
    prior: str = ""
    source: str = ""
    note: str = ""
    problems: Sequence[Degradation] = ()


def locate(recipe: str | Path) -> Path:
    """Return the file of a recipe.

    Arguments:
        recipe: Path of a TOML file, or the name of a shipped recipe, as "deblurring".

    Raises:
        SettingError: If there is neither such a file nor such a recipe.
    """
    path = Path(recipe)
    shipped = FOLDER / f"{path.name}.toml"
    if path.is_file():
        return path
    if path.name == str(recipe) and shipped.is_file():
        return shipped
    names = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
    raise SettingError(f"no recipe {str(recipe)!r}; write a path, or one of {names}")


def read(path: Path) -> BenchmarkRecipe:
    """Return the recipe of a TOML file.

    The head of the file may set the fields ``COMMON`` for all degradations.

    Raises:
        SettingError: If the file is no recipe.
    """
    try:
        head = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path} is no recipe: {error}") from error
    if "pictures" in head:  # the name of the field in older recipes
        head["images"] = head.pop("pictures")
    common = {k: head.pop(k) for k in COMMON if k in head}
    rows = [
        {k: v for k, v in common.items() if k != "sigma" or "noise" not in row} | row
        for row in head.pop("problem", [])
    ]
    problems = [_create(Degradation, row, path) for row in rows]
    if len({p.name for p in problems}) < len(problems):
        raise SettingError(f"{path}: two problems have the same name")
    settings = {"name": path.stem, **head, "problems": problems}
    recipe: BenchmarkRecipe = _create(BenchmarkRecipe, settings, path)
    return recipe


def _create(kind: type[Any], settings: Mapping[str, Any], path: Path) -> Any:
    names = [field.name for field in fields(kind)]
    for name in settings:
        if name not in names:
            raise SettingError(f"{path}: no setting {name!r}; there are {', '.join(names)}")
    try:
        return kind(**settings)
    except TypeError as error:
        raise SettingError(f"{path}: {error}") from error


# Operators of text and files


def split_files(text: str) -> tuple[str, list[str]]:
    """Return the text of an operator with ``'*'`` in place of its array files, and these files."""
    return re.sub(r"'[^']*\.npy'", "'*'", text), re.findall(r"'([^']*\.npy)'", text)


def build(texts: Sequence[str], folder: Path) -> Operator:
    """Return the operator of a text such as "decimate(factor=4) @ blur(kernel='arrays/k.npy')".

    Arguments:
        texts: Texts that differ in their files only. Several texts make the operator of a batch.
        folder: Folder of the files.
    """
    names = zip(*(split_files(text)[1] for text in texts), strict=True)
    arrays = (_array(folder, name) for name in names)

    def resolve(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings with arrays in the place of "*", from left to right."""
        resolved = dict(settings)
        for name, value in settings.items():
            if value == "*":
                resolved[name], batched = next(arrays)
                if batched and "batched" in inspect.signature(kind).parameters:
                    resolved["batched"] = True
        return resolved

    operator: Operator = catalog.build(split_files(texts[0])[0], ("operators",), resolve)
    return operator


def _array(folder: Path, names: Sequence[str]) -> tuple[Tensor, bool]:
    """Return the array of all items, or those of each as a batch, and whether it is a batch."""
    arrays = [torch.from_numpy(np.load(folder / name)) for name in dict.fromkeys(names)]
    return (arrays[0], False) if len(arrays) == 1 else (torch.stack(arrays), True)


# Masks and kernels


def draw(settings: Mapping[str, Any], size: Sequence[int], seed: int) -> np.ndarray:
    """Return a random mask or blur kernel.

    Arguments:
        settings: One of ``DRAWS`` as ``kind``, and its settings.
        size: Height and width of the images.
        seed: Seed of the draw.

    Returns:
        A mask of shape ``(1, H, W)``, True where a pixel is measured, or a kernel ``(h, w)``.
    """
    more = {k: v for k, v in settings.items() if k != "kind"}
    kind = settings["kind"]
    try:
        array: np.ndarray = DRAWS[kind](*size, seed, **more).numpy()
    except TypeError as error:
        raise SettingError(f"{kind} cannot be drawn: {error}") from error
    return array


def _measured(lost: Callable[..., Tensor], *size: int, **settings: Any) -> Tensor:
    return ~lost(*size, **settings)


def _shake(height: int, width: int, seed: int, size: int = 61, intensity: float = 0.5) -> Tensor:
    return kernels.motion(size, intensity, seed)


def _gaussian(height: int, width: int, seed: int, low: float, high: float, size: int) -> Tensor:
    """Return a Gaussian kernel whose standard deviation is uniform in [low, high)."""
    return kernels.gaussian(np.random.default_rng([seed, 6]).uniform(low, high), size)


DRAWS: dict[str, Callable[..., Tensor]] = {
    "box": inner_box,
    "pixels": partial(_measured, masks.pixels),
    "scratches": partial(_measured, masks.scratches),
    "strokes": partial(_measured, masks.strokes),
    "text": partial(_measured, masks.text),
    "shake": _shake,
    "gaussian": _gaussian,
}
