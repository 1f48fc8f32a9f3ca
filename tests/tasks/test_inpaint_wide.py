"""Wide holes through the public door."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.errors import SettingError
from diffprior.priors.mixture import MixturePrior

from support import shell

SIDE = 160
PHOTO = "data/samples/grass.png"


def photo() -> np.ndarray:
    with Image.open(PHOTO) as image:
        return np.asarray(image.convert("RGB").crop((0, 0, SIDE, SIDE)))


def disc(radius: float, at: tuple[int, int] = (90, 80)) -> np.ndarray:
    y, x = np.ogrid[:SIDE, :SIDE]
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2


def scratch() -> np.ndarray:
    hole = np.zeros((SIDE, SIDE), bool)
    hole[12:15, 5:150] = True
    return hole


def roughness(image: np.ndarray, hole: np.ndarray) -> float:
    """The gradient energy in a hole over that of the photograph there."""
    energy = [np.square(np.diff(x.mean(2), axis=1))[hole[:, 1:]] for x in (image * 1.0, photo())]
    return float(energy[0].mean() / energy[1].mean())


@pytest.mark.parametrize(
    "hole, method",
    [(disc(30), "Exemplar("), (scratch(), "DPIR("), (disc(30) | scratch(), "ByDepth(")],
    ids=["wide", "narrow", "both"],
)
def test_each_hole_has_the_method_that_suits_it(hole: np.ndarray, method: str) -> None:
    result = diffprior.inpaint(photo(), hole, steps=2)
    out = np.asarray(result.image)
    assert result.report["method"].startswith(method)
    wide, narrow = bool(hole[90, 80]), bool(hole[13, 80])
    said = " and ".join(["smooth"] * narrow + ["structure"] * wide)
    assert result.report["fill"] == said
    assert np.array_equal(out[~hole], photo()[~hole])
    if hole[90, 80]:
        assert 0.6 < roughness(out, disc(25)) < 1.5


def test_narrow_holes_get_texture_beside_a_wide_one() -> None:
    result = diffprior.inpaint(photo(), disc(24) | scratch(), fill="texture", steps=6)
    assert result.report["method"].startswith("ByDepth(")
    assert result.report["fill"] == "texture and structure"
    smooth = diffprior.inpaint(photo(), scratch(), fill="smooth", steps=6)
    rough = [roughness(np.asarray(x.image), scratch()) for x in (smooth, result)]
    assert rough[0] < 0.7 < rough[1] < 1.5
    assert 0.6 < roughness(np.asarray(result.image), disc(20)) < 1.5


def test_a_fill_is_chosen_by_hand() -> None:
    hole = disc(30)
    smooth = diffprior.inpaint(photo(), hole, fill="smooth", steps=3)
    assert "DPIR(" in smooth.report["method"]
    assert roughness(np.asarray(smooth.image), disc(25)) < 0.4
    narrow = diffprior.inpaint(photo(), scratch(), fill="structure")
    assert narrow.report["method"].startswith("Exemplar(")
    assert narrow.report["network_calls"] == 0


def test_samples_are_layouts_and_their_deviation_is_theirs() -> None:
    result = diffprior.inpaint(photo(), disc(30), samples=3)
    samples = [np.asarray(sample) for sample in result.samples]
    assert all(np.array_equal(x[~disc(30)], photo()[~disc(30)]) for x in samples)
    assert len({x.tobytes() for x in samples}) == 3
    assert result.std is not None
    assert float(np.asarray(result.std)[~disc(30)].max()) == 0


def test_images_of_a_batch_get_what_they_get_alone() -> None:
    part = (..., slice(10, 130), slice(20, 140))  # with the holes and the scratch
    photos = np.stack([photo(), photo()[::-1]])
    x = (torch.from_numpy(photos).permute(0, 3, 1, 2) / 255)[part]
    masks = torch.from_numpy(np.stack([disc(24), disc(28) | scratch()]))[:, None][part]
    both = diffprior.inpaint(x, masks, steps=2).image
    for i in range(2):
        alone = diffprior.inpaint(x[i], masks[i], steps=2).image
        assert torch.equal(both[i], alone)


def scene(name: str, row: int, column: int, side: int = SIDE) -> np.ndarray:
    with Image.open(f"data/samples/{name}.png") as image:
        return np.asarray(image.convert("RGB").crop((column, row, column + side, row + side)))


@pytest.mark.parametrize("moved", [(0, 0), (7, -11)])
@pytest.mark.parametrize(
    "name, row, column, at",
    [
        ("city", 200, 200, (90, 80)),
        ("city", 380, 60, (40, 118)),
        ("house", 276, 256, (80, 80)),
        ("flowers", 120, 300, (38, 30)),
        ("haze", 276, 256, (60, 100)),
        ("mc2", 100, 100, (100, 70)),
    ],
)
def test_a_reference_shows_what_is_hidden(
    name: str, row: int, column: int, at: tuple[int, int], moved: tuple[int, int]
) -> None:
    whole = scene(name, row, column)
    hole = disc(28, at)
    lost = np.where(hole[..., None], 128, whole).astype(np.uint8)
    other = scene(name, row + moved[0], column + moved[1])
    out = diffprior.inpaint(lost, hole, reference=[other])
    assert np.array_equal(np.asarray(out.image), whole)
    assert out.report["fill"] == "reference"
    assert out.report["reference"] == "fitted: it fills 100% of the hole"
    assert out.report["network_calls"] == 0


def test_an_unrelated_reference_changes_nothing_and_is_said() -> None:
    hole = disc(28)
    alone = diffprior.inpaint(photo(), hole)
    result = diffprior.inpaint(photo(), hole, reference=scene("girl", 200, 200))
    assert np.array_equal(np.asarray(result.image), np.asarray(alone.image))
    assert result.report["reference"] == "not fitted"
    assert "could not be fitted" in result.report["note"]


def test_a_reference_of_a_large_image_is_looked_at_where_the_hole_is() -> None:
    """A hole in a corner, which is filled from a window; the other shot is moved."""
    side = 500
    whole, other = scene("city", 40, 40, side), scene("city", 51, 33, side)
    y, x = np.ogrid[:side, :side]
    hole = (y - 60) ** 2 + (x - 430) ** 2 < 26**2
    hole[440:446, 60:200] = True
    lost = np.where(hole[..., None], 128, whole).astype(np.uint8)
    result = diffprior.inpaint(lost, hole, reference=other, steps=2)
    assert result.report["boxes"] == 2
    assert np.array_equal(np.asarray(result.image), whole)


def test_each_image_of_a_batch_has_its_own_place_in_a_reference() -> None:
    whole = [scene("city", row, 200) for row in (200, 221)]
    lost = np.stack([np.where(disc(28)[..., None], 128, x) for x in whole]) / 255
    x = torch.from_numpy(lost).permute(0, 3, 1, 2)
    out = diffprior.inpaint(x, disc(28), reference=scene("city", 190, 190, 220)).image
    assert np.array_equal((255 * out).round().permute(0, 2, 3, 1).numpy(), np.stack(whole))


def test_smooth_by_hand_takes_no_reference() -> None:
    hole = disc(28)
    result = diffprior.inpaint(photo(), hole, reference=photo(), fill="smooth", steps=2)
    assert "reference" not in result.report
    assert roughness(np.asarray(result.image), disc(20)) < 0.4


def test_a_reference_that_has_the_object_too_is_said() -> None:
    result = diffprior.inpaint(photo(), disc(28), reference=photo())
    assert "seen again" in result.report["note"]


def test_a_reference_for_gray_images_of_16_bits_is_exact() -> None:
    whole = scene("house", 276, 256).mean(2).astype(np.uint16) * 257
    lost = np.where(disc(28), 9000, whole).astype(np.uint16)
    assert np.array_equal(
        np.asarray(diffprior.inpaint(lost, disc(28), reference=whole).image), whole
    )


def test_a_prior_that_knows_objects_leads() -> None:
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 3, 64, 64), torch.full((1,), 0.1))
    hole = np.zeros((64, 64), bool)
    hole[8:56, 8:56] = True
    result = diffprior.inpaint(photo()[:64, :64], hole, prior=prior, steps=2)
    assert "Exemplar" not in result.report["method"]
    chosen = diffprior.inpaint(photo()[:64, :64], hole, prior=prior, fill="structure")
    assert "Exemplar" in chosen.report["method"]


def test_an_unknown_fill_is_one_sentence() -> None:
    with pytest.raises(SettingError, match="fill is one of auto, smooth, texture, structure, got"):
        diffprior.inpaint(photo(), disc(30), fill="magic")


def test_the_command_removes_an_object(tmp_path: Path) -> None:
    names = ["photo.png", "mask.png", "other.png", "out.png"]
    image, mask, other, out = (tmp_path / name for name in names)
    Image.fromarray(photo()).save(image)
    Image.fromarray((disc(26) * 255).astype(np.uint8)).save(mask)
    Image.fromarray(photo()[:, ::-1].copy()).save(other)

    def inpaint(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
        task = ("inpaint", "--mask", mask, image, "-o", out, "--force")
        return shell.diffprior(*task, *words, folder=tmp_path)

    run = inpaint("--reference", other)
    assert run.returncode == 0, run.stderr
    with Image.open(out) as made:
        filled = np.asarray(made)
        report = json.loads(made.info["diffprior"])
    assert np.array_equal(filled[~disc(26)], photo()[~disc(26)])
    assert report["method"].startswith("Exemplar(")
    refused = inpaint("--fill", "x")
    assert refused.returncode == 2
    assert "fill is one of auto, smooth, texture, structure" in shell.complaint(refused)


def test_a_prior_that_leads_starts_from_copies() -> None:
    """One denoising step at a tiny noise level leaves the first guess as it is."""
    prior = MixturePrior(torch.ones(1), torch.zeros(1, 3, SIDE, SIDE), torch.full((1,), 1e6))
    step = "dpir(start=0.011, steps=1)"
    out = diffprior.inpaint(photo(), disc(30), prior=prior, method=step)
    assert 0.6 < roughness(np.asarray(out.image), disc(25)) < 1.5
    smooth = diffprior.inpaint(photo(), disc(30), prior=prior, method=step, fill="smooth")
    assert roughness(np.asarray(smooth.image), disc(25)) < 0.2
