"""Recipes of corrupted datasets: which operators, what noise, and what others have reached."""

import ast
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import catalog
from ..catalog import SettingError
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.noises import PoissonLikelihood, SaltPepperLikelihood, SpeckleLikelihood
from ..operators.base import Operator
from ..operators.generators import kernels, masks
from ..operators.generators.masks import inner_box

__all__ = ["NOISES", "Problem", "Recipe", "build", "drawn", "parts", "read"]

UNITS = {"[0, 1]": 2.0, "[-1, 1]": 1.0, "y": 1.0}  # of sigma, and how much of it y holds
NOISES: dict[str, Any] = {
    "gaussian": GaussianLikelihood,
    "poisson": PoissonLikelihood,
    "salt_pepper": SaltPepperLikelihood,
    "speckle": SpeckleLikelihood,
}
COMMON = (
    "sigma",
    "unit",
    "shared",
    "added",
)  # what a head says for all


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One degradation, and what others have reached on it.

    Arguments:
        name: Also that of its folders.
        operator: As in "decimate(factor=4) @ blur(kernel={drawn})", with {drawn} for what is drawn
            and {seed} for the number that it is drawn by.
        sigma: Standard deviation of Gaussian noise, in ``unit``.
        unit: "[0, 1]", "[-1, 1]", or "y" where y is not in the units of an image.
        draw: One of ``DRAWS`` as ``kind``, and its settings.
        shared: Whether all images (of one size) have the same draw; else each has its own.
        quantized: Whether A x is rounded to 8 bits before the noise.
        added: Whether the noise is added; else sigma is only what the methods are told.
        noise: Another noise than Gaussian: one of ``NOISES`` as ``kind``, and its settings.
        published: Figures with their method, and their source where the recipe's is not theirs.
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
            raise SettingError(f"a problem's name is one word, as box-128, got {self.name!r}")
        if self.unit not in UNITS:
            raise SettingError(f"the unit of sigma is {', '.join(UNITS)}, got {self.unit!r}")
        if (self.sigma is None) == (self.noise is None):
            raise SettingError(f"{self.name} needs a sigma or a noise, and not both")
        words = set(re.findall(r"\{(\w+)\}", self.operator)) - {"seed"}
        if words != ({"drawn"} if self.draw else set()):
            raise SettingError(f"{self.name}: " + "{drawn} in the operator goes with a draw")
        for given, known in ((self.draw, DRAWS), (self.noise, NOISES)):
            if given is not None and given.get("kind") not in known:
                raise SettingError(f"no kind {given.get('kind')!r}; there are {', '.join(known)}")

    def levels(self) -> dict[str, float | None]:
        """Return sigma in both units; that of [-1, 1] is the one of y."""
        if self.sigma is None:
            return {"[0, 1]": None, "[-1, 1]": None}
        own = UNITS[self.unit] * self.sigma
        return {"[0, 1]": None if self.unit == "y" else own / 2, "[-1, 1]": own}

    def told(self) -> str:
        """Return the operator, the noise in both units and the draw, in words."""
        light, own = self.levels().values()
        if own is None:
            noise = f"noise {dict(self.noise or {})}"
        elif light is None:
            noise = f"sigma {own:.4g} in the units of y"
        else:
            noise = f"sigma {light:.4g} in [0, 1], {own:.4g} in [-1, 1]"
        whose = "one for all images" if self.shared else "one for each image"
        drawn = f"; drawn by {dict(self.draw)}, {whose}" if self.draw else ""
        return f"{self.operator}, {noise}{'' if self.added else ', told but not added'}{drawn}."


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Problems that belong together, and how images are made ready for them.

    Arguments:
        side: Images are reduced to this short side, and cropped to the square in their middle;
            0 for whole images.
        multiple: The sides are cropped to multiples of it.
        images, prior: What the published figures were reached on, and with.
        source: Where they stand, and whether they were read there.
    """

    name: str
    title: str = ""
    side: int = 0
    multiple: int = 1
    pictures: str = ""
    prior: str = ""
    source: str = ""
    note: str = ""
    problems: Sequence[Problem] = ()


def read(path: Path) -> Recipe:
    """Return the recipe of a TOML file; its head says ``COMMON`` settings of all problems."""
    try:
        head = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"{path} is no recipe: {error}") from error
    common = {k: head.pop(k) for k in COMMON if k in head}
    rows = [
        {k: v for k, v in common.items() if k != "sigma" or "noise" not in row} | row
        for row in head.pop("problem", [])
    ]
    problems = [_filled(Problem, row, path) for row in rows]
    if len({p.name for p in problems}) < len(problems):
        raise SettingError(f"{path}: two problems of one name")
    recipe: Recipe = _filled(Recipe, {"name": path.stem, **head, "problems": problems}, path)
    return recipe


def _filled(kind: type[Any], given: Mapping[str, Any], path: Path) -> Any:
    known = [f.name for f in fields(kind)]
    for key in given:
        if key not in known:
            raise SettingError(f"{path}: no setting {key!r}; there are {', '.join(known)}")
    try:
        return kind(**given)
    except TypeError as error:
        raise SettingError(f"{path}: {error}") from error


# Operators of text and files


def parts(text: str) -> tuple[str, list[str]]:
    """Return an operator's text with ``'*'`` for the array files that it names, and those files."""
    return re.sub(r"'[^']*\.npy'", "'*'", text), re.findall(r"'([^']*\.npy)'", text)


def build(texts: Sequence[str], folder: Path) -> Operator:
    """Return the operator of "decimate(factor=4) @ blur(kernel='arrays/k.npy')".

    Several texts, alike but for their files, are the operator of a batch.
    """
    names = zip(*(parts(text)[1] for text in texts), strict=True)
    arrays = (_array(folder, name) for name in names)
    tree = ast.parse(parts(texts[0])[0], mode="eval")
    return _operator(tree.body, arrays)


def _array(folder: Path, names: Sequence[str]) -> tuple[Tensor, bool]:
    """Return the array of all, or of each, and whether it is one of each."""
    found = [torch.from_numpy(np.load(folder / name)) for name in dict.fromkeys(names)]
    return (found[0], False) if len(found) == 1 else (torch.stack(found), True)


def _operator(node: ast.expr, arrays: Iterator[tuple[Tensor, bool]]) -> Operator:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        outer = _operator(node.left, arrays)
        return outer @ _operator(node.right, arrays)
    text = ast.unparse(node)
    if "'*'" not in text or not isinstance(node, ast.Call):
        plain: Operator = catalog.build(text, ("operators",))
        return plain
    make = catalog.find(ast.unparse(node.func), ("operators",))
    settings: dict[str, Any] = {}
    for keyword in node.keywords:
        value = ast.literal_eval(keyword.value)
        if value == "*":
            value, each = next(arrays)
            if each and "batched" in inspect.signature(make).parameters:
                settings["batched"] = True
        settings[str(keyword.arg)] = value
    operator: Operator = make(**settings)
    return operator


# Masks (True is seen) and kernels


def drawn(draw: Mapping[str, Any], size: Sequence[int], seed: int) -> np.ndarray:
    """Return a mask ``(1, H, W)`` of what is seen, or a kernel ``(h, w)``."""
    settings = {k: v for k, v in draw.items() if k != "kind"}
    try:
        found: np.ndarray = DRAWS[draw["kind"]](*size, seed, **settings).numpy()
    except TypeError as error:
        raise SettingError(f"{draw['kind']} cannot be drawn: {error}") from error
    return found


def _seen(lose: Callable[..., Tensor], *size: int, **settings: Any) -> Tensor:
    return ~lose(*size, **settings)


def _shake(height: int, width: int, seed: int, size: int = 61, intensity: float = 0.5) -> Tensor:
    return kernels.motion(size, intensity, seed)


def _gaussian(height: int, width: int, seed: int, low: float, high: float, size: int) -> Tensor:
    """Return a Gaussian kernel whose width is uniform in [low, high)."""
    return kernels.gaussian(np.random.default_rng([seed, 6]).uniform(low, high), size)


DRAWS: dict[str, Callable[..., Tensor]] = {
    "box": inner_box,
    "pixels": partial(_seen, masks.pixels),
    "scratches": partial(_seen, masks.scratches),
    "strokes": partial(_seen, masks.strokes),
    "text": partial(_seen, masks.text),
    "shake": _shake,
    "gaussian": _gaussian,
}
