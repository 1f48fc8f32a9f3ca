"""Corrupted datasets: measurements of images by a recipe, the same bytes from the same seed."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import ImageError, SettingError
from ..io import files
from ..io.ledger import Row
from ..likelihoods.base import Likelihood
from ..likelihoods.gaussian import GaussianLikelihood
from ..operators.base import Operator
from ..operators.quantize import Quantize
from ..random import Noise
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
        return files.read(self.folder / self.row["truth"]).images.tensor()[0]

    def y(self) -> Tensor:
        """Return the measurement.

        Raises:
            ImageError: If the file has changed since the dataset was written.
        """
        path = self.folder / self.row["measurement"]
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.row["measurement_sha256"]:
            raise ImageError(f"{path} is not the measurement that the manifest names")
        return torch.from_numpy(np.load(BytesIO(data)))


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
    if len({path.name for path in images}) < len(images):
        raise SettingError("two images have the same name; rename one of them")
    rows: list[Row] = []
    failures = 0
    for path in images:
        try:
            head, x = _prepare(path, plan, out, plan.side if side is None else side)
        except (ValueError, OSError) as error:
            say(f"{path}: {error}")
            failures += len(chosen)
            continue
        for problem in chosen:
            try:
                rows.append(_measure(problem, x, out, seed, head))
            except (ValueError, TypeError, RuntimeError) as error:
                say(f"{path}, {problem.name}: {error}")
                failures += 1
    _write(out / "recipe.toml", recipe.read_bytes())
    _write(out / "manifest.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return failures


def manifest(folder: Path) -> list[Item]:
    """Return the items of a folder that ``corrupt`` wrote.

    Raises:
        SettingError: If there is no manifest, or it is empty.
    """
    path = folder / "manifest.jsonl"
    if not path.is_file():
        raise SettingError(f"{folder} holds no manifest.jsonl; diffprior corrupt writes one")
    lines = path.read_text().splitlines()
    if not lines:
        raise SettingError(f"{path} is empty: no image could be measured")
    return [Item(folder=folder, row=json.loads(line)) for line in lines]


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
    i = (values.shape[0] - h) // 2
    j = (values.shape[1] - w) // 2
    center = np.ascontiguousarray(values[i : i + h, j : j + w].round().astype(np.uint8))
    truth = f"truths/{path.name}.png"
    _write(out / truth, files.encode(center, None, ".png"))
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
    return int.from_bytes(hashlib.sha256(f"{seed} {words}".encode()).digest()[:4], "big")


def _save(path: Path, array: np.ndarray) -> str:
    """Write an array; return the SHA-256 of the file."""
    file = BytesIO()
    np.save(file, array)
    _write(path, file.getvalue())
    return hashlib.sha256(file.getvalue()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(data, path, force=True)
