"""Training: a kill costs nothing, the optimizer does what it says, the loss falls."""

import csv
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffprior.catalog import shipped_priors
from diffprior.errors import SettingError
from diffprior.networks.nafunet import NAFUNet, load_network
from diffprior.networks.parameterizations import karras
from diffprior.objectives import edm as module
from diffprior.priors.network import NetworkPrior
from diffprior.training import commands
from diffprior.training.data import Crops
from diffprior.training.muon import Muon, orthogonalize
from diffprior.training.photographs import Photographs, View
from diffprior.training.trainer import SIGMAS, Trainer, TrainingConfig

from support.exact import random
from support.runs import call, refused

CONFIG = TrainingConfig(batch=4, patch=16, late_patch=32, warmup=2)


def waves(size: int, seed: int) -> np.ndarray:
    """Return a smooth color image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    angles, phases = rng.uniform(0, 12, (2, 3)), rng.uniform(0, 6, 3)
    image = np.sin(x[..., None] * angles[0] + y[..., None] * angles[1] + phases)
    return np.round(127.5 + 110 * image).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(8):
        path = tmp_path / "pictures" / ("a" if i < 6 else "b") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), waves(140, i)[:, :, ::-1])
    (tmp_path / "pictures" / "a" / "notes.txt").write_text("no image")
    return tmp_path / "pictures"


@pytest.fixture
def photographs(folder: Path) -> Photographs:
    return Photographs([folder], held_out=4)


def trainer(photographs: Photographs, out: Path, config: TrainingConfig = CONFIG) -> Trainer:
    torch.manual_seed(0)
    network = NAFUNet(channels=(8, 16), blocks=(1, 1), embedding=16)
    return Trainer(network, photographs, config, out)


def state(t: Trainer) -> list[Tensor]:
    """Return every tensor that a run's future depends on."""
    found = [*t.network.state_dict().values(), *t.ema.values()]
    for optimizer in t.optimizers:
        for values in optimizer.state_dict()["state"].values():
            found += [v for v in values.values() if torch.is_tensor(v)]
    return found


def test_a_kill_costs_nothing(photographs: Photographs, tmp_path: Path) -> None:
    """Three steps, a new process's worth of objects, three more: the very bits of six in a row."""
    whole = trainer(photographs, tmp_path / "whole")
    for i in range(6):
        whole.train_step(i / 6)
    first = trainer(photographs, tmp_path / "parts")
    for i in range(3):
        first.train_step(i / 6)
    first.save()
    first.train_step(0.9)  # lost in the kill
    torch.manual_seed(99)
    network = NAFUNet(channels=(8, 16), blocks=(1, 1), embedding=16)
    second = Trainer(network, photographs, CONFIG, tmp_path / "parts")
    assert second.resume() and second.step == 3
    for i in range(3, 6):
        second.train_step(i / 6)
    assert len(state(whole)) == len(state(second)) > 100
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(second), strict=True))


def test_nothing_to_resume_is_a_fresh_run(photographs: Photographs, tmp_path: Path) -> None:
    assert not trainer(photographs, tmp_path).resume()


def test_a_kill_while_saving_leaves_the_last_checkpoint(
    photographs: Photographs, tmp_path: Path, monkeypatch
) -> None:
    t = trainer(photographs, tmp_path)
    t.train_step(0.0)
    t.save()
    before = t.checkpoint.read_bytes()

    def killed(state: dict, file: BytesIO) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        t.save()
    assert t.checkpoint.read_bytes() == before


def test_another_seed_is_another_run(photographs: Photographs, tmp_path: Path) -> None:
    losses = [
        trainer(photographs, tmp_path, TrainingConfig(batch=4, patch=16, seed=seed)).train_step(0.0)
        for seed in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_the_loss_falls(photographs: Photographs, tmp_path: Path) -> None:
    config = TrainingConfig(batch=8, patch=16, late_patch=16, warmup=5)
    t = trainer(photographs, tmp_path, config)
    losses = torch.tensor([t.train_step(i / 160) for i in range(160)])
    assert losses[-20:].mean() < 0.8 * losses[:20].mean()


def test_the_moving_average_is_the_power_law(photographs: Photographs, tmp_path: Path) -> None:
    """ema_k = ema_(k-1) + (1 - (1 - 1/k)^(gamma + 1)) (w_k - ema_(k-1)); at first it is w_1."""
    t, expected = trainer(photographs, tmp_path), None
    power = 1 / CONFIG.ema - 2
    for k in range(1, 5):
        t.train_step(0.0)
        w = t.network.last.weight.detach().double().clone()
        expected = w if expected is None else expected + (1 - (1 - 1 / k) ** power) * (w - expected)
    torch.testing.assert_close(t.ema["last.weight"].double(), expected, rtol=1e-4, atol=1e-7)
    assert not torch.equal(t.ema["last.weight"], t.network.last.weight)


def test_the_loss_is_karras(tmp_path: Path, monkeypatch) -> None:
    """On white images, x_0 = 1: a fresh network says c_skip x, so the loss is known.

    The levels are stratified: the k-th of n lies in the k-th n-th of the log-normal law.
    """
    cv2.imwrite(str(tmp_path / "0.png"), np.full((64, 64, 3), 255, np.uint8))
    t, heard = trainer(Photographs([tmp_path]), tmp_path), []

    def listen(
        network: nn.Module, x: Tensor, sigma: Tensor, sigma_data: float, labels: None
    ) -> Tensor:
        heard.append((x, sigma))
        return karras(network, x, sigma, sigma_data, labels)

    monkeypatch.setattr(module, "karras", listen)
    loss, (x, sigma), d = t.train_step(0.0), heard[0], t.network.sigma_data
    law = module.EDM()
    s = sigma[:, None, None, None].double()
    error = d**2 / (s**2 + d**2) * x - 1
    expected = ((s**2 + d**2) / (s * d) ** 2 * error**2).mean()
    assert abs(loss - expected) < 1e-5 * expected
    assert abs((x - 1).div(s).std() - 1) < 4 / (2 * x.numel()) ** 0.5
    u = torch.special.ndtr((sigma.log() - law.p_mean) / law.p_std).sort().values
    assert (torch.arange(4) / 4 <= u).all() and (u <= torch.arange(1, 5) / 4).all()


def test_every_step_has_crops_and_noise_of_its_own(
    photographs: Photographs, tmp_path: Path, monkeypatch
) -> None:
    t, heard = trainer(photographs, tmp_path), []
    monkeypatch.setattr(
        module, "karras", lambda f, x, s, *d: heard.append((x, s)) or karras(f, x, s, *d)
    )
    for _ in range(3):
        t.train_step(0.0)
    for values in zip(*heard, strict=True):
        assert len(torch.stack([v.flatten() for v in values]).unique(dim=0)) == 3


def test_a_run_writes_its_curve_and_its_weights(photographs: Photographs, tmp_path: Path) -> None:
    t, seen = trainer(photographs, tmp_path / "run"), []
    t.run(minutes=1e-4, callback=lambda trainer, share: seen.append(share))
    rows = list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))
    assert list(rows[0]) == ["minutes", "step", "loss", *SIGMAS]
    assert int(rows[-1]["step"]) == t.step == len(seen) and seen[-1] >= 1
    psnr = [float(rows[-1][name]) for name in SIGMAS]
    assert psnr == sorted(psnr, reverse=True)  # the noisier, the worse
    saved = load_network(tmp_path / "run" / "weights").state_dict()
    for name, value in t.ema.items():
        torch.testing.assert_close(saved[name], value.half().float())
    again = trainer(photographs, tmp_path / "run")
    assert again.resume() and again.seconds == t.seconds
    again.run(minutes=1e-4)
    assert again.step == t.step  # its time is over


def test_the_command_trains_without_optional_packages(folder: Path, tmp_path: Path) -> None:
    """The command as a process, without the packages; it says what it skips."""
    out = tmp_path / "run"
    code = f"""
import sys
import typer
sys.modules |= dict.fromkeys(("diffusers", "matplotlib"))
sys.argv = ["train", {str(folder)!r}, "--out", {str(out)!r}, "--minutes", "0.0001", "--batch", "1"]
from diffprior.training.commands import train
typer.run(train)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (out / "weights" / "config.json").exists() and not (out / "curve.png").exists()
    assert "no learning curve was drawn: figures are drawn by matplotlib" in done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [(["nowhere"], "no image in nowhere"), (["nowhere", "--source", "a"], "is NAME=WEIGHT")],
)
def test_the_command_refuses_in_a_sentence(
    tmp_path: Path, monkeypatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").mkdir()
    refused(call(*arguments, "--out", "run"), message)


def test_the_command_reads_classes(tmp_path: Path) -> None:
    """A file of labeled images gets a network of their size, channels and classes."""
    y = np.repeat(np.arange(3), 4)
    x = np.broadcast_to((40 + 80 * y).astype(np.uint8)[:, None, None], (12, 16, 16))
    np.savez(tmp_path / "small.npz", x_train=x, y_train=y, x_test=x)
    network, config = commands._prepare(*commands._read([tmp_path / "small.npz"], {}, 8, 0))
    assert (network.classes, config.patch, config.late_patch, config.batch) == (3, 16, 16, 8)
    assert network.settings["image_channels"] == 1 and network.settings["size"] == 16


def test_a_run_starts_from_a_shipped_prior() -> None:
    network = commands._initial(Path("photo"), NAFUNet())
    shipped = load_network(shipped_priors()["photo"])
    assert torch.equal(network.first.weight, shipped.first.weight)


def test_a_run_takes_more_columns_from_outside(photographs: Photographs, tmp_path: Path) -> None:
    """What is measured is the moving average; a curve begun without the column keeps its rows."""
    t, seen = trainer(photographs, tmp_path / "run"), []
    t.train_step(0.0)
    t.save()
    t.record()

    def measure(prior: NetworkPrior) -> dict[str, float]:
        seen.append(prior.network.state_dict())
        return {"hole": 30.123}

    t.train_step(0.0)
    t.record(measure)
    rows = list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))
    assert [r["hole"] for r in rows] == ["", "30.12"] and [r["step"] for r in rows] == ["1", "2"]
    assert all(torch.equal(v, t.ema[k]) for k, v in seen[0].items())


def test_a_run_without_validation_images_goes_on(folder: Path, tmp_path: Path) -> None:
    """Few images, none held out: the curve has no PSNR, and nothing is lost."""
    t = trainer(Photographs([folder]), tmp_path / "run")
    t.run(minutes=1e-4)
    assert t.checkpoint.exists() and (tmp_path / "run" / "curve.csv").exists()


def test_rates_rise_stay_and_fall() -> None:
    config = TrainingConfig(warmup=10, decay=0.5)
    assert config.rate(0.0, 0) == 0.1 and config.rate(0.1, 10) == 1.0 == config.rate(0.5, 999)
    assert abs(config.rate(0.75, 999) - 0.5) < 1e-12 and 0 < config.rate(1.0, 999) < 0.02


def test_late_crops_are_larger_and_fewer() -> None:
    config = TrainingConfig(batch=32, patch=64, late_patch=128, decay=0.3)
    assert config.shape(0.69) == (32, 64) and config.shape(0.71) == (8, 128)
    assert TrainingConfig(batch=1, patch=16, late_patch=64).shape(1.0) == (1, 64)


@pytest.mark.parametrize("shape", [(3, 16, 48), (2, 64, 16), (1, 32, 32)], ids=str)
def test_orthogonalise_makes_singular_values_near_one(shape: tuple[int, ...]) -> None:
    """Their order and their vectors stay; what is above 1/20 of the norm comes to 0.65 .. 1.25."""
    x = random(*shape, dtype=torch.float32)
    out = orthogonalize(x)
    s_in = torch.linalg.svdvals(x) / x.flatten(1).norm(dim=1)[:, None]
    s = torch.linalg.svdvals(out)
    assert out.shape == x.shape and s.max() < 1.25 and s[s_in > 0.05].min() > 0.65
    U, _, Vh = torch.linalg.svd(x, full_matrices=False)
    middle = U.mT @ out @ Vh.mT
    off = middle - torch.diag_embed(middle.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-3


def test_orthogonalise_knows_no_size() -> None:
    x = random(2, 8, 24, dtype=torch.float32)
    torch.testing.assert_close(orthogonalize(1e4 * x), orthogonalize(x), rtol=1e-3, atol=1e-4)
    assert orthogonalize(torch.zeros(1, 4, 4)).isfinite().all()


def test_muon_steps_down_with_momentum() -> None:
    """p -= rate * orth(g + 0.95 m), m = 0.95 m + g, for kernels as matrices of their outputs."""
    p = nn.Parameter(random(8, 4, 3, 3, dtype=torch.float32))
    start, optimizer = p.detach().clone(), Muon([p], lr=0.1)
    g1, g2 = (random(8, 4, 3, 3, seed=s, dtype=torch.float32) for s in (1, 2))
    for g in (g1, g2):
        p.grad = g.clone()
        optimizer.step()
    updates = [g1 + 0.95 * g1, g2 + 0.95 * (0.95 * g1 + g2)]
    steps = [orthogonalize(u.reshape(1, 8, 36)).reshape(p.shape) for u in updates]
    torch.testing.assert_close(p.detach(), start - 0.1 * (steps[0] + steps[1]))


def test_muon_does_not_mix_kernels_of_one_shape() -> None:
    ps = [nn.Parameter(torch.zeros(4, 4, 1, 1)) for _ in range(2)]
    for i, p in enumerate(ps):
        p.grad = random(4, 4, 1, 1, seed=i, dtype=torch.float32)
    Muon(ps, lr=1.0).step()
    alone = nn.Parameter(torch.zeros(4, 4, 1, 1))
    alone.grad = random(4, 4, 1, 1, seed=1, dtype=torch.float32)
    Muon([alone], lr=1.0).step()
    torch.testing.assert_close(ps[1].detach(), alone.detach())


def test_photographs_are_read_from_folders_and_zips(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    for path in (folder, tmp_path / "all.zip"):
        images = Photographs([path], held_out=4)
        assert {k: len(v) for k, v in images.sources.items()} == {"a": 5, "b": 1}
        assert len(images.validation) == 2
        assert [x[1:] for x in images.sources["a"][0]] == [(140, 140), (70, 70), (35, 35)]
        first = images.pixels[: 140 * 140].reshape(140, 140, 3).numpy()
        assert np.array_equal(first, waves(140, 0))  # RGB, as it was


def test_crops_are_what_slices_turns_and_mirrors_make(folder: Path) -> None:
    """A crop gathered from its view is the image sliced, turned counterclockwise, mirrored."""
    x = waves(140, 0)
    view = View(3 * 140 + 7, 140, 1)
    images, square = Photographs([folder]), x[3:23, 7:27]
    for turns in range(4):
        expected = np.rot90(square, turns)
        for got, want in ((view, expected), (view.mirrored(20), expected[:, ::-1])):
            i, j = np.mgrid[:20, :20]
            index = torch.from_numpy(got.corner + i * got.down + j * got.right)
            assert np.array_equal(images.pixels[index].numpy(), want)
        view = view.turned(20)


def test_every_crop_is_one_of_its_image(tmp_path: Path) -> None:
    """Each pixel says where it is: neighbors in a crop were neighbors in the one image."""
    i, j = np.mgrid[:40, :50].astype(np.uint8)
    for k in range(2):
        image = np.stack([np.full_like(i, k), i, j], -1)
        cv2.imwrite(str(tmp_path / f"{k}.png"), image[:, :, ::-1])
    x, _ = Photographs([tmp_path]).batch(np.random.default_rng(0), 50, 16, Crops(half=0, quarter=0))
    number, rows, columns = x.int().unbind(1)
    assert (number == number[:, :1, :1]).all() and len(number.unique()) == 2
    for axis in (1, 2):
        steps = rows.diff(dim=axis).abs() + columns.diff(dim=axis).abs()
        assert (steps == 1).all()


def test_no_image_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="^no image in "):
        Photographs([tmp_path])
    with pytest.raises(ValueError, match="^no image in no path at all$"):
        Photographs([])


def test_sources_are_drawn_by_weight(tmp_path: Path) -> None:
    """Black and white sources, 3 : 1: 2000 crops to 4 standard errors."""
    for source, value, count in (("black", 0, 5), ("white", 255, 1)):
        (tmp_path / source).mkdir()
        for i in range(count):
            cv2.imwrite(str(tmp_path / source / f"{i}.png"), np.full((20, 20, 3), value, np.uint8))
    images = Photographs([tmp_path], weights={"black": 3.0})
    x, _ = images.batch(np.random.default_rng(0), 2000, 8)
    share = (x[:, 0, 0, 0] == 0).double().mean()
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / 2000) ** 0.5


@pytest.mark.parametrize("side", [16, 64, 140])
def test_crops_come_from_all_sizes_that_have_room(photographs: Photographs, side: int) -> None:
    x, _ = photographs.batch(np.random.default_rng(0), 20, side, Crops(half=0.5, quarter=0.4))
    assert x.shape == (20, 3, side, side) and x.dtype == torch.uint8
    assert len(x.flatten(1).unique(dim=0)) > 5


def test_a_crop_without_room_is_one_sentence(photographs: Photographs) -> None:
    with pytest.raises(ValueError, match="large enough for a crop of 141 pixels$"):
        photographs.batch(np.random.default_rng(0), 1, 141)


def test_crops_are_turned_and_mirrored_as_told(tmp_path: Path) -> None:
    """A ramp from left to right: without turns it never runs down."""
    ramp = np.tile(np.arange(0, 200, 10, dtype=np.uint8)[None, :, None], (20, 1, 3))
    cv2.imwrite(str(tmp_path / "0.png"), ramp)
    images, rng = Photographs([tmp_path]), np.random.default_rng(0)
    plain = images.batch(rng, 200, 8, Crops(half=0, quarter=0, turn=0))[0].float()
    assert plain.diff(dim=2).abs().max() == 0
    mirrored = (plain[:, 0, 0, 0] > plain[:, 0, 0, 1]).double().mean()
    assert abs(mirrored - 0.5) < 4 * 0.5 / 200**0.5
    turned = images.batch(rng, 200, 8, Crops(half=0, quarter=0, turn=1))[0].float()
    down = (turned.diff(dim=2).abs().amax((1, 2, 3)) > 0).double().mean()
    assert abs(down - 0.5) < 4 * 0.5 / 200**0.5


def test_crops_and_held_out_images_that_cannot_be_are_refused(folder: Path) -> None:
    """Shares above 1 together would lose a part of the larger one; of 1 in 1 none would be left."""
    with pytest.raises(SettingError, match="half and quarter of Crops are at most 1 together"):
        Crops(half=0.9, quarter=0.2)
    with pytest.raises(SettingError, match="held_out is a whole number from 2 on, got 1"):
        Photographs([folder], held_out=1)
