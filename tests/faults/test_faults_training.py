"""Training: files that are damaged or hostile, kills at any moment, options without sense."""

import csv
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffprior.errors import SettingError
from diffprior.io import documents
from diffprior.networks.nafunet import NAFUNet, load_network
from diffprior.pretrained.load import load_prior
from diffprior.training.labelled import ClassedImages
from diffprior.training.photographs import Photographs
from diffprior.training.trainer import Trainer, TrainingConfig

from support.command import run

pytestmark = pytest.mark.filterwarnings("always")
CONFIG = TrainingConfig(batch=2, patch=16, late_patch=32, warmup=2)


def png(side: int, seed: int = 0) -> bytes:
    small = np.random.default_rng(seed).integers(0, 255, (5, 5, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three images, beside which the commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        (tmp_path / "pictures" / f"{i}.png").write_bytes(png(130, i))
    return tmp_path / "pictures"


def trainer(images: Photographs, out: Path, config: TrainingConfig = CONFIG) -> Trainer:
    torch.manual_seed(0)
    return Trainer(NAFUNet(channels=(8, 16), blocks=(1, 1), embedding=16), images, config, out)


# Options


OPTIONS = {
    "--batch 0": "batch of TrainingConfig is a whole number in [1, 16384], got 0",
    "--batch -4": "batch of TrainingConfig is a whole number",
    "--batch 100000000": "in [1, 16384]",
    "--batch x": "'--batch': give a whole number, got x",
    "--seed -1": "seed of TrainingConfig is a whole number from 0 on, got -1",
    "--minutes 0": "--minutes is a number above 0 or None, got 0.0",
    "--minutes -1": "--minutes is a number above 0",
    "--minutes nan": "--minutes is a number above 0 or None, got nan",
    "--minutes inf": "--minutes is a number above 0 or None, got inf",
    "--every 0": "--every is a number above 0, got 0.0",
    "--every nan": "--every is a number above 0, got nan",
    "--holes -1": "--holes is a whole number from 0 on, got -1",
    "--steps 0": "--steps is a whole number from 1 to 1000000 or None, got 0",
    "--steps 1 --minutes 1": "in --minutes or in --steps, and not both",
    "--source x": "--source is NAME=WEIGHT",
    "--source pictures=x": "--source is NAME=WEIGHT",
    "--source pictures=nan": "the weight of pictures is a number from 0 on, got nan",
    "--source pictures=-1": "the weight of pictures is a number from 0 on, got -1.0",
    "--source pictures=0": "the weight of a source must be above 0",
    "--source picture=2": "no source 'picture'; did you mean 'pictures'?",
    "--device tpu": "no device 'tpu'",
    "--init nowhere": "nowhere is no model folder of this network",
    "--init pictures": "pictures is no model folder of this network",
    "nowhere": "nowhere cannot be read: there is no such file",
    "pictures/0.png": "it is neither a folder nor a ZIP file",
    "classes.npz": "an .npz file of classes is the only source",
}


@pytest.mark.saw("a wrong option of train ended in a traceback, or trained nothing at all")
@pytest.mark.parametrize("words", OPTIONS)
def test_a_wrong_option_is_one_sentence(pictures: Path, monkeypatch, capsys, words: str) -> None:
    ended = run(monkeypatch, capsys, "train", "pictures", "--out", "run", *words.split())
    assert ended.code == 2 and len(ended.said) == 1 and OPTIONS[words] in ended.said[0], ended
    assert not (Path("run") / "checkpoint.pt").exists()


@pytest.mark.saw("the folder of a run was a file, and training ended in a traceback")
def test_an_out_that_is_a_file(pictures: Path, monkeypatch, capsys) -> None:
    ended = run(monkeypatch, capsys, "train", "pictures", "--out", "pictures/0.png")
    assert ended.code == 2 and "cannot write to the folder pictures/0.png" in ended.said[0]


@pytest.mark.saw("--holes 0 ended in a traceback")
def test_a_run_without_holes(pictures: Path, monkeypatch, capsys) -> None:
    words = ("--out", "run", "--steps", "1", "--batch", "1", "--holes", "0")
    ended = run(monkeypatch, capsys, "train", "pictures", *words)
    assert ended.code == 0 and "minutes,step,loss\n" in ended.out


@pytest.mark.saw("all images were too small, which a run said in its second half, after hours")
def test_images_that_are_too_small_are_told_first(pictures: Path, monkeypatch, capsys) -> None:
    for i in range(3):
        (pictures / f"{i}.png").write_bytes(png(100, i))
    ended = run(monkeypatch, capsys, "train", "pictures", "--out", "run")
    assert ended.code == 2 and "hardly any image is large enough for a crop of 128" in ended.said[0]


# Images


def zipped(**entries: bytes) -> bytes:
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name.replace("__", "/"), data)
    return file.getvalue()


def changed(data: bytes, begin: bytes, offset: int, value: bytes) -> bytes:
    """Return bytes with others at an offset from each place that begins with these."""
    out = bytearray(data)
    at = data.find(begin)
    while at >= 0:
        out[at + offset : at + offset + len(value)] = value
        at = data.find(begin, at + 1)
    return bytes(out)


def large(side: int) -> bytes:
    """An image of one bit a pixel: a small file of many pixels."""
    file = BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


BAD_IMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "text": (b"no image", "it is no"),
    "cut short": (png(130)[:-200], "damaged or cut short"),
    "13,000 x 13,000": (large(13_000), "it is larger than the limit of"),
    "flat, and far larger than its file": (large(5_000), "it is larger than the limit of"),
    "2 x 2": (png(2), "fewer than 4 pixels"),
    "1 x 1": (png(1), "fewer than 4 pixels"),
}


@pytest.mark.saw("a damaged or huge image among the photographs ended the training, or was trained")
@pytest.mark.parametrize("name", BAD_IMAGES)
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_bad_images_are_named(tmp_path: Path, name: str, packed: bool) -> None:
    content, words = BAD_IMAGES[name]
    if packed:
        (tmp_path / "in.zip").write_bytes(
            zipped(a__0=png(20), a__1=b"note", **{"a__b.png": content})
        )
    else:
        (tmp_path / "a").mkdir()
        for file, data in (("0", png(20)), ("1", b"note"), ("b.png", content)):
            (tmp_path / "a" / file).write_bytes(data)
    images = Photographs([tmp_path / ("in.zip" if packed else "a")])
    assert {k: len(v) for k, v in images.sources.items()} == {"a": 1}
    assert len(images.skipped.images) == 1 and words in images.skipped.images[0]
    assert images.skipped.others == 1
    assert "1 images were skipped: " in str(images.skipped)


BAD_ENTRIES: dict[str, Callable[[], bytes]] = {
    "damaged": lambda: changed(zipped(**{"b.png": png(20)}), b"PK\x03\x04", 60, b"\0" * 40),
    "encrypted": lambda: changed(zipped(**{"b.png": png(20)}), b"PK\x01\x02", 8, b"\x01\x00"),
    "an unknown packing": lambda: changed(
        zipped(**{"b.png": png(20)}), b"PK\x01\x02", 10, b"\x63\0"
    ),
    "3 GB by its entry": lambda: changed(
        zipped(**{"b.png": png(20)}), b"PK\x01\x02", 24, (3 * 10**9).to_bytes(4, "little")
    ),
    "only a folder": lambda: zipped(**{"a__": b""}),
    "nothing": lambda: zipped(),
}


@pytest.mark.saw("a ZIP file of the photographs was damaged, and training ended in a traceback")
@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_bad_entries_of_a_zip_are_named(tmp_path: Path, monkeypatch, capsys, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.zip").write_bytes(BAD_ENTRIES[name]())
    ended = run(monkeypatch, capsys, "train", "in.zip", "--out", "run")
    assert ended.code == 2 and "no image in in.zip" in ended.said[0]
    assert ("b.png" in ended.said[0]) == (name not in ("only a folder", "nothing"))


@pytest.mark.saw("a file that is no ZIP file ended the training in a traceback")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"PK\x05\x06" + bytes(18)[:-1], b"x" * 99])
def test_what_is_no_zip(tmp_path: Path, monkeypatch, capsys, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.zip").write_bytes(content)
    ended = run(monkeypatch, capsys, "train", "in.zip", "--out", "run")
    assert ended.code == 2 and "neither a folder nor a ZIP file" in ended.said[0]


@pytest.mark.saw("a ZIP file of 3 MB took 3 GB of memory")
def test_an_entry_that_grows_is_not_unpacked(tmp_path: Path) -> None:
    """Its head says 3 GB, or lies and says a few bytes: neither is unpacked."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("a.png", "w", force_zip64=True) as entry:
            for _ in range(300):
                entry.write(bytes(10**6))
    honest = changed(file.getvalue(), b"PK\x01\x02", 0, b"PK\x01\x02")
    liar = changed(file.getvalue(), b"PK\x01\x02", 24, (1000).to_bytes(4, "little"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in (honest, liar):
        (tmp_path / "in.zip").write_bytes(data)
        with pytest.raises(ValueError, match="no image in"):
            Photographs([tmp_path / "in.zip"])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kilobytes


@pytest.mark.saw("16-bit, gray and palette photographs, or those with an orientation, were misread")
def test_kinds_of_images_are_read_as_everywhere(tmp_path: Path) -> None:
    gray = np.arange(400, dtype=np.uint16).reshape(20, 20) * 163
    Image.fromarray(gray).save(tmp_path / "0.png")
    Image.fromarray((gray // 257).astype(np.uint8)).convert("P").save(tmp_path / "1.png")
    images = Photographs([tmp_path])
    deep, palette = (
        images.pixels[level[0].start :][:400] for level in images.sources[tmp_path.name]
    )
    expected = np.repeat(np.round(gray / 257).reshape(-1, 1), 3, 1)
    assert np.array_equal(deep.numpy(), expected)
    assert np.array_equal(palette.numpy(), np.repeat((gray // 257).reshape(-1, 1), 3, 1))


# Classes


def classes(**changes: object) -> bytes:
    y = np.arange(6) % 3
    x = np.random.default_rng(0).integers(0, 255, (6, 16, 16)).astype(np.uint8)
    file = BytesIO()
    arrays = {"x_train": x, "y_train": y, "x_test": x} | changes
    np.savez(file, **{k: v for k, v in arrays.items() if v is not None})
    return file.getvalue()


def large_array(count: int) -> bytes:
    """An array of zeros, of which the file has a thousandth."""
    file = BytesIO()
    head = {"descr": "|u1", "fortran_order": False, "shape": (count // 256, 16, 16)}
    np.lib.format.write_array_header_1_0(file, head)
    with zipfile.ZipFile(out := BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x_train.npy", "w") as entry:
            entry.write(file.getvalue())
            for _ in range(count // 2**20):
                entry.write(bytes(2**20))
        for name in ("y_train", "x_test"):
            archive.writestr(f"{name}.npy", file.getvalue())
    return out.getvalue()


def with_head(shape: tuple[int, ...]) -> bytes:
    file = BytesIO()
    head = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)
    array = file.getvalue() + bytes(64)
    return zipped(**{f"{k}.npy": array for k in ("x_train", "y_train", "x_test")})


PIXELS = np.random.default_rng(1).integers(0, 255, (6, 16, 16)).astype(np.uint8)
BAD_CLASSES: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "cannot be read as an .npz file"),
    "text": (lambda: b"no archive", "cannot be read as an .npz file"),
    "cut short": (lambda: classes()[:-300], "cannot be read as an .npz file"),
    "no labels": (lambda: classes(y_train=None), "has no y_train"),
    "objects": (lambda: classes(y_train=np.array([{}] * 6)), "y_train.npy in"),
    "no arrays": (
        lambda: zipped(**{f"{k}.npy": b"text" for k in ("x_train", "y_train", "x_test")}),
        "is no array",
    ),
    "a shape of 10^12": (lambda: with_head((10**6, 1000, 1000)), "not the size that its head says"),
    "a shape of 10^30": (lambda: with_head((10**10,) * 3), "not the size that its head says"),
    "a shape below 0": (lambda: with_head((-1, 4, 4)), "x_train.npy in"),
    "300 MB out of 300 kB": (lambda: large_array(300 * 2**20), "grows from"),
    "floats": (lambda: classes(x_train=PIXELS / 255.0), "x_train must be uint8"),
    "two axes": (lambda: classes(x_train=PIXELS[0]), "x_train must be uint8"),
    "no images": (lambda: classes(x_train=PIXELS[:0], y_train=np.zeros(0, int)), "x_train must be"),
    "sides of 15": (lambda: classes(x_train=PIXELS[:, 1:], x_test=PIXELS[:, 1:]), "multiples of 4"),
    "5 channels": (
        lambda: classes(
            x_train=np.zeros((6, 8, 8, 5), np.uint8), x_test=np.zeros((1, 8, 8, 5), "u1")
        ),
        "1 or 3 channels",
    ),
    "all black": (lambda: classes(x_train=0 * PIXELS), "all pixels of x_train are equal"),
    "other test images": (lambda: classes(x_test=PIXELS[:, :8]), "x_test must be like x_train"),
    "fewer labels": (lambda: classes(y_train=np.arange(5)), "x_train must be uint8"),
    "labels below 0": (lambda: classes(y_train=np.arange(6) - 1), "whole numbers from 0 to 9999"),
    "labels of 10^9": (lambda: classes(y_train=10**9 * np.arange(6)), "whole numbers from 0 to"),
    "labels of floats": (lambda: classes(y_train=np.arange(6) / 2), "whole numbers from 0 to"),
}


@pytest.mark.saw("a file of classes that is wrong or hostile took all memory, or gave a traceback")
@pytest.mark.parametrize("name", BAD_CLASSES)
def test_bad_classes_are_one_sentence(tmp_path: Path, monkeypatch, capsys, name: str) -> None:
    make, words = BAD_CLASSES[name]
    monkeypatch.chdir(tmp_path)
    Path("c.npz").write_bytes(make())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ended = run(monkeypatch, capsys, "train", "c.npz", "--out", "run")
    assert ended.code == 2 and len(ended.said) == 1 and words in ended.said[0], ended
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


@pytest.mark.saw("files of numpy of other versions were taken for damaged")
def test_good_classes_are_read(tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(classes())
    images = ClassedImages(tmp_path / "c.npz")
    assert images.classes == 3 and images.pixels.shape == (6, 1, 16, 16)


# Kills


def state(t: Trainer) -> list[torch.Tensor]:
    found = [*t.network.state_dict().values(), *t.ema.values()]
    for optimizer in t.optimizers:
        for values in optimizer.state_dict()["state"].values():
            found += [v for v in values.values() if torch.is_tensor(v)]
    return found


class KilledError(BaseException):
    """The end of a process."""


@pytest.mark.saw("a run that was stopped and went on ended with other weights than one in a row")
@pytest.mark.parametrize("after", [1, 3, 5])
def test_a_resumed_run_is_the_same_run(pictures: Path, tmp_path: Path, after: int) -> None:
    """6 steps in a row, and with a kill after a step that no checkpoint holds: the same bits."""
    images = Photographs([pictures])
    whole = trainer(images, tmp_path / "whole")
    whole.run(steps=6)

    def kill(t: Trainer, share: float) -> None:
        if t.step == after + 1:
            raise KilledError

    first = trainer(images, tmp_path / "parts")
    with pytest.raises(KilledError):
        first.run(steps=6, every=1e-9, callback=kill)
    torch.manual_seed(99)
    network = NAFUNet(channels=(8, 16), blocks=(1, 1), embedding=16)
    second = Trainer(network, images, CONFIG, tmp_path / "parts")
    assert second.resume() and second.step == after
    second.run(steps=6)
    assert len(state(whole)) == len(state(second)) > 100
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(second), strict=True))
    assert whole.loss == second.loss
    for name in ("weights/config.json", "weights/diffusion_pytorch_model.safetensors"):
        same = [(tmp_path / part / name).read_bytes() for part in ("whole", "parts")]
        assert same[0] == same[1]


@pytest.mark.saw("a kill while a file was written left half of it, for good")
@pytest.mark.parametrize("number", range(1, 8))
def test_a_kill_between_any_two_files(pictures: Path, tmp_path: Path, monkeypatch, number) -> None:
    """A run whose n-th file is never written: the next run ends with the files of a whole one."""
    images = Photographs([pictures])
    trainer(images, tmp_path / "whole").run(steps=2)
    write, count = documents.write, [0]

    def killed(data: bytes, path: Path) -> None:
        count[0] += 1
        if count[0] == number:
            raise KilledError
        write(data, path)

    with monkeypatch.context() as patch:
        patch.setattr(documents, "write", killed)
        with pytest.raises(KilledError):
            trainer(images, tmp_path / "parts").run(steps=2)
    again = trainer(images, tmp_path / "parts")
    again.resume()
    again.run(steps=2)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    files = [p.relative_to(whole) for p in sorted(whole.rglob("*")) if p.is_file()]
    assert files == [p.relative_to(parts) for p in sorted(parts.rglob("*")) if p.is_file()]
    for name in files:
        if name.name != "checkpoint.pt":  # which holds the seconds of a clock
            assert (whole / name).read_bytes() == (parts / name).read_bytes(), name


BREAK: dict[str, Callable[[Path], object]] = {
    "half the weights": lambda out: os.truncate(
        out / "weights" / "diffusion_pytorch_model.safetensors", 1000
    ),
    "empty weights": lambda out: os.truncate(
        out / "weights" / "diffusion_pytorch_model.safetensors", 0
    ),
    "no weights": lambda out: shutil.rmtree(out / "weights"),
    "half the configuration": lambda out: os.truncate(out / "weights" / "config.json", 20),
    "no table": lambda out: (out / "curve.csv").unlink(),
    "half the table": lambda out: os.truncate(out / "curve.csv", 30),
    "a damaged table": lambda out: (out / "curve.csv").write_bytes(b"\xff\xfe\0\n"),
}


@pytest.mark.saw("a finished run kept its broken weights, and ended in a traceback without a table")
@pytest.mark.parametrize("name", BREAK)
def test_a_finished_run_mends_its_files(pictures: Path, tmp_path: Path, name: str) -> None:
    images = Photographs([pictures])
    out = tmp_path / "run"
    trainer(images, out).run(steps=2)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    BREAK[name](out)
    again = trainer(images, out)
    assert again.resume()
    again.run(steps=2)
    after = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert {p: v for p, v in after.items() if p.name != ".lock"} == before
    load_network(out / "weights")


@pytest.mark.saw("checkpoints of earlier versions, which hold no table, lost the one beside them")
def test_a_checkpoint_without_a_table(pictures: Path, tmp_path: Path) -> None:
    images = Photographs([pictures])
    trainer(images, tmp_path / "run").run(steps=2)
    path = tmp_path / "run" / "checkpoint.pt"
    older = torch.load(path, weights_only=True)
    for name in ("curve", "loss", "config"):
        del older[name]
    torch.save(older, path)
    table = "minutes,step,loss\n0.0,1,2.5\n0.0,2,2.25\n"
    (tmp_path / "run" / "curve.csv").write_text(table)
    again = trainer(images, tmp_path / "run")
    assert again.resume()
    again.run(steps=2)
    assert (tmp_path / "run" / "curve.csv").read_text() == table
    (tmp_path / "run" / "curve.csv").unlink()
    torch.save(older, path)
    again = trainer(images, tmp_path / "run")
    again.resume()
    again.run(steps=3)
    rows = list(csv.DictReader((tmp_path / "run" / "curve.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["2", "3"]


@pytest.mark.saw("a damaged checkpoint, or one of another run, ended in a traceback")
@pytest.mark.parametrize("kind", ["half", "text", "other keys", "network", "batch", "seed"])
def test_a_checkpoint_that_does_not_fit(pictures: Path, tmp_path: Path, kind: str) -> None:
    images = Photographs([pictures])
    t = trainer(images, tmp_path / "run")
    t.run(steps=1)
    before = t.checkpoint.read_bytes()
    config, words = CONFIG, "is damaged, or is the checkpoint of another network"
    if kind == "half":
        t.checkpoint.write_bytes(before[: len(before) // 2])
    elif kind == "text":
        t.checkpoint.write_text("no checkpoint")
    elif kind == "other keys":
        torch.save({"step": 3}, t.checkpoint)
    elif kind == "batch":
        config = TrainingConfig(batch=3, patch=16, late_patch=32, warmup=2)
        words = "was begun with batch 2, not 3"
    elif kind == "seed":
        config = TrainingConfig(batch=2, patch=16, late_patch=32, warmup=2, seed=1)
        words = "was begun with seed 0, not 1"
    elif kind == "network":
        words = r"was begun with channels of NAFUNet \[8, 16\], not \[16, 16\]"
    channels = (16, 16) if kind == "network" else (8, 16)
    network = NAFUNet(channels=channels, blocks=(1, 1), embedding=16)
    left = t.checkpoint.read_bytes()
    with pytest.raises(SettingError, match=words):
        Trainer(network, images, config, tmp_path / "run").resume()
    assert t.checkpoint.read_bytes() == left


@pytest.mark.saw("train was killed, and the same command did not go on with what was there")
def test_the_command_mends_what_a_kill_broke(pictures: Path, monkeypatch, capsys) -> None:
    """A kill from outside, a run that goes on, and one that has nothing left to do but to mend."""
    words = ["pictures", "--out", "run", "--steps", "2", "--batch", "1", "--holes", "0"]
    words += ["--every", "0.0001"]
    code = "import sys; from diffprior.cli import main; sys.argv[0] = 'diffprior'; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None and not Path("run/checkpoint.pt").exists():
        time.sleep(0.01)
    process.kill()
    process.communicate()
    (pictures / "bad.png").write_text("no image")
    ended = run(monkeypatch, capsys, "train", *words)
    assert ended.code == 0 and "resumed" in ended.out
    why = "it is no PNG, JPEG, WebP, AVIF, TIFF, BMP or GIF image"
    assert ended.said == [f"1 images were skipped: pictures/bad.png ({why})"]
    weights = Path("run/weights/diffusion_pytorch_model.safetensors")
    whole = weights.read_bytes()
    os.truncate(weights, 100_000)
    Path("run/curve.csv").unlink()
    ended = run(monkeypatch, capsys, "train", *words)
    assert ended.code == 0 and weights.read_bytes() == whole
    load_prior("run/weights")
    ended = run(monkeypatch, capsys, "train", *words, "--batch", "2")
    assert ended.code == 2 and "was begun with batch 1, not 2" in ended.said[0]
    with documents.locked(Path("run/.lock")):
        ended = run(monkeypatch, capsys, "train", *words)
    assert ended.code == 2 and "another run is writing to run" in ended.said[0]
