"""Recipes of corrupted datasets: the operators, their noise, and published results."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from .. import catalog
from ..errors import SettingError
from ..io import documents, numbers
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.noises import PoissonLikelihood, SaltPepperLikelihood, SpeckleLikelihood
from ..operators.base import Operator
from ..operators.generators.kernels import MAKERS
from ..operators.identity import Identity
from ..validation import Checked, Within, from_file, literal, nearest, shown
from .draws import draw_of

__all__ = [
    "NOISES",
    "BenchmarkRecipe",
    "Degradation",
    "Published",
    "build",
    "check_name",
    "draw",
    "locate",
    "noise_settings",
    "read",
    "split_files",
    "try_out",
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
ARRAY = re.compile(r"""'(?:[^'\\]|\\.)*\.npy'|"(?:[^"\\]|\\.)*\.npy\"""")  # a literal of a name
NOMINAL = (256, 256)  # size of the image with which a recipe is tried out
LONGEST = 2000  # characters of the text of an operator
Level = Annotated[float, Within(0, 1e6)]


@dataclass(frozen=True, kw_only=True)
class Published(Checked):
    """A result that others have published.

    Arguments:
        method: Name of the method.
        psnr, psnr_mean, ssim, lpips, fid: The result, by the name of its measure.
        source: Where it is published, if not where the recipe says.
    """

    method: str
    psnr: float | None = None
    psnr_mean: float | None = None
    ssim: float | None = None
    lpips: float | None = None
    fid: float | None = None
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Degradation(Checked):
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
    sigma: Level | None = None
    unit: Literal["[0, 1]", "[-1, 1]", "y"] = "[0, 1]"
    draw: Mapping[str, Any] | None = None
    shared: bool = False
    quantized: bool = False
    added: bool = True
    noise: Mapping[str, Any] | None = None
    note: str = ""
    published: Sequence[Published] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.name)
        if (self.sigma is None) == (self.noise is None):
            raise SettingError(f"{self.name} needs a sigma or a noise, and not both")
        if len(self.operator) > LONGEST:
            raise SettingError(f"the operator of {self.name} has more than {LONGEST} characters")
        words = set(re.findall(r"\{(\w+)\}", self.operator)) - {"seed"}
        if words != ({"drawn"} if self.draw is not None else set()):
            raise SettingError(f"{self.name}: " + "{drawn} in the operator goes with a draw")
        if self.draw is not None:
            draw_of(self.draw, f"the draw of {self.name}")
        if self.noise is not None:
            noise_settings(self.noise, f"the noise of {self.name}")

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
class BenchmarkRecipe(Checked):
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
    side: Annotated[int, Within(0, 2**16)] = 0
    multiple: Annotated[int, Within(1, 2**16)] = 1
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
    place = shown(path)
    head = documents.read_toml(path)
    if "pictures" in head:  # the name of the field in older recipes
        head["images"] = head.pop("pictures")
    common = {k: head.pop(k) for k in COMMON if k in head}
    tables = head.pop("problem", [])
    if not isinstance(tables, list) or not tables:
        raise SettingError(f"{place}: a recipe needs a [[problem]] table for each degradation")
    if "problems" in head:
        raise SettingError(f"{place}: no setting 'problems'; write [[problem]] for each")
    problems = [
        _degradation(common, table, f"{place}, problem {i}") for i, table in enumerate(tables, 1)
    ]
    if len({p.name for p in problems}) < len(problems):
        raise SettingError(f"{place}: two problems have the same name")
    settings = {"name": path.stem, **head, "problems": problems}
    return from_file(BenchmarkRecipe, settings, place)


def _degradation(common: Mapping[str, Any], table: object, where: str) -> Degradation:
    """Return one degradation, with the settings of the head that it does not set itself."""
    own = dict(table) if isinstance(table, Mapping) else {}
    from_head = {k: v for k, v in common.items() if k != "sigma" or "noise" not in own}
    return from_file(Degradation, from_head | own if own else table, where)


def check_name(name: str) -> None:
    """Check that a degradation has a name that can be that of a folder."""
    if not re.fullmatch(r"[\w.+-]{1,100}", name) or not name.strip("."):
        raise SettingError(f"the name of a problem is one word, as box-128, got {literal(name)}")


def noise_settings(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of a noise that is not Gaussian, after a check of them.

    Arguments:
        settings: One of ``NOISES`` as ``kind``, and its settings.
        where: The place of the settings, for messages.
    """
    own = dict(settings)
    kind = own.pop("kind", None)
    kinds = [name for name in NOISES if name != "gaussian"]
    if kind not in kinds:
        raise SettingError(f"{where}: no kind {literal(kind, 40)}; {nearest(kind, kinds)}")
    given = {"operator": Identity(), "y": torch.zeros(1)}
    from_file(NOISES[kind], own, f"{where} of kind {kind}", **given)
    return own


# Operators of text and files


def split_files(text: str) -> tuple[str, list[str]]:
    """Return the text of an operator with ``'*'`` in place of its array files, and these files."""
    try:
        names = [str(ast.literal_eval(name)) for name in ARRAY.findall(text)]
    except (ValueError, SyntaxError) as error:
        raise SettingError(f"cannot read a name of a file in {literal(text, 100)}") from error
    return ARRAY.sub("'*'", text), names


def build(texts: Sequence[str], folder: Path) -> Operator:
    """Return the operator of a text such as "decimate(factor=4) @ blur(kernel='arrays/k.npy')".

    Arguments:
        texts: Texts that differ in their files only. Several texts make the operator of a batch.
        folder: Folder of the files.
    """
    names = zip(*(split_files(text)[1] for text in texts), strict=True)
    return _built(split_files(texts[0])[0], (_array(folder, name) for name in names))


def try_out(problem: Degradation) -> None:
    """Build the operator of a degradation with a draw, so that a mistake is found before the work.

    Raises:
        SettingError: If the text cannot be read, or a setting does not fit.
    """
    if files := split_files(problem.operator)[1]:
        raise SettingError(
            f"{problem.name}: no file {shown(files[0], 60)} in an operator; write {{drawn}}, and a "
            "draw, or the name of a kernel, as in kernel='gaussian:3'"
        )
    drawn = problem.operator.replace("{drawn}", "'*'").replace("{seed}", "0")
    arrays: list[tuple[Tensor, bool]] = []
    try:
        if problem.draw is not None:
            array = torch.from_numpy(draw(problem.draw, NOMINAL, 0))
            arrays = [(array, False)] * problem.operator.count("{drawn}")
        _built(drawn, iter(arrays))
    except (ValueError, TypeError, ArithmeticError, MemoryError) as error:
        reason = shown(error, 200) or type(error).__name__
        raise SettingError(f"{problem.name}: {reason}") from error


def _built(text: str, arrays: Iterator[tuple[Tensor, bool]]) -> Operator:
    """Return the operator of a text, with arrays in the places of "*", from left to right."""

    def resolve(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
        resolved = dict(settings)
        for name, value in settings.items():
            if value == "*":
                resolved[name], batched = next(arrays, (None, False))
                if resolved[name] is None:
                    raise SettingError("'*' stands for no array; write {drawn}, and a draw")
                if batched and "batched" in inspect.signature(kind).parameters:
                    resolved["batched"] = True
            elif name == "kernel":
                _check_kernel(value)
        return resolved

    operator: Operator = catalog.build(text, ("operators",), resolve)
    if next(arrays, None) is not None:
        raise SettingError("an array of the operator has no place in it")
    return operator


def _check_kernel(value: object) -> None:
    """Refuse kernels of files: a dataset must not read what lies outside of its folder."""
    if isinstance(value, str) and value.partition(":")[0] not in MAKERS:
        raise SettingError(
            f"no kernel {literal(value)}; there are {', '.join(MAKERS)}, and {{drawn}}"
        )


def _array(folder: Path, names: Sequence[str]) -> tuple[Tensor, bool]:
    """Return the array of all items, or those of each as a batch, and whether it is a batch."""
    paths = [documents.inside(folder, name) for name in dict.fromkeys(names)]
    arrays = [torch.from_numpy(numbers.read(documents.regular(path)).array) for path in paths]
    return (arrays[0], False) if len(arrays) == 1 else (torch.stack(arrays), True)


# Masks and kernels


def draw(settings: Mapping[str, Any], size: Sequence[int], seed: int) -> np.ndarray:
    """Return a random mask or blur kernel.

    Arguments:
        settings: One of ``draws.DRAWS`` as ``kind``, and its settings.
        size: Height and width of the images.
        seed: Seed of the draw.

    Returns:
        A mask of shape ``(1, H, W)``, True where a pixel is measured, or a kernel ``(h, w)``.
    """
    height, width = size
    array: np.ndarray = draw_of(settings)(height, width, seed).numpy()
    return array
