"""Priors that are saved, opened again and uploaded."""

import json
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

import diffprior
from diffprior.errors import PriorError
from diffprior.interop import diffusers
from diffprior.networks.nafunet import NAFUNet
from diffprior.networks.parameterizations import Karras
from diffprior.priors.base import Prior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.network import NetworkPrior

from support.exact import random

SMALL = {"channels": (8, 16), "blocks": (1, 1), "embedding": 16, "classes": 3, "size": 16}
T = torch.tensor(0.4, dtype=torch.float64)


@pytest.fixture
def prior() -> NetworkPrior:
    torch.manual_seed(0)
    network = NAFUNet(**SMALL, sigma_data=0.4, sigma_min=0.01)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return NetworkPrior.of(network)


def test_a_saved_prior_gives_the_same_numbers(tmp_path: Path, prior: NetworkPrior) -> None:
    prior.save_pretrained(tmp_path)
    x, bits = random(2, 3, 16, 20, dtype=torch.float32), torch.float32
    for again in (
        NetworkPrior.from_pretrained(tmp_path),
        Prior.from_pretrained(str(tmp_path)),
        diffprior.load_prior(tmp_path),
    ):
        assert isinstance(again, NetworkPrior) and again.classes == 3 and again.like.dtype == bits
        for label in (None, 2):
            assert torch.equal(again.for_label(label)(x, T), prior.for_label(label)(x, T))
    assert NetworkPrior.from_pretrained(tmp_path, label=1).label == 1


def test_the_saved_weights_are_those_of_the_network(tmp_path: Path, prior: NetworkPrior) -> None:
    """The file keeps their dtype, and diffusers reads it."""
    prior.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["_class_name"] == "NAFUNet" and config["sigma_data"] == 0.4
    state, saved = prior.network.state_dict(), load_file(next(tmp_path.glob("*.safetensors")))
    assert state.keys() == saved.keys()
    assert all(torch.equal(saved[k], v) for k, v in state.items())
    theirs = diffusers.NAFUNet.from_pretrained(tmp_path)
    assert all(torch.equal(v, state[k]) for k, v in theirs.state_dict().items())


def test_another_class_than_asked_for_is_refused(tmp_path: Path, prior: NetworkPrior) -> None:
    prior.save_pretrained(tmp_path)
    with pytest.raises(PriorError, match="holds a NetworkPrior, not a MixturePrior"):
        MixturePrior.from_pretrained(tmp_path)


def test_priors_without_a_file_format_are_refused(tmp_path: Path) -> None:
    one = torch.ones(1)
    with pytest.raises(PriorError, match="writes network priors, not a MixturePrior$"):
        MixturePrior(one, torch.zeros(1, 4), one).save_pretrained(tmp_path)
    with pytest.raises(PriorError, match="a DiT or an MLP, and this network is a Linear; keep"):
        NetworkPrior(torch.nn.Linear(2, 2), Karras()).save_pretrained(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_an_upload_creates_the_repository_and_sends_the_folder(
    prior: NetworkPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple] = []

    class Hub:
        def __init__(self, token: str | None = None) -> None:
            calls.append(("token", token))

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            calls.append(("create", repo_id, private, exist_ok))

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
            files = sorted(p.name for p in Path(folder_path).iterdir())
            calls.append(("upload", repo_id, files, commit_message))
            return f"https://hub/{repo_id}"

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert prior.push_to_hub("me/faces", token="abc", private=True) == "https://hub/me/faces"
    assert calls == [
        ("token", "abc"),
        ("create", "me/faces", True, True),
        (
            "upload",
            "me/faces",
            ["config.json", "diffusion_pytorch_model.safetensors"],
            "Upload a prior",
        ),
    ]


def test_nothing_is_created_for_a_prior_that_cannot_be_saved(monkeypatch) -> None:
    class Hub:
        def __init__(self, token: str | None = None) -> None:
            pass

        def create_repo(self, repo_id: str, **settings: bool) -> None:
            raise AssertionError("a repository was created")

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    one = torch.ones(1)
    with pytest.raises(PriorError, match="not a MixturePrior"):
        MixturePrior(one, torch.zeros(1, 4), one).push_to_hub("me/numbers")


def test_former_names_of_settings_are_taken_with_a_warning(tmp_path: Path, prior) -> None:
    prior.save_pretrained(tmp_path)
    with (
        pytest.warns(DeprecationWarning, match="^negative is now negative_prompt$"),
        pytest.raises(PriorError, match="it has no setting 'negative_prompt'"),
    ):
        diffprior.load_prior(tmp_path, negative="dog")
