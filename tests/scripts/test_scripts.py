"""Every script of the repository runs, with the smallest input, and writes what it says."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from support import warm
from support.text import unpadded

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    str(path.relative_to(ROOT / "scripts"))
    for path in (ROOT / "scripts").rglob("*.py")
    if "__main__" in path.read_text()
    and path.name != "page_pictures.py"  # tests/page does with the browser what it does
)
PAGE = """
<!-- clean.jpg: noisy.png clean.png -->
```sh
diffprior denoise noisy.png --sigma 0.1 -o clean.png
diffprior denoise path/to/photo.png
```
"""
CALLS = {  # arguments, what is printed, and what is written
    "generate_index.py": ("--check", "", ""),
    "docs_pictures.py": ("page.md --out out", "clean.jpg", "clean.jpg"),
    "fuzz.py": ("--seconds 60 --rounds 40", "40 files, 0 broke a reader", ""),
    "gpu_minutes.py": (
        "images --out out --smoke --minutes 0.5",
        "parts name=training",
        "results.jsonl results.md run/curve.csv run/checkpoint.pt run/weights/config.json",
    ),
    "peers/compare.py": (
        "images --out out --side 16 --limit 1 --calls 4 --seeds 1 --method ILVR --problem box",
        "| box | ILVR | ours | 1 of 1 |",
        "rows.csv table.md",
    ),
    "peers/opencv_fill.py": ("telea images/a.png objects/a_thing.png filled.png", "", ""),
    "tables/backends.py": (
        "images --call 32 --rounds 1 --side 32 --limit 1",
        "| a fill of 32 x 32, seconds |",
        "",
    ),
    "tables/calls.py": (
        "images --out out --side 40 --crop 32 --limit 1 --problem text",
        "| 12 calls, ahead |",
        "rows.csv",
    ),
    "tables/classes.py": (
        "--out out --samples 1 --limit 1 --steps 2 --inversion flow --guidance 2 --start 1.5",
        "| `flow` |",
        "samples.md samples.png rows.csv table.md",
    ),
    "tables/denoising.py": (
        "images --side 32 --limit 1 --level 50 --only noisy --only wavelet --only BM3D",
        "| images (1) | 50 |",
        "",
    ),
    "tables/editing.py": (
        "sdedit --out out --samples 2 --steps 4",
        "| the prior's own samples |",
        "sdedit.csv sdedit.md",
    ),
    "tables/experiments.py": (
        "--minutes 0.002 --count 4 --steps 1 --images 2 --chain 25 --measurements 1 "
        "--clothes labeled.npz --variant mu-L-learned",
        "| mu-L-learned |",
        "",
    ),
    "tables/fashion_classifier.py": (
        "labeled.npz --out out --epochs 1 --keep 1",
        "test accuracy ",
        "classifier.safetensors pictures.npz",
    ),
    "tables/few_steps.py": (
        "labeled.npz --out out --count 2 --only guided --share 0.0001",
        "| guided, guidance 3 |",
        "rows.csv table.md guided/weights/config.json",
    ),
    "tables/generation.py": (
        "images --out out --side 16 --count 1",
        "| 16 | 1 drawn |",
        "16.png",
    ),
    "tables/inpainting.py": (
        "images --out out --side 32 --limit 1 --mask text --method telea --method default",
        "| default |",
        "rows.csv table.md table.csv sheet_00.png",
    ),
    "tables/large.py": (
        "images/a.png --megapixels 0.02 --hole scratch --steps 1",
        "| 0.02 | scratch | 1 |",
        "",
    ),
    "tables/likelihood.py": (
        "images shirts.npz --limit 1 --only fashion",
        "| fashion, bound in the limit ",
        "",
    ),
    "tables/masks.py": ("images --side 64 --limit 1 --kind color", "| paint, JPEG 75 |", ""),
    "tables/memory.py": (
        "images/a.png --megapixels 0.02 --task denoise",
        "| denoise |",
        "",
    ),
    "tables/noise.py": ("images --side 32 --limit 1 --level 50", "| gray | 50 |", ""),
    "tables/restoration.py": (
        "images --out out --side 32 --limit 1 --problem colors",
        "| colors | default |",
        "rows.csv table.md",
    ),
    "tables/samplers.py": (
        "--calls 16 --calls 32 --samples 2000 --sampler ddim",
        "| `ddim, from the flow` | 16: 0.",
        "",
    ),
    "tables/serve.py": (
        "--megapixels 0.01 --hole 8 --requests 1 --clients 2",
        "| answers in the order of arrival |",
        "",
    ),
    "tables/speed.py": (
        "images/a.png --call 32 --side 32 --repeats 1 --batch 0",
        "| side | seconds | network calls |",
        "",
    ),
    "tables/speedup.py": (
        "images --side 40 --limit 1 --hole scratches --batch 2 --batch-side 32 --rounds 1",
        "| 2 fills of 32 x 32, seconds |",
        "",
    ),
    "tables/watcher.py": ("9 cat page.md", ', 0, ""]', ""),
    "tables/workers.py": (
        "--images 2 --side 16 --workers 1 --only batch",
        "16x16 pixels",
        "",
    ),
    "tables/wide_holes.py": (
        "holes images --objects objects --out out --method telea --method shiftmap",
        "shiftmap: n/a: shiftmap needs opencv-contrib-python",
        "rows.csv table.md table.csv sheet_moved_a_thing.png fills/objects/a_thing.telea.png",
    ),
    "tables/stages.py": (
        "labeled.npz --out out --count 1 --steps 2 --minutes 0.0001 --only condition",
        "| condition, not shown |",
        "rows.csv table.md condition/weights/network/config.json",
    ),
    "tables/startup.py": ("--runs 1 -- --version", "| `diffprior --version` |", ""),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what the scripts work on."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        small.resize((72, 64), Image.Resampling.BICUBIC).save(tmp_path / "images" / name)
    (tmp_path / "objects").mkdir()
    thing = np.zeros((64, 72), np.uint8)
    thing[8:24, 10:30] = 255
    Image.fromarray(thing).save(tmp_path / "objects" / "a_thing.png")
    (tmp_path / "page.md").write_text(PAGE)
    y = np.arange(200) % 10
    x = rng.integers(0, 256, (200, 28, 28), np.uint8)
    np.savez(tmp_path / "labeled.npz", x_train=x, y_train=y, x_test=x[:20], y_test=y[:20])
    np.savez(tmp_path / "shirts.npz", x=x[:1])
    return tmp_path


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs(script: str, place: Path) -> None:
    if script == "peers/compare.py":
        pytest.importorskip("azula")
        pytest.importorskip("deepinv")
    if script == "tables/backends.py" and not find_spec("openvino"):
        pytest.skip("openvino is not installed")
    arguments, printed, written = CALLS[script]
    if script == "tables/denoising.py":
        pytest.importorskip("bm3d")
    done = warm.run(ROOT / "scripts" / script, *arguments.split(), folder=place, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    assert printed in unpadded(done.stdout.decode()), done.stdout.decode()
    for name in written.split():
        assert (place / "out" / name).stat().st_size > 0


def test_the_time_of_a_fill_is_split(place: Path) -> None:
    mask = np.zeros((64, 72), np.uint8)
    mask[20:30, 20:30] = 255
    Image.fromarray(mask).save(place / "mask.png")
    line = [sys.executable, str(ROOT / "scripts" / "tables" / "startup.py"), "--runs", "1"]
    line += ["--fill", "images/a.png", "--mask", "mask.png"]
    done = subprocess.run(line, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = dict(re.findall(r"^\| ([\w ]+) \| ([\d.-]+) \|", done.stdout, re.M))
    parts = [float(rows[name]) for name in ("network", "import of torch", "all else")]
    assert parts[0] > 0 and abs(sum(parts) - float(rows["total"])) < 0.02


def test_a_comparison_without_the_peers_is_one_sentence(place: Path) -> None:
    code = f"""
import runpy, sys
sys.modules["azula"] = None
sys.path.insert(0, {str(ROOT / "scripts" / "peers")!r})
runpy.run_path({str(ROOT / "scripts" / "peers" / "compare.py")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("this script needs azula and deepinv")
