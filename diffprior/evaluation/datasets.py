"""Corrupted datasets: measurements of images by a recipe, the same bytes from the same seed."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..io import documents, files, numbers
from ..io.ledger import Row
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import Operator
from ..operators.quantize import Quantize
from ..random import Noise
from ..validation import Checked, Whole, Within, check, from_file, shown
from . import recipes
from .recipes import BenchmarkRecipe, Degradation

__all__ = ["Item", "corrupt", "likelihood", "load", "manifest"]


@dataclass(frozen=True, kw_only=True)
class Item:
    """One line of a manifest: an image, and a measurement of it.

    Arguments:
        folder: Folder of the dataset.
        row: Fields of the line.
    """

    folder: Path
    row: Row

    @property
    def id(self) -> str:
        """Name of the item, of its degradation and its image."""
        return f"{self.row['problem']}/{self.row['picture']}"

    @property
    def form(self) -> str:
        """Text that is the same for items that can be one batch."""
        text, _ = recipes.split_files(self.row["operator"])
        return json.dumps([text, *(self.row[k] for k in ("problem", "shape", "sigma", "noise"))])

    def truth(self) -> Tensor:
        """Return the true image, of shape ``(3, H, W)``, in [-1, 1]."""
        path = documents.inside(self.folder, self.row["truth"])
        x = files.read(documents.regular(path)).images.tensor()[0]
        if list(x.shape) != self.row["shape"]:
            raise ImageError(f"{shown(path)} has not the shape that the manifest says")
        return x

    def y(self) -> Tensor:
        """Return the measurement.

        Raises:
            ImageError: If the file has changed since the dataset was written.
        """
        path = documents.inside(self.folder, self.row["measurement"])
        data = documents.read_bytes(path)
        if hashlib.sha256(data).hexdigest() != self.row["measurement_sha256"]:
            raise ImageError(f"{shown(path)} is not the measurement that the manifest names")
        return torch.from_numpy(numbers.read(BytesIO(data)).array)


Side = Annotated[int, Within(0, 2**16)]  # pixels; 0 for whole images
Level = recipes.Level


@dataclass(frozen=True, kw_only=True)
class _Line(Checked):
    """The fields of a line of a manifest; see ``_prepare`` and ``_measure`` for what they are."""

    recipe: str
    picture: str
    picture_sha256: str
    truth: str
    shape: Sequence[Annotated[int, Within(1, 2**16)]]
    problem: str
    seed: Whole
    drawn_by: Whole
    shared: bool
    sigma: Mapping[str, Any]
    noise: Mapping[str, Any]
    added: bool
    operator: str
    quantized: bool
    measurement: str
    measurement_sha256: str
    draw: Mapping[str, Any] | None = None
    array_sha256: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        recipes.check_name(self.problem)
        if not _is_file_name(self.picture):
            raise SettingError(
                f"picture is the name of a file without its folder, got {shown(self.picture)}"
            )
        if (
            len(self.shape) != 3
            or self.shape[0] != 3
            or self.shape[1] * self.shape[2] > files.LIMIT
        ):
            raise SettingError(
                f"shape is [3, H, W] of at most {files.LIMIT} pixels, got {self.shape}"
            )
        if len(self.operator) > recipes.LONGEST:
            raise SettingError(f"operator has more than {recipes.LONGEST} characters")
        self._check_noise()

    def _check_noise(self) -> None:
        is_gaussian = self.noise == {"kind": "gaussian"}
        if not is_gaussian:
            recipes.noise_settings(self.noise, "noise")
        for unit in ("[0, 1]", "[-1, 1]"):
            if unit not in self.sigma:
                raise SettingError(f"sigma has no value in {unit}")
            needed = is_gaussian and unit == "[-1, 1]"
            check(f"sigma in {unit}", self.sigma[unit], Level if needed else Level | None)


def _is_file_name(name: str) -> bool:
    return bool(name) and Path(name).name == name and name != ".." and "\0" not in name


def corrupt(
    images: Sequence[Path],
    recipe: Path,
    out: Path,
    *,
    seed: int = 0,
    side: int | None = None,
    problems: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> int:
    """Measure images by a recipe; return the number of measurements that failed.

    The files of an image depend on its name, its bytes, the recipe and the seed, and on nothing
    else. The folder receives ``manifest.jsonl``, ``recipe.toml``, and the folders ``truths``,
    ``arrays`` (masks and kernels) and ``measurements``.

    Arguments:
        images: Image files of different names.
        recipe: TOML file of the recipe.
        out: Folder to write.
        seed: Seed of masks, kernels and noise.
        side: Short side in pixels, in place of that of the recipe.
        problems: Names of the degradations to apply; by default all.
        say: Receives one line for each failure.

    Raises:
        SettingError: If the recipe cannot be used, or two images have the same name.
    """
    plan = recipes.read(recipe)
    chosen = _chosen(plan, problems)
    check("seed", seed, Whole)
    check("side", side, Side | None)
    if not images:
        raise SettingError("no image is given")
    if len({path.name for path in images}) < len(images):
        raise SettingError("two images have the same name; rename one of them")
    for problem in chosen:
        recipes.try_out(problem)
    rows: list[Row] = []
    with documents.locked(out / ".lock"):
        for path in images:
            try:
                head, x = _prepare(path, plan, out, plan.side if side is None else side)
            except Exception as error:  # a damaged file must not stop the others
                say(f"{shown(path)}: {_reason(error)}")
                continue
            for problem in chosen:
                try:
                    rows.append(_measure(problem, x, out, seed, head))
                except Exception as error:
                    say(f"{shown(path)}, {problem.name}: {_reason(error)}")
        documents.write(documents.read_bytes(recipe), out / "recipe.toml")
        text = "".join(json.dumps(row) + "\n" for row in rows)
        documents.write(text.encode(), out / "manifest.jsonl")
    return len(images) * len(chosen) - len(rows)


def manifest(folder: Path) -> list[Item]:
    """Return the items of a folder that ``corrupt`` wrote.

    Raises:
        SettingError: If there is no manifest, or it is empty, or one of its lines is not what
            ``corrupt`` writes.
    """
    path = folder / "manifest.jsonl"
    if not path.is_file():
        raise SettingError(f"{shown(folder)} holds no manifest.jsonl; diffprior corrupt writes one")
    lines = documents.read_text(documents.inside(folder, path.name)).split("\n")
    items: dict[str, Item] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{shown(path)}, line {number}"
        row = documents.read_json(line, where)
        from_file(_Line, row, where)
        item = Item(folder=folder, row=row)
        if item.id in items:
            raise SettingError(f"{where}: the item {shown(item.id)} stands there twice")
        items[item.id] = item
    if not items:
        raise SettingError(f"{shown(path)} is empty: no image could be measured")
    return list(items.values())


def likelihood(items: Sequence[Item]) -> Likelihood[Operator]:
    """Return the likelihood of items of the same ``form``, as one batch."""
    row = items[0].row
    texts = [item.row["operator"] for item in items]
    operator = recipes.build(texts, items[0].folder).for_shape(row["shape"])
    return _likelihood(row, operator, torch.stack([item.y() for item in items]))


def load(path: Path, side: int) -> Tensor:
    """Return an image with a short side of ``side`` pixels.

    Returns:
        An image of shape ``(1, 3, H, W)`` in [0, 1], rounded to 8 bits.
    """
    x = (files.read(path).images.tensor() + 1) / 2
    scale = side / min(x.shape[-2:])
    height, width = (round(n * scale) for n in x.shape[-2:])
    pixels = x[0].movedim(0, -1).numpy()
    array = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return (torch.from_numpy(array).movedim(-1, 0)[None] * 255).round() / 255


def _likelihood(row: Row, operator: Operator, y: Tensor) -> Likelihood[Operator]:
    settings = dict(row["noise"])
    kind = recipes.NOISES[settings.pop("kind")]
    if kind is GaussianLikelihood:
        settings["sigma"] = row["sigma"]["[-1, 1]"]
    result: Likelihood[Operator] = kind(operator=operator, y=y, **settings)
    return result


def _chosen(plan: BenchmarkRecipe, names: Sequence[str]) -> list[Degradation]:
    problems = {p.name: p for p in plan.problems}
    for name in names:
        if name not in problems:
            raise SettingError(f"no problem {name!r}; {plan.name} has {', '.join(problems)}")
    return [problems[name] for name in names or problems]


def _prepare(path: Path, plan: BenchmarkRecipe, out: Path, side: int) -> tuple[Row, Tensor]:
    """Write the true image as an 8-bit PNG; return its fields of the manifest, and its state."""
    values = (files.read(path).images.tensor()[0].movedim(0, -1).numpy() + 1) * 127.5
    h, w = values.shape[:2]
    if side > min(h, w):
        raise ImageError(f"an image of {w}x{h} cannot be reduced to {side} pixels; lower side")
    if side:
        size = round(w * side / min(h, w)), round(h * side / min(h, w))
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        h = w = side
    h = h // plan.multiple * plan.multiple
    w = w // plan.multiple * plan.multiple
    if not h * w:
        raise ImageError(f"the image is smaller than {plan.multiple} pixels, the multiple")
    i = (values.shape[0] - h) // 2
    j = (values.shape[1] - w) // 2
    center = np.ascontiguousarray(values[i : i + h, j : j + w].round().astype(np.uint8))
    truth = f"truths/{path.name}.png"
    documents.write(files.encode(center, None, ".png"), out / truth)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    head = {"recipe": plan.name, "picture": path.name, "picture_sha256": digest, "truth": truth}
    return head | {"shape": [3, h, w]}, files.read(out / truth).images.tensor()[0]


def _measure(problem: Degradation, x: Tensor, out: Path, seed: int, head: Row) -> Row:
    """Write the measurement of one degradation; return its line of the manifest."""
    place = f"{problem.name}/{head['picture']}"
    number = _number(seed, problem.name if problem.shared else place)
    words = {"seed": str(number)}
    row = head | {"problem": problem.name, "seed": seed}
    row |= {"drawn_by": number, "shared": problem.shared, "sigma": problem.levels()}
    row |= {"noise": dict(problem.noise or {"kind": "gaussian"}), "added": problem.added}
    if problem.draw is not None:
        size = "x".join(map(str, x.shape[1:]))
        name = f"arrays/{problem.name}/{size if problem.shared else head['picture']}.npy"
        array = recipes.draw(problem.draw, x.shape[1:], number)
        row |= {"draw": dict(problem.draw), "array_sha256": _save(out / name, array)}
        words["drawn"] = repr(name)
    row["operator"] = re.sub(r"\{(\w+)\}", lambda match: words[match[1]], problem.operator)
    A = recipes.build([row["operator"]], out).for_shape(x.shape)
    camera = Quantize(8) @ A if problem.quantized else A
    with torch.no_grad():
        noisy = _likelihood(row, camera, x).sample(x[None], Noise(seed, [place]))
        y = noisy if problem.added else camera(x[None])
    row |= {"quantized": problem.quantized, "measurement": f"measurements/{place}.npy"}
    return row | {"measurement_sha256": _save(out / row["measurement"], y[0].numpy())}


def _number(seed: int, words: str) -> int:
    """Return a 32-bit seed that depends on a seed and on words."""
    data = f"{seed} {words}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:4], "big")


def _save(path: Path, array: np.ndarray) -> str:
    """Write an array; return the SHA-256 of the file."""
    file = BytesIO()
    np.save(file, array)
    documents.write(file.getvalue(), path)
    return hashlib.sha256(file.getvalue()).hexdigest()


def _reason(error: Exception) -> str:
    """Return the message of an error as one line."""
    return shown(" ".join(str(error).split()), 200) or type(error).__name__
