"""Corrupted datasets: the same bytes from the same seed, and noise in the unit that is meant."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprior.catalog import SettingError
from diffprior.evaluation import commands, recipes
from diffprior.evaluation.datasets import Item, corrupt, likelihood, manifest
from diffprior.evaluation.recipes import Degradation
from diffprior.io.arrays import ImageError

RECIPES = recipes.FOLDER
FILES = sorted(RECIPES.glob("*.toml"))
MIXED = """
sigma = 0.05

[[problem]]
name = "box"
operator = "mask(keep={drawn})"
draw = { kind = "box", side = 0.25, margin = 0.0625 }

[[problem]]
name = "motion"
operator = "blur(kernel={drawn})"
draw = { kind = "shake", size = 9 }

[[problem]]
name = "motion-shared"
operator = "blur(kernel={drawn})"
draw = { kind = "shake", size = 9 }
shared = true

[[problem]]
name = "signs"
operator = "hadamard(ratio=0.25, seed={seed})"

[[problem]]
name = "small"
operator = "decimate(factor=2) @ circular_blur(kernel={drawn})"
draw = { kind = "gaussian", low = 0.5, high = 2.0, size = 7 }
"""


def photographs(folder: Path, *names: str, side: int = 32) -> Path:
    """Write smooth images, each by its name, and each 8 pixels wider than the one before."""
    folder.mkdir(exist_ok=True)
    for k, name in enumerate(names):
        rng = np.random.default_rng(sum(map(ord, name)))
        small = rng.integers(64, 192, (6, 6, 3), np.uint8)
        Image.fromarray(small).resize((side + 8 * k, side), Image.Resampling.BICUBIC).save(
            folder / name
        )
    return folder


def mixed(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.toml"
    path.write_text(MIXED)
    return path


def contents(folder: Path, part: str = "") -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and part in p.name)
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def test_same_seed_same_bytes_whatever_lies_beside(tmp_path: Path) -> None:
    folder, recipe = photographs(tmp_path / "in", "a.png", "b.png", "c.png"), mixed(tmp_path)
    many = [folder / name for name in ("c.png", "b.png", "a.png")]
    assert corrupt(many, recipe, tmp_path / "many", seed=3, side=32) == 0
    assert corrupt(many[1:2], recipe, tmp_path / "one", seed=3, side=32) == 0
    assert corrupt(many[1:2], recipe, tmp_path / "other", seed=4, side=32) == 0
    one, other = contents(tmp_path / "one", "b.png"), contents(tmp_path / "other", "b.png")
    assert len(one) == 1 + 5 + 3 and contents(tmp_path / "many", "b.png") == one
    assert all(other[k] != v for k, v in one.items() if not k.startswith(("truths", "recipe")))
    lines = (tmp_path / "many" / "manifest.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["picture"] == "b.png"]
    assert (tmp_path / "one" / "manifest.jsonl").read_text().splitlines() == kept


def test_a_draw_is_an_images_own_unless_it_is_shared(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "in", "a.png", "b.png")
    corrupt(sorted(folder.iterdir()), mixed(tmp_path), tmp_path / "out", side=32)
    arrays = contents(tmp_path / "out" / "arrays")
    for name in ("box", "motion", "small"):
        assert arrays[f"{name}/a.png.npy"] != arrays[f"{name}/b.png.npy"]
    assert [k for k in arrays if k.startswith("motion-shared")] == ["motion-shared/32x32.npy"]
    texts = {i.row["operator"] for i in manifest(tmp_path / "out") if i.row["problem"] == "signs"}
    assert len(texts) == 2


def test_a_manifest_says_all_that_was_done(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "in", "a.png")
    corrupt([folder / "a.png"], mixed(tmp_path), tmp_path / "out", seed=7)
    items = manifest(tmp_path / "out")
    row = items[1].row
    assert items[1].id == "motion/a.png" and row["recipe"] == "mixed" and row["seed"] == 7
    assert row["picture_sha256"] == hashlib.sha256((folder / "a.png").read_bytes()).hexdigest()
    assert row["sigma"] == {"[0, 1]": 0.05, "[-1, 1]": 0.1}
    assert row["operator"] == "blur(kernel='arrays/motion/a.png.npy')"
    kernel = np.load(tmp_path / "out" / "arrays/motion/a.png.npy")
    assert kernel.shape == (9, 9) and abs(kernel.sum() - 1) < 1e-5
    whole = np.array(Image.open(folder / "a.png"))
    expected = torch.from_numpy(whole).movedim(-1, 0) / 127.5 - 1
    torch.testing.assert_close(items[1].truth(), expected, atol=1e-6, rtol=0)


def test_a_batch_is_its_items(tmp_path: Path) -> None:
    """Operators with a mask or a kernel for each are those of the images alone, to the bit."""
    folder = photographs(tmp_path / "in", "a.png", "b.png")
    corrupt(sorted(folder.iterdir()), mixed(tmp_path), tmp_path / "out", side=32)
    forms: dict[str, list[Item]] = {}
    for item in manifest(tmp_path / "out"):
        forms.setdefault(item.form, []).append(item)
    assert sorted(map(len, forms.values())) == [1, 1, 2, 2, 2, 2]
    for items in forms.values():
        batch, x = likelihood(items), torch.stack([item.truth() for item in items])
        for i, item in enumerate(items):
            alone = likelihood([item])
            assert torch.equal(batch.operator(x)[i], alone.operator(x[i : i + 1])[0])
            assert torch.equal(batch.select(torch.tensor([i])).y, alone.y)


def test_a_middle_square_and_whole_images(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('multiple = 4\n[[problem]]\nname = "n"\noperator = "identity()"\nsigma = 0.1')
    ramp = np.broadcast_to(np.arange(50, dtype=np.uint8)[None, :, None], (31, 50, 3))
    Image.fromarray(np.ascontiguousarray(ramp)).save(tmp_path / "a.png")
    for side, shape in ((None, [3, 28, 48]), (20, [3, 20, 20])):
        corrupt([tmp_path / "a.png"], recipe, tmp_path / "out", side=side)
        (item,) = manifest(tmp_path / "out")
        assert item.row["shape"] == shape == list(item.truth().shape) == list(item.y().shape)
        assert abs((item.truth()[0, 0].mean() + 1) * 127.5 - 24.5) < 0.75


# Protocols


def noise_of(item: Item) -> torch.Tensor:
    given = likelihood([item])
    clean = given.operator(item.truth()[None])
    return (given.y - clean)[given.operator.mask_unmeasured(torch.ones_like(given.y)) > 0]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("daps-ffhq", dict.fromkeys(("sr4", "box", "random-70", "gaussian", "motion"), 0.05)),
        ("daps-ffhq", {"hdr": 0.05, "phase": 0.05}),
        ("diffpir-ffhq", {"gaussian": 0.1, "motion": 0.1, "sr4": 0.1, "random-50-exact": 0.0}),
        ("diffpir-imagenet", {"gaussian": 0.1, "motion": 0.1, "sr4": 0.1}),
        ("ddrm-imagenet", dict.fromkeys(("sr4", "gaussian", "cs4", "denoise", "grey"), 0.1)),
        ("mmps-ffhq", {"box": 1.0, "random-98": 0.01, "motion": 0.1, "sr4": 0.1}),
    ],
)
def test_the_noise_of_a_protocol_is_in_its_unit(tmp_path: Path, name: str, expected: dict) -> None:
    """The deviation of y - A x in [-1, 1], to 4 standard errors: twice that of [0, 1]."""
    folder = photographs(tmp_path / "in", "a.png", side=64)
    recipe = RECIPES / f"{name}.toml"
    assert corrupt([folder / "a.png"], recipe, tmp_path / "o", side=64, problems=[*expected]) == 0
    for item in manifest(tmp_path / "o"):
        noise, sigma = noise_of(item).double(), expected[item.row["problem"]]
        assert item.row["sigma"]["[-1, 1]"] == pytest.approx(sigma)
        assert abs(noise.std() - sigma) <= 4 * sigma / (2 * noise.numel()) ** 0.5 + 1e-5


def test_blurred_images_are_rounded_before_the_noise(tmp_path: Path) -> None:
    folder, recipe = photographs(tmp_path / "in", "a.png", side=64), RECIPES / "diffpir-ffhq.toml"
    corrupt([folder / "a.png"], recipe, tmp_path / "o", side=64, problems=["gaussian-exact"])
    (item,) = manifest(tmp_path / "o")
    levels = (item.y().double() + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), atol=2e-5, rtol=0)
    assert 0 < noise_of(item).abs().max() <= 0.5 / 127.5 + 1e-5


def problem(recipe: str, name: str) -> Degradation:
    return next(p for p in recipes.read(RECIPES / f"{recipe}.toml").problems if p.name == name)


def test_variants_of_one_name_are_told_apart() -> None:
    assert problem("daps-ffhq", "gaussian").operator.startswith("blur(")  # reflected
    assert problem("diffpir-ffhq", "gaussian").operator.startswith("circular_blur(")
    assert "boundary='zero'" in problem("ddrm-imagenet", "gaussian").operator
    assert problem("daps-ffhq", "motion").shared and not problem("diffpir-ffhq", "motion").shared
    for recipe, name, margin in (("daps-ffhq", "box", 32), ("diffpir-ffhq", "box-exact", 16)):
        draw = problem(recipe, name).draw
        lost = [~recipes.draw(draw, (256, 256), seed)[0] for seed in range(200)]
        assert all(mask.sum() == 128**2 for mask in lost)
        edges = [int(e) for m in lost for axis in (0, 1) for e in [m.any(axis).argmax()]]
        assert margin <= min(edges) <= margin + 4
        assert 256 - 128 - margin - 4 <= max(edges) <= 256 - 128 - margin


@pytest.mark.parametrize("file", FILES, ids=lambda p: p.stem)
def test_every_figure_has_a_source_that_was_read_or_is_second_hand(file: Path) -> None:
    recipe = recipes.read(file)
    for p in recipe.problems:
        for row in p.published:
            assert row.method and {row.psnr, row.ssim, row.lpips, row.fid} > {None}
            said = row.source or recipe.source
            assert said.startswith(("read in ", "second-hand: "))


@pytest.mark.parametrize("file", [f for f in FILES if "-" not in f.stem], ids=lambda p: p.stem)
def test_every_recipe_can_be_cooked(tmp_path: Path, file: Path) -> None:
    """Measured again from its own manifest, an image is explained by what was measured of it."""
    folder = photographs(tmp_path / "in", "a.png", side=64)
    assert corrupt([folder / "a.png"], file, tmp_path / "out", side=64) == 0
    items = manifest(tmp_path / "out")
    assert len(items) == len(recipes.read(file).problems)
    for item in items:
        sigma, m = item.row["sigma"]["[-1, 1]"], noise_of(item).numel()
        if sigma and item.row["added"]:
            chi2 = noise_of(item).double().square().mean() / sigma**2
            assert abs(chi2 - 1) < 4 * (2 / m) ** 0.5
        elif sigma is not None:
            assert noise_of(item).abs().max() < 1e-5


# Refusals


def test_a_changed_measurement_is_refused(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "in", "a.png")
    corrupt([folder / "a.png"], mixed(tmp_path), tmp_path / "out")
    item = manifest(tmp_path / "out")[0]
    np.save(tmp_path / "out" / item.row["measurement"], np.zeros((3, 32, 32), np.float32))
    with pytest.raises(ImageError, match="not the measurement"):
        item.y()


def test_a_bad_image_does_not_stop_the_others(tmp_path: Path) -> None:
    folder, said = photographs(tmp_path / "in", "a.png", "b.png"), []
    (folder / "a.png").write_bytes(b"no picture")
    found = sorted(folder.iterdir())
    assert corrupt(found, mixed(tmp_path), tmp_path / "out", side=32, say=said.append) == 5
    assert len(said) == 1 and "a.png" in said[0]
    assert {i.row["picture"] for i in manifest(tmp_path / "out")} == {"b.png"}
    assert corrupt(found[1:], mixed(tmp_path), tmp_path / "out", side=64, say=said.append) == 5
    assert "lower side" in said[1]
    (folder / "deep").mkdir()
    shutil.copy(folder / "b.png", folder / "deep" / "b.png")
    with pytest.raises(SettingError, match="two images have the same name"):
        corrupt([folder / "b.png", folder / "deep" / "b.png"], mixed(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    "text, words",
    [
        ('name = "n"\noperator = "identity()"', "sigma or a noise"),
        ('name = "n"\noperator = "identity()"\nsigma = 0.1\nsgima = 1', "no setting 'sgima'"),
        ('name = "a/b"\noperator = "identity()"\nsigma = 0.1', "one word"),
        (
            'name = "n"\noperator = "identity()"\nsigma = 0.1\nunit = "255"',
            r"problem 1: unit is one of '\[0, 1\]', .*, got '255'",
        ),
        ('name = "n"\noperator = "mask(keep={drawn})"\nsigma = 0.1', "goes with a draw"),
        ('name = "n"\noperator = "mask(keep={drawn})"\nsigma = 0.1\ndraw = { kind = "x" }', "kind"),
        (
            'name = "n"\noperator = "mask(keep={drawn})"\nsigma = 0.1\n'
            'draw = { kind = "blob", low = 0.3, high = 0.2 }',
            "low is at most high, got 0.3 and 0.2",
        ),
        ("name = 3 3", r"r.toml is no TOML: .* \(at line 2, column 10\)"),
    ],
)
def test_recipes_are_refused_in_a_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"[[problem]]\n{text}\n")
    with pytest.raises(SettingError, match=words):
        recipes.read(path)


def test_a_recipe_has_a_path_or_a_name(tmp_path: Path) -> None:
    assert recipes.locate("daps-ffhq") == RECIPES / "daps-ffhq.toml"
    assert recipes.locate(mixed(tmp_path)) == tmp_path / "mixed.toml"
    for name in ("daps", "other/daps-ffhq", str(tmp_path / "deblurring")):
        with pytest.raises(SettingError, match=r"no recipe .* one of colorization, compressed"):
            recipes.locate(name)


def test_the_list_of_recipes_is_that_of_their_files() -> None:
    titles = commands.recipes()
    assert titles == {file.stem: recipes.read(file).title for file in FILES}
    assert len(titles) >= 14 and all(titles.values())


def test_the_old_name_of_the_images_of_a_recipe_is_read(tmp_path: Path) -> None:
    text = '= "FFHQ"\n[[problem]]\nname = "n"\noperator = "identity()"\nsigma = 0.1'
    for name in ("pictures", "images"):
        (tmp_path / "r.toml").write_text(f"{name} {text}")
        assert recipes.read(tmp_path / "r.toml").images == "FFHQ"


def test_problems_and_folders_that_are_not_there(tmp_path: Path) -> None:
    folder = photographs(tmp_path / "in", "a.png")
    with pytest.raises(SettingError, match="no problem 'x'; mixed has box, motion"):
        corrupt([folder / "a.png"], mixed(tmp_path), tmp_path / "out", problems=["x"])
    with pytest.raises(SettingError, match=r"no manifest\.jsonl"):
        manifest(tmp_path)
