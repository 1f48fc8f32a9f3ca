"""What a person installs: the packages, the weights, their license."""

import hashlib
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

import diffprior
from diffprior.errors import PriorError
from diffprior.pretrained.load import load_prior, sha256, shipped

ROOT = Path(__file__).parents[2]
LICENCES = {"photo": "CC BY-SA 4.0", "fashion": "Apache-2.0"}
SHA256 = {
    "photo": "023f7370bb3ee3c1317a9d71aa0a19798e292faf27e462884d9973f99cea7e74",
    "fashion": "860a83ad1f649e8f3278afc49df11ffd642feb5a1522dae3cd7d93b73c3672ef",
}
NEEDED = (
    "diffprior/tasks/inpaint.py",
    "diffprior/methods/mmps.py",
    "diffprior/py.typed",
    "diffprior/__init__.pyi",
    "diffprior/methods/__init__.pyi",
    "diffprior/operators/generators/__init__.pyi",
    "diffprior/cli/index.json",
    "diffprior/interop/canvas.css",
    "diffprior/interop/canvas.js",
    "diffprior/interop/comfyui/nodes.py",
    "diffprior/interop/napari.yaml",
    "diffprior/server/page/js/mask/raster.js",
    "diffprior/priors/weights/photo/config.json",
    "diffprior/priors/weights/photo/diffusion_pytorch_model.safetensors",
    "diffprior/priors/weights/photo/MODEL_CARD.md",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "-o", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return folder


def test_the_wheel_holds_what_it_needs(built):
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()
    assert not [n for n in NEEDED if n not in names]
    assert not [n for n in names if n.startswith(("tasks/", "tests/", "data/"))]


def test_the_source_holds_what_it_needs(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {n.split("/", 1)[-1] for n in archive.getnames()}
    sources = {n.replace("diffprior/tasks/", "tasks/") for n in NEEDED}
    assert not sources - names


def test_weights_are_those_that_were_measured():
    for name, folder in shipped().items():
        assert sha256(folder) == SHA256[name]
        size = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
        assert size <= 25 * 2**20
        card = (folder / "MODEL_CARD.md").read_text()
        assert LICENCES[name] in card and SHA256[name] in card


def test_half_weights_lose_nothing():
    """float16 on disk: every weight is finite, and none was lost to underflow as a whole tensor."""
    from safetensors.torch import load_file

    for folder in shipped().values():
        tensors = load_file(folder / "diffusion_pytorch_model.safetensors")
        assert all(v.dtype == torch.float16 and v.isfinite().all() for v in tensors.values())


def test_load_prior_by_every_name(tmp_path):
    default = load_prior()
    folder = shipped()["photo"]
    for source in ("photo", folder, folder / "diffusion_pytorch_model.safetensors"):
        other = load_prior(source)
        assert other.sha256 == default.sha256
    copy = tmp_path / "model"
    copy.mkdir()
    (copy / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(PriorError, match="cannot|does not"):
        load_prior(copy)
    data = (folder / "diffusion_pytorch_model.safetensors").read_bytes()
    (copy / "diffusion_pytorch_model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(PriorError, match="cannot|does not"):
        load_prior(copy)


def test_unknown_priors_are_one_sentence(tmp_path):
    with pytest.raises(PriorError, match="no prior 'nothing'; give one of fashion, photo"):
        load_prior("nothing")
    with pytest.raises(PriorError, match="config.json"):
        load_prior(tmp_path)


def test_diffusers_opens_the_shipped_prior():
    from diffprior.interop.diffusers import NAFUNet

    network = NAFUNet.from_pretrained(shipped()["photo"])
    x, c_noise = torch.randn(1, 3, 32, 32), torch.zeros(1)
    ours = load_prior().network
    with torch.no_grad():
        assert torch.equal(network(x, c_noise), ours(x, c_noise))
    assert (
        network.config.channels
        == json.loads((shipped()["photo"] / "config.json").read_text())["channels"]
    )


def test_importing_is_cheap():
    code = "import sys, diffprior; print([m for m in ('torch', 'diffusers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("first", ["diffprior.runtime.solve", "diffprior.tasks.edit"])
def test_any_module_can_be_the_first(first):
    done = subprocess.run([sys.executable, "-c", f"import {first}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_load_lazily():
    assert diffprior.inpaint.__name__ == "inpaint"
    with pytest.raises(AttributeError, match="it has load_prior"):
        diffprior.nonsense  # noqa: B018


def test_a_digest_is_a_sha256(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    assert sha256(tmp_path) == hashlib.sha256(b"abc").hexdigest()
