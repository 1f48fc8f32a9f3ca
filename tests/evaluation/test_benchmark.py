"""The benchmark: right numbers, through kills, beside what is n/a, broken or published."""

import base64
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from typer.testing import CliRunner

from diffprior import metrics
from diffprior.catalog import SettingError, build
from diffprior.classical import baselines
from diffprior.errors import MetricError
from diffprior.evaluation import benchmark as module
from diffprior.evaluation import commands, scores
from diffprior.evaluation.benchmark import Options
from diffprior.evaluation.datasets import corrupt, likelihood, manifest
from diffprior.likelihoods.gaussian import GaussianLikelihood
from diffprior.operators.bicubic import Bicubic
from diffprior.operators.blur import Blur
from diffprior.operators.circular_blur import CircularBlur
from diffprior.operators.identity import Identity
from diffprior.operators.mask import Mask
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise
from diffprior.runtime.surroundings import Surroundings

from support.text import unpadded

ROOT = Path(__file__).parents[2]
SIDE, SPREAD = 32, 0.2
RECIPE = """
title = "Three problems"
pictures = "images of others"
prior = "a prior of others"
source = "read in a paper"

[[problem]]
name = "noise"
operator = "identity()"
sigma = 0.1
published = [{ method = "Theirs", psnr = 31.4, fid = 5.0 }, { method = "Other", lpips = 0.1 }]

[[problem]]
name = "pixels"
operator = "mask(keep={drawn})"
draw = { kind = "pixels", share = 0.5 }
sigma = 0.05

[[problem]]
name = "blur"
operator = "circular_blur(kernel={drawn})"
draw = { kind = "gaussian", low = 0.5, high = 1.5, size = 9 }
sigma = 0.05
"""
DDRM = "ddrm(sampler=ancestral(steps=4))"
REPAINT = "repaint(steps=4, jump=2, repeats=1)"
METHODS = (DDRM, REPAINT, "classical:pinv", "classical:nlm")
SHIPPED = ["dpir(start=0.4, steps=3)", "classical:pinv"]
TIMES = ("seconds", "memory")


def benchmark(
    data: Path, out: Path, methods: tuple | list, *, prior=None, say=print, **options
) -> int:
    """Run the benchmark, without LPIPS if nothing else is said."""
    settings = Options(**{"lpips": False} | options)
    return module.benchmark(data, out, methods, settings, prior=prior, say=say)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of independent Gaussian pixels, measured three times each."""
    folder = tmp_path_factory.mktemp("benchmark")
    for k, name in enumerate(("a.png", "b.png", "c.png")):
        x = SPREAD * np.random.default_rng(k).standard_normal((SIDE, SIDE, 3))
        Image.fromarray(((x + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save(folder / name)
    (folder / "r.toml").write_text(RECIPE)
    assert corrupt(sorted(folder.glob("*.png")), folder / "r.toml", folder / "data", seed=5) == 0
    return folder / "data"


@pytest.fixture(scope="module")
def prior() -> MixturePrior:
    """The law that the images were drawn from."""
    return MixturePrior(torch.ones(1), torch.zeros(1, 3, SIDE, SIDE), torch.tensor([SPREAD**2]))


@pytest.fixture(scope="module")
def out(data: Path, prior: MixturePrior, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    assert benchmark(data, folder, METHODS, prior=prior, samples=2) == 0
    return folder


def results(out: Path) -> dict[tuple[str, str], dict]:
    """Return rows without what a clock or another batch changes."""
    found = scores.rows(out)
    return {(r["id"], r["method"]): {k: v for k, v in r.items() if k not in TIMES} for r in found}


def images(out: Path) -> dict[str, bytes]:
    found = (out / "images").rglob("*.png")
    return {str(p.relative_to(out)): p.read_bytes() for p in found}


def test_numbers_by_another_way(data: Path, prior: MixturePrior, out: Path) -> None:
    item = next(i for i in manifest(data) if i.id == "pixels/b.png")
    row = results(out)[item.id, DDRM]
    given, truth = likelihood([item]), item.truth()
    x = build(DDRM, ("methods",))(prior, given, 2, 0, ids=["pixels/b.png restored"])
    light, clean = (x.clamp(-1, 1).numpy() + 1) / 2, (truth.numpy() + 1) / 2
    each = [peak_signal_noise_ratio(clean, z, data_range=1) for z in light]
    assert row["psnr"] == pytest.approx(np.mean(each), abs=1e-3)
    mean = ((x.mean(0).clamp(-1, 1) - truth) ** 2).mean().item()
    assert row["psnr_mean"] == pytest.approx(10 * np.log10(4 / mean), abs=1e-3)
    keep = np.load(data / "arrays/pixels/b.png.npy")
    errors = [keep * (np.load(data / item.row["measurement"]) - z.numpy()) for z in x]
    chi2 = [(e**2).sum() / (3 * keep.sum() * 0.1**2) for e in errors]
    assert row["chi2"] == pytest.approx(np.mean(chi2), rel=1e-4)
    assert (row["calls"], row["gradients"], row["samples"], row["status"]) == (4, 0, 2, "ok")
    saved = np.asarray(Image.open(out / row["restored"]))
    assert np.abs(saved - 255 * light[0].transpose(1, 2, 0)).max() <= 0.5 + 1e-3


def test_only_a_hole_has_a_patch_distance(data: Path, out: Path) -> None:
    item = next(i for i in manifest(data) if i.id == "pixels/b.png")
    hole = ~torch.from_numpy(np.load(data / "arrays/pixels/b.png.npy"))[None]
    x = baselines.restore("classical:pinv", likelihood([item]))
    expected = metrics.patch_distance(x, item.truth()[None], hole).item()
    found = results(out)
    assert found[item.id, "classical:pinv"]["patches"] == pytest.approx(expected, rel=1e-5)
    with_distance = {k[0].split("/")[0] for k, r in found.items() if "patches" in r}
    assert with_distance == {"pixels"}
    parts = (out / "table.md").read_text().split("\n## ")
    assert [part.split()[0] for part in parts if "patch distance" in part] == ["pixels"]


def test_a_hole_without_room_for_patches_has_no_patch_distance() -> None:
    x = photograph()
    keep = torch.ones(1, 48, 48, dtype=torch.bool)
    keep[:, 20:22] = False
    keep[:, :, :44] = True
    given = GaussianLikelihood(operator=Mask(keep), sigma=0.0).measure(x, Noise(1))
    row = scores.measure(x[:, None], x, given, lpips=False)[0]
    assert "patches" not in row and row["psnr"] == float("inf")


class Exact:
    """Samples of the posterior of the images, measured with noise."""

    stochastic = True

    def __call__(self, prior, given, n, seed, *, ids, batch_size) -> torch.Tensor:
        gain = SPREAD**2 / (SPREAD**2 + given.sigma**2)
        mean = (gain * given.y).repeat_interleave(n, 0)
        return mean + gain**0.5 * given.sigma * Noise(seed, ids, n).normal(mean)


def test_coverage_and_chi2_of_exact_samples(
    data: Path, prior: MixturePrior, tmp_path: Path, monkeypatch
) -> None:
    """Of 21 samples, the interval is that of the 2nd to the 20th: 18 in 22 truths lie there.

    y - x is N(0, sigma^2) as a truth's, so chi^2 is 1. To 4 standard errors of 9,216 entries.
    """
    found, expected = sorted(data.parent.glob("*.png")), 18 / 22
    corrupt(found, data / "recipe.toml", tmp_path / "data", seed=5, problems=["noise"])
    monkeypatch.setattr(module, "_method", lambda text: Exact())
    benchmark(tmp_path / "data", tmp_path, ["exact"], prior=prior, samples=21)
    rows = results(tmp_path).values()
    error = (expected * (1 - expected) / (9 * SIDE**2)) ** 0.5
    assert abs(np.mean([r["coverage"] for r in rows]) - expected) < 4 * error
    assert abs(np.mean([r["chi2"] for r in rows]) - 1) < 4 * (2 / (9 * SIDE**2)) ** 0.5
    assert "exact samples covers the truth about 0.82" in (tmp_path / "table.md").read_text()


def test_a_batch_is_its_items(data: Path, prior: MixturePrior, out: Path, tmp_path: Path) -> None:
    benchmark(data, tmp_path, METHODS, prior=prior, samples=2, batch=1)
    assert results(tmp_path) == results(out) and images(tmp_path) == images(out)


def test_what_does_not_apply_is_told(out: Path) -> None:
    found = results(out)
    assert len(found) == 9 * len(METHODS)
    missing = {k: r["reason"] for k, r in found.items() if r["status"] == "n/a"}
    assert {k[0].split("/")[0] for k in missing if k[1] == REPAINT} == {"noise", "blur"}
    assert missing["blur/a.png", REPAINT] == "RePaint needs a Mask, got CircularBlur"
    assert missing["blur/a.png", "classical:nlm"] == (
        "classical:nlm works on Identity, got CircularBlur"
    )
    text = (out / "table.md").read_text()
    assert "n/a, 3 of 3: RePaint needs a Mask, got CircularBlur" in text


def test_one_broken_item_does_not_stop_the_rest(
    data: Path, prior: MixturePrior, tmp_path: Path, monkeypatch
) -> None:
    """A damaged file, and a method that fails on one image alone; errors are tried again."""
    path = data / "measurements" / "noise" / "b.png.npy"
    whole, said = path.read_bytes(), []
    path.write_bytes(whole[:-100])
    out = tmp_path / "out"
    try:
        assert benchmark(data, out, [DDRM], prior=prior, say=said.append) == 1
    finally:
        path.write_bytes(whole)
    found = results(out)
    assert [k for k, r in found.items() if r["status"] != "ok"] == [("noise/b.png", DDRM)]
    assert sum("not the measurement" in line for line in said) == 1 and len(said) == 9
    assert "error, 1 of 3" in (out / "table.md").read_text()
    before = images(out)
    assert benchmark(data, out, [DDRM], prior=prior) == 0
    assert images(out).items() > before.items() and len(images(out)) == 9
    assert len((out / "rows.0.jsonl").read_text().splitlines()) == 10

    def restore(name: str, given: GaussianLikelihood) -> torch.Tensor:
        if any(torch.equal(y, hurt) for y in given.y):
            raise RuntimeError("the second\nis too hard")
        return given.y

    hurt = torch.from_numpy(np.load(path))
    monkeypatch.setattr(module.baselines, "restore", restore)
    assert benchmark(data, out, ["classical:pinv"], prior=prior, say=said.append) == 1
    bad = [r for r in results(out).values() if r["status"] == "error"]
    assert [(r["id"], r["reason"]) for r in bad] == [("noise/b.png", "the second is too hard")]


def test_a_finished_item_is_not_done_again(
    data: Path, prior: MixturePrior, out: Path, tmp_path: Path, monkeypatch
) -> None:
    """A line that was cut off is done again, alone; a folder of other settings is refused."""
    benchmark(data, tmp_path, METHODS, prior=prior, samples=2)
    rows = tmp_path / "rows.0.jsonl"
    text = rows.read_text()
    rows.write_text(text[:-40])
    done, solve = [], module._Runner._solve
    monkeypatch.setattr(
        module._Runner, "_solve", lambda self, x, *a: done.extend(x) or solve(self, x, *a)
    )
    benchmark(data, tmp_path, METHODS, prior=prior, samples=2)
    assert [i.id for i in done] == [json.loads(text.splitlines()[-1])["id"]]
    assert results(tmp_path) == results(out) and images(tmp_path) == images(out)
    with pytest.raises(SettingError, match="other settings"):
        benchmark(data, tmp_path, METHODS, prior=prior, samples=3)


def test_lpips_is_measured_where_it_can_be_had(
    data: Path, prior: MixturePrior, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(
        scores.metrics, "lpips", lambda x, truth: (x - truth).flatten(1).norm(dim=1)
    )
    benchmark(data, tmp_path / "a", ["classical:pinv"], prior=prior, lpips=True)
    assert all(r["lpips"] > 0 for r in results(tmp_path / "a").values())

    def refuse(x: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        raise MetricError("LPIPS needs weights")

    monkeypatch.setattr(scores.metrics, "lpips", refuse)
    benchmark(data, tmp_path / "b", ["classical:pinv"], prior=prior, lpips=True)
    assert (tmp_path / "b" / "table.md").read_text().count("LPIPS: n/a. LPIPS needs weights") == 1


# Reports


def test_means_and_their_errors(out: Path) -> None:
    lines = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    line = next(x for x in lines if (x["problem"], x["method"]) == ("noise", DDRM))
    values = [r["psnr"] for k, r in results(out).items() if k[0][:5] == "noise" and k[1] == DDRM]
    assert line["n"] == "3" and float(line["psnr"]) == pytest.approx(np.mean(values), rel=1e-5)
    assert float(line["psnr_error"]) == pytest.approx(np.std(values, ddof=1) / 3**0.5, rel=1e-4)


def test_published_figures_stand_below_ours_with_their_source(out: Path) -> None:
    lines = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    (theirs,) = [x for x in lines if x["method"] == "Theirs"]
    assert (theirs["kind"], theirs["psnr"], theirs["fid"]) == ("published", "31.4", "5")
    assert theirs["said"] == "read in a paper" and theirs["psnr_error"] == ""
    text = unpadded((out / "table.md").read_text())
    assert "| Theirs, published [1] | | 31.40 |" in text and "- [1] read in a paper" in text
    assert "on images of others, with a prior of others" in text
    assert "sigma 0.1 in [0, 1], 0.2 in [-1, 1]" in text and "prior MixturePrior" in text


class Page(HTMLParser):
    """Collects the images, the heads of tables and all addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources, self.links, self.open, self.heads = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.links += [v for k, v in attrs if k in ("href", "src") and not v.startswith("data:")]
        self.sources += [v for k, v in attrs if k == "src"]
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "th":
            self.heads.append(data)


def test_the_page_needs_nothing_else(out: Path) -> None:
    text = (out / "report.html").read_text()
    page = Page(text)
    assert not page.links and not page.open and "url(" not in text
    restored = sum(r["status"] == "ok" for r in results(out).values())
    assert len(page.sources) == 2 * 9 + 2 * restored
    for source in page.sources:
        data = base64.b64decode(source.removeprefix("data:image/jpeg;base64,"), validate=True)
        assert Image.open(BytesIO(data)).size == (SIDE, SIDE)
    assert {"method", "PSNR, dB", "LPIPS", "chi^2", "coverage"} <= set(page.heads)
    assert 'querySelectorAll("th")' in text and "Theirs, published [1]" in text
    assert not re.search(r"https?://", text)


# Kills and processes: the commands


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run with the shipped prior gives that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert benchmark(data, folder, SHIPPED, batch=1) == 0
    return folder


def start(data: Path, out: Path, **environment: str) -> subprocess.Popen:
    given = [part for method in SHIPPED for part in ("--method", method)]
    code = "import typer; from diffprior.evaluation.commands import bench; typer.run(bench)"
    line = [sys.executable, "-c", code, str(data), str(out), "--batch", "1", *given, "--no-lpips"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, cwd=ROOT, env={**os.environ, **environment}, **quiet)


def test_a_killed_run_goes_on(data: Path, whole: Path, tmp_path: Path) -> None:
    process, rows = start(data, tmp_path), tmp_path / "rows.0.jsonl"
    while process.poll() is None and not (rows.exists() and b"\n" in rows.read_bytes()):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert 0 < rows.read_bytes().count(b"\n") < len(results(whole))
    kept = rows.read_bytes()[: rows.read_bytes().rfind(b"\n") + 1]
    assert benchmark(data, tmp_path, SHIPPED, batch=1) == 0
    assert rows.read_bytes().startswith(kept)
    assert results(tmp_path) == results(whole) and images(tmp_path) == images(whole)


def test_two_processes_share_the_work(data: Path, whole: Path, tmp_path: Path) -> None:
    both = [start(data, tmp_path, RANK=str(k), WORLD_SIZE="2") for k in (0, 1)]
    for process in both:
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
    counts = [len((tmp_path / f"rows.{k}.jsonl").read_text().splitlines()) for k in (0, 1)]
    assert counts == [10, 8]
    assert results(tmp_path) == results(whole) and images(tmp_path) == images(whole)
    drop = re.compile(r"(seconds|memory).*")
    tables = [(f / "table.csv").read_text().splitlines() for f in (tmp_path, whole)]
    first, second = ([drop.sub("", ",".join(line.split(",")[:16])) for line in t] for t in tables)
    assert first == second


def test_exit_codes(data: Path, tmp_path: Path) -> None:
    """1 where a row is an error, 2 for wrong usage."""
    broken = shutil.copytree(data, tmp_path / "data")
    (broken / "truths" / "a.png.png").unlink()
    given = {"method": ["classical:pinv"], "lpips": False}
    for folder, code in ((data, 0), (broken, 1)):
        with pytest.raises(typer.Exit) as done:
            commands.bench(folder, tmp_path / str(code), **given)
        assert done.value.exit_code == code
    words = "no method 'classical:magic'; did you mean 'classical:"
    with pytest.raises(typer.BadParameter, match=words):
        commands.bench(data, tmp_path / "2", ["classical:magic"])


def test_corrupt_from_the_command_line(tmp_path: Path, data: Path) -> None:
    app = typer.Typer()
    app.command()(commands.corrupt)
    more = [str(tmp_path), "--seed", "5", "--limit", "2", "--problem", "noise"]
    done = CliRunner().invoke(app, [str(data.parent), str(data / "recipe.toml"), *more])
    assert done.exit_code == 0, done.output
    for item in manifest(tmp_path):
        same = item.row["measurement"]
        assert (tmp_path / same).read_bytes() == (data / same).read_bytes()
    assert len(manifest(tmp_path)) == 2


def test_a_recipe_that_is_not_there_is_one_sentence(tmp_path: Path, data: Path) -> None:
    app = typer.Typer()
    app.command()(commands.corrupt)
    call = [str(data.parent), "nothing", str(tmp_path)]
    done = CliRunner().invoke(app, call, env={"COLUMNS": "300"})
    assert done.exit_code == 2 and "no recipe 'nothing'; write a path, or one of" in done.output


def test_the_commands_import_nothing_heavy() -> None:
    """Their options and the list of recipes are read without torch."""
    code = """
import sys
from diffprior.evaluation import commands as evaluation
from diffprior.training import commands as training
assert evaluation.recipes()["daps-ffhq"]
heavy = {"torch", "numpy", "cv2", "jinja2", "tabulate", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Classical methods


def photograph(side: int = 48) -> torch.Tensor:
    image = Image.open(ROOT / "data" / "samples" / "dog.png").convert("RGB").resize((side, side))
    return torch.from_numpy(np.array(image)).movedim(-1, 0)[None] / 127.5 - 1


def likelihoods(x: torch.Tensor) -> dict[str, GaussianLikelihood]:
    keep = torch.from_numpy(np.random.default_rng(0).random((1, 48, 48)) < 0.7)
    found = {
        "noise": (Identity(), 0.2),
        "pixels": (Mask(keep), 0.0),
        "small": (Bicubic(2, x.shape[1:]), 0.0),
        "reflect": (Blur("gaussian:1.5"), 0.01),
        "free": (Blur("gaussian:1.5", "free"), 0.01),
        "circular": (CircularBlur("gaussian:1.5", x.shape[1:]), 0.01),
    }
    return {
        k: GaussianLikelihood(operator=A, sigma=s).measure(x, Noise(1))
        for k, (A, s) in found.items()
    }


@pytest.mark.parametrize(
    "name, problem, gain",
    [
        ("nlm", "noise", 3.0),
        ("wavelet", "noise", 3.0),
        ("tv", "noise", 3.0),
        ("telea", "pixels", 8.0),
        ("navier-stokes", "pixels", 8.0),
        ("biharmonic", "pixels", 8.0),
        ("bicubic", "small", 0.0),
        ("richardson-lucy", "reflect", 0.5),
        ("richardson-lucy", "free", 0.5),
        ("wiener", "reflect", 0.5),
        ("wiener", "circular", 0.5),
    ],
)
def test_classical_methods_are_better_than_nothing(name: str, problem: str, gain: float) -> None:
    """In dB over y, or over its enlargement by repeated pixels."""
    x = photograph()
    given = likelihoods(x)[problem]
    y = given.y if problem != "small" else given.y.repeat_interleave(2, 2).repeat_interleave(2, 3)
    out = baselines.restore(f"classical:{name}", given)
    assert out.shape == x.shape and out.dtype == x.dtype
    around = Surroundings.of(given.operator)
    x, out = around.cut(x), around.cut(out)
    before, after = (10 * (4 / (z - x).square().mean()).log10() for z in (y, out))
    assert after > before + gain
