"""Files of inversions: what is read is what was written, and nothing else is read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import diffprior
from diffprior import bands
from diffprior.catalog import SettingError, build, names, spell
from diffprior.editing.trajectory import Trajectory
from diffprior.inversions.edit_friendly import EditFriendly
from diffprior.inversions.flow import FlowInversion
from diffprior.io.arrays import ImageError, as_images, digest
from diffprior.priors.mixture import MixturePrior
from diffprior.samplers.heun import Heun

from support.exact import random

REPORT = {"prior": "tiny", "prior_sha256": "a" * 64}


def trajectory(**changes: object) -> Trajectory:
    given = as_images(random(1, 3, 4, 5).sigmoid().float())
    made = {
        "inversion": EditFriendly(steps=7, eta=0.5, stop=1 / 3),
        "code": {"x_T": random(1, 3, 4, 5).float(), "z": random(1, 7, 3, 4, 5, seed=1).float()},
        "prior": "tiny",
        "sha256": "a" * 64,
        "condition": {"prompt": 'a "cat" \N{SNOWMAN}', "guidance": 1.0},
        "size": given.size,
        "picture": digest(given),
    }
    return Trajectory(**made | changes)


@pytest.mark.parametrize("name", names("inversions"))
def test_every_inversion_is_spelled_as_it_is_built(name: str) -> None:
    made = build(name, ("inversions",))
    assert build(spell(made), ("inversions",)) == made


def test_settings_are_spelled_in_turn() -> None:
    made = FlowInversion(sampler=Heun(steps=3), rounds=2, stop=0.1 + 0.2)
    assert build(spell(made), ("inversions",)) == made


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = trajectory()
    (tmp_path / "a.safetensors").write_bytes(made.data())
    found = Trajectory.read(tmp_path / "a.safetensors")
    assert {k: v for k, v in vars(found).items() if k != "code"} == {
        k: v for k, v in vars(made).items() if k != "code"
    }
    assert found.code["x_T"].dtype == torch.float32 and found.code["z"].dtype == torch.float16
    assert all(torch.equal(found.code[k], made.code[k]) for k in made.code)
    found.check(REPORT, as_images(random(1, 3, 4, 5).sigmoid().float()))


def test_a_large_file_is_written_and_read_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of 50 steps of a photo of 24 megapixels has 7 GB."""
    made = trajectory()
    whole = made.data()
    monkeypatch.setattr(bands, "MUCH", 100)
    monkeypatch.setattr(bands, "BAND", 64)
    pieces = list(made.pieces())
    assert len(pieces) > 3 and len(b"".join(pieces)) == pytest.approx(len(whole), abs=64)
    (tmp_path / "a.safetensors").write_bytes(b"".join(pieces))
    with safe_open(tmp_path / "a.safetensors", "pt") as data:
        assert all(data.get_tensor(k).equal(v) for k, v in made.code.items())
    found = Trajectory.read(tmp_path / "a.safetensors")
    assert all(found.code[k].equal(v) for k, v in made.code.items())
    assert {k: v for k, v in vars(found).items() if k != "code"} == {
        k: v for k, v in vars(made).items() if k != "code"
    }
    assert found.code["z"].untyped_storage().data_ptr() in bands._files


def test_a_file_from_before_there_were_adapters_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(trajectory(added={"lora": "ink"}).data())
    with safe_open(tmp_path / "a.safetensors", "pt") as data:
        found, code = data.metadata(), {k: data.get_tensor(k) for k in data.keys()}
    assert Trajectory.read(tmp_path / "a.safetensors").added == {"lora": "ink"}
    notes = json.loads(found["notes"])
    del notes["added"]
    save_file(code, tmp_path / "b.safetensors", found | {"notes": json.dumps(notes)})
    made = Trajectory.read(tmp_path / "b.safetensors")
    made.check(REPORT, None)
    assert made.added == {}


@pytest.mark.parametrize("content", [b"", b"no tensors at all", b"\x08" + b"\0" * 7 + b"{}      "])
def test_foreign_files_are_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    with pytest.raises(SettingError, match="a.safetensors is (damaged|no inversion)"):
        Trajectory.read(file)
    with pytest.raises(SettingError, match="b.safetensors cannot be read: No such file"):
        Trajectory.read(tmp_path / "b.safetensors")


def test_weights_are_no_inversion(tmp_path: Path) -> None:
    save_file({"x_T": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": "pt"})
    with pytest.raises(SettingError, match="no inversion that this version reads.*it says 'pt'"):
        Trajectory.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("report", "image", "error", "words"),
    [
        ({"prior_sha256": "b" * 64}, (1, 3, 4, 5), SettingError, "tiny .sha256 aaaaaaaaaaaa.*bbbb"),
        ({"prior_sha256": None}, (1, 3, 4, 5), SettingError, "made with the prior tiny"),
        ({}, (1, 3, 4, 6), ImageError, "of an image of 5x4; got 6x4"),
        ({}, (1, 3, 4, 5), ImageError, "another image of the same size"),
    ],
)
def test_another_prior_or_image_is_one_sentence(report, image, error, words: str) -> None:
    given = as_images(random(*image, seed=1).sigmoid().float())
    with pytest.raises(error, match=words):
        trajectory().check(REPORT | report, given)


def test_a_prior_without_weights_goes_by_its_name() -> None:
    made = trajectory(sha256=None)
    made.check({"prior": "tiny", "prior_sha256": None}, None)
    with pytest.raises(SettingError, match="got other"):
        made.check({"prior": "other", "prior_sha256": None}, None)


def test_what_is_lost_by_half_precision_is_not_seen() -> None:
    """Round trips from the stored code, in dB; states in full precision are exact to rounding."""
    one = torch.ones(2)
    prior = MixturePrior(one, random(2, 3, 8, 8, dtype=torch.float32) / 2, 0.05 * one)
    x = random(3, 8, 8, seed=4, dtype=torch.float32).sigmoid()
    for name, bar in (("edit_friendly", 80), ("direct", 80), ("edict", 55)):
        out = diffprior.invert(x, inversion=name, prior=prior)
        assert out.report["round_trip_psnr"][0] > bar, name
