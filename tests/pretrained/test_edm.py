"""Networks of NVlabs EDM, against a forward pass written from the papers, and against deepinv's."""

import importlib
import json
import math
import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from diffprior.errors import PriorError, SettingError
from diffprior.pretrained.load import load_prior, sha256
from diffprior.priors.network import NetworkPrior

from support.exact import random

ROOT = Path(__file__).parents[2]

SONG = {"model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
SONG |= {"img_resolution": 8, "img_channels": 3, "channel_mult_emb": 2, "augment_dim": 9}
NCSNPP = {"embedding_type": "fourier", "channel_mult_noise": 2, "encoder_type": "residual"}
NCSNPP |= {"resample_filter": [1, 3, 3, 1], "decoder_type": "standard"}
ADM = {**SONG, "model_type": "DhariwalUNet", "model_channels": 64, "attn_resolutions": [8, 4]}
CONFIGS = {
    "ddpm++": {**SONG, "label_dim": 0},
    "ncsn++": {**SONG, **NCSNPP, "label_dim": 0},
    "deep": {**SONG, **NCSNPP, "channel_mult": [1, 1, 2], "num_blocks": 2, "label_dim": 0},
    "classes": {**SONG, "label_dim": 4},
    "adm": {**ADM, "label_dim": 4},
}
HALF = math.sqrt(0.5)


class Published:
    """Names, shapes and order of the layers; and the forward pass, in float64."""

    def __init__(self, config: dict) -> None:
        self.c, self.shapes = config, {}
        self.song = config.get("model_type", "SongUNet") == "SongUNet"
        self.width = config["model_channels"] * config.get("channel_mult_noise", 1)
        self.taps = torch.tensor(config.get("resample_filter", [1, 1])).double()
        embedding = config["model_channels"] * config["channel_mult_emb"]
        if "embedding_type" in config:
            self.shapes["map_noise.freqs"] = (self.width // 2,)
        self.shapes["map_augment.weight"] = (9, self.width)[::-1]
        self.add("map_layer0", (embedding, self.width))
        self.add("map_layer1", (embedding, embedding))
        if config["label_dim"]:
            to = self.width if self.song else embedding
            self.shapes["map_label.weight"] = (to, config["label_dim"])
            if self.song:
                self.shapes["map_label.bias"] = (to,)
        self.embedding, self.enc, self.dec = embedding, [], []
        self.way_down()
        self.way_up()

    def add(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    def filter(self, name: str) -> None:
        self.shapes[f"{name}.resample_filter"] = (1, 1, len(self.taps), len(self.taps))

    def block(self, name: str, inner: int, outer: int, resized=False, attention=False) -> str:
        self.add(f"{name}.norm0", (inner,))
        self.add(f"{name}.conv0", (outer, inner, 3, 3))
        self.add(f"{name}.affine", (outer if self.song else 2 * outer, self.embedding))
        self.add(f"{name}.norm1", (outer,))
        self.add(f"{name}.conv1", (outer, outer, 3, 3))
        if inner != outer or (resized and self.song):
            self.add(f"{name}.skip", (outer, inner, 1, 1))
        if resized:
            self.filter(f"{name}.conv0")
            self.filter(f"{name}.skip")
        if attention:
            self.add(f"{name}.norm2", (outer,))
            self.add(f"{name}.qkv", (3 * outer, outer, 1, 1))
            self.add(f"{name}.proj", (outer, outer, 1, 1))
        return name

    def levels(self):
        for level, mult in enumerate(self.c["channel_mult"]):
            side = self.c["img_resolution"] // 2**level
            yield (
                level,
                f"{side}x{side}",
                self.c["model_channels"] * mult,
                (side in self.c["attn_resolutions"]),
            )

    def way_down(self) -> None:
        self.w, self.skips = self.c["model_channels"], [self.c["model_channels"]]
        aux = 3
        for level, side, outer, attention in self.levels():
            if level == 0:
                self.add(f"enc.{side}_conv", (self.w, 3, 3, 3))
                self.enc.append(f"enc.{side}_conv")
            else:
                self.enc.append(self.block(f"enc.{side}_down", self.w, self.w, True))
                self.skips.append(self.w)
                if "encoder_type" in self.c:
                    self.add(f"enc.{side}_aux_residual", (self.w, aux, 3, 3))
                    self.filter(f"enc.{side}_aux_residual")
                    self.enc.append(f"enc.{side}_aux_residual")
                    aux = self.w
            for i in range(self.c["num_blocks"]):
                name = self.block(f"enc.{side}_block{i}", self.w, outer, False, attention)
                self.enc.append(name)
                self.w = outer
                self.skips.append(outer)

    def way_up(self) -> None:
        skips = [*self.skips]
        for level, side, outer, attention in reversed(list(self.levels())):
            if level == len(self.c["channel_mult"]) - 1:
                self.dec.append(self.block(f"dec.{side}_in0", self.w, self.w, False, True))
                self.dec.append(self.block(f"dec.{side}_in1", self.w, self.w))
            else:
                self.dec.append(self.block(f"dec.{side}_up", self.w, self.w, True))
            for i in range(self.c["num_blocks"] + 1):
                here = attention and (not self.song or i == self.c["num_blocks"])
                name = f"dec.{side}_block{i}"
                self.dec.append(self.block(name, self.w + skips.pop(), outer, False, here))
                self.w = outer
        ends = ("dec.8x8_aux_norm", "dec.8x8_aux_conv") if self.song else ("out_norm", "out_conv")
        self.ends = ends
        self.add(ends[0], (self.w,))
        self.add(ends[1], (3, self.w, 3, 3))

    def state(self) -> dict[str, Tensor]:
        state = {}
        for i, (name, shape) in enumerate(self.shapes.items()):
            matrix = len(shape) > 1
            scale = math.prod(shape[1:]) ** -0.5 if matrix else 0.2
            one = name.endswith("weight") and not matrix
            state[name] = (scale * random(*shape, seed=i) + one).float()
            if name.endswith("resample_filter"):
                taps = self.taps / self.taps.sum()
                state[name] = (taps[:, None] * taps)[None, None].float()
        return state

    def run(self, x: Tensor, c_noise: float, label: int | None) -> Tensor:
        self.s = {k: v.double() for k, v in self.state().items()}
        e, skips, back = self.embed(c_noise, label), [], x
        for name in self.enc:
            if name.endswith("aux_residual"):
                wide = F.pad(back, [2] * 4)  # the filter sees one row of what the padding became
                back = self.low(self.conv(name, wide, 0))[..., 0::2, 0::2]
                x = skips[-1] = back = (x + back) * HALF
            else:
                x = self.conv(name, x) if name.endswith("conv") else self.layer(name, x, e)
                skips.append(x)
        for name in self.dec:
            x = torch.cat([x, skips.pop()], 1) if "block" in name else x
            x = self.layer(name, x, e)
        return self.conv(self.ends[1], F.silu(self.norm(self.ends[0], x)))

    def embed(self, c_noise: float, label: int | None) -> Tensor:
        half = self.width // 2
        i = torch.arange(half, dtype=torch.float64)
        k = 10000 ** (-i / (half - 1)) if self.song else 10000 ** (-i / half)
        k = 2 * math.pi * self.s["map_noise.freqs"] if "map_noise.freqs" in self.s else k
        sin, cos = (c_noise * k).sin(), (c_noise * k).cos()
        e = torch.cat([sin, cos] if self.song else [cos, sin])[None]
        if label is not None and self.song:
            column = self.s["map_label.weight"][:, label] * self.c["label_dim"] ** 0.5
            e = e + column + self.s["map_label.bias"]
        e = self.linear("map_layer1", F.silu(self.linear("map_layer0", e)))
        if label is not None and not self.song:
            e = e + self.s["map_label.weight"][:, label]
        return F.silu(e)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.s[f"{name}.weight"].T + self.s[f"{name}.bias"]

    def conv(self, name: str, x: Tensor, padding: int | None = None) -> Tensor:
        weight = self.s[f"{name}.weight"]
        pad = weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, weight, self.s[f"{name}.bias"], padding=pad)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = x.reshape(len(x), min(32, x.shape[1] // 4), -1)
        mean, var = groups.mean(-1, keepdim=True), groups.var(-1, correction=0, keepdim=True)
        weight, bias = (self.s[f"{name}.{w}"][None, :, None, None] for w in ("weight", "bias"))
        eps = 1e-6 if self.song else 1e-5
        return ((groups - mean) / (var + eps).sqrt()).reshape_as(x) * weight + bias

    def low(self, x: Tensor) -> Tensor:
        """Correlate rows, then columns, with the taps; no padding."""
        taps, n = self.taps / self.taps.sum(), len(self.taps)
        x = sum(taps[i] * x[..., i : x.shape[-2] - n + 1 + i, :] for i in range(n))
        return sum(taps[i] * x[..., i : x.shape[-1] - n + 1 + i] for i in range(n))

    def resize(self, name: str, x: Tensor) -> Tensor:
        margin = (len(self.taps) - 1) // 2
        if name.endswith("down"):
            return self.low(F.pad(x, [margin] * 4))[..., 0::2, 0::2]
        if name.endswith("up"):  # zeros between, then the filter: four times as strong
            wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
            wide[..., ::2, ::2] = 4 * x
            before = len(self.taps) - 1 - margin
            return self.low(F.pad(wide, [before, margin] * 2))
        return x

    def layer(self, name: str, x: Tensor, e: Tensor) -> Tensor:
        scale = HALF if self.song else 1.0
        h = self.conv(f"{name}.conv0", self.resize(name, F.silu(self.norm(f"{name}.norm0", x))))
        film = self.linear(f"{name}.affine", e)[..., None, None]
        c = h.shape[1]
        if self.song:
            h = self.norm(f"{name}.norm1", h + film)
        else:
            h = self.norm(f"{name}.norm1", h) * (1 + film[:, :c]) + film[:, c:]
        x = self.resize(name, x)
        x = self.conv(f"{name}.skip", x) if f"{name}.skip.weight" in self.s else x
        h = (x + self.conv(f"{name}.conv1", F.silu(h))) * scale
        if f"{name}.qkv.weight" not in self.s:
            return h
        qkv, heads = self.conv(f"{name}.qkv", self.norm(f"{name}.norm2", h)), []
        wide = c if self.song else 64
        for i in range(c // wide):
            part = qkv[:, 3 * wide * i : 3 * wide * (i + 1)].flatten(2)
            q, k, v = part[:, 0::3], part[:, 1::3], part[:, 2::3]
            scores = torch.einsum("bci,bcj->bij", q, k) / wide**0.5
            heads.append(torch.einsum("bij,bcj->bci", scores.softmax(-1), v))
        return (h + self.conv(f"{name}.proj", torch.cat(heads, 1).reshape_as(h))) * scale


def saved(folder: Path, config: dict, precond: str = "EDMPrecond", prefix: str = "model.") -> Path:
    state = {prefix + k: v for k, v in Published(config).state().items()}
    save_file(state, folder / "net.safetensors")
    (folder / "net.json").write_text(json.dumps({**config, "class_name": precond}))
    return folder / "net.safetensors"


def denoised(kind: str, network, x: Tensor, sigma: float) -> Tensor:
    """D(x; sigma) of table 1 of Karras et al. (2022)."""
    if kind == "EDMPrecond":
        total = sigma**2 + 0.25
        out = network(x / total**0.5, math.log(sigma) / 4)
        return 0.25 / total * x + sigma * 0.5 / total**0.5 * out
    if kind == "VEPrecond":
        return x + sigma * network(x, math.log(sigma / 2))
    tau = (math.sqrt(0.1**2 + 2 * 19.9 * math.log1p(sigma**2)) - 0.1) / 19.9
    return x - sigma * network(x / (sigma**2 + 1) ** 0.5, 999 * tau)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", ["EDMPrecond", "VPPrecond", "VEPrecond"])
def test_the_answer_is_the_published_one(tmp_path: Path, name: str, kind: str) -> None:
    """D(x; sigma) in float64, with F a pass written from the papers' layout."""
    net, label = Published(CONFIGS[name]), 3 if CONFIGS[name]["label_dim"] else None
    prior = load_prior(saved(tmp_path, CONFIGS[name], kind), label=label).double()
    assert isinstance(prior, NetworkPrior) and prior.shape == (3, 8, 8)
    for time in (0.0, 0.5, 1.0):
        t = torch.tensor(time, dtype=torch.float64)
        alpha, sigma = prior.diffusion.schedule(t)
        x_t = float(sigma) * random(2, 3, 8, 8)
        expected = denoised(kind, lambda x, c: net.run(x, c, label), x_t, float(sigma))
        bound = 1e-7 * float(expected.abs().max())  # log(sigma) through frequencies up to 200
        torch.testing.assert_close(prior(x_t, t), expected, rtol=0, atol=bound)
    assert alpha == 1


def test_noise_levels_are_those_of_training(tmp_path: Path) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for kind, low, high in (("EDMPrecond", 0.002, 80), ("VEPrecond", 0.02, 100)):
        prior = load_prior(saved(tmp_path, CONFIGS["ddpm++"], kind))
        sigma = prior.diffusion.schedule(ends)[1]
        assert abs(sigma[0] / low - 1) < 1e-9 and abs(sigma[1] / high - 1) < 1e-9
    vp = load_prior(saved(tmp_path, CONFIGS["ddpm++"], "VPPrecond")).diffusion.schedule(ends)[1]
    assert abs(vp[1] - math.sqrt(math.exp(19.9 / 2 + 0.1) - 1)) < 1e-6  # of tau = 1


@pytest.mark.parametrize("name", ["ncsn++", "classes", "adm"])
def test_the_answer_is_deepinvs(tmp_path: Path, name: str) -> None:
    """Same weights in the network that deepinv has of the same papers, same answer.

    128 channels: it has 32 groups at any width, as the published networks have.
    """
    models = pytest.importorskip("deepinv.models")
    ours = {**CONFIGS[name], "model_channels": 128}
    config = {**ours, "pretrained": None}
    kind = config.pop("model_type", "SongUNet")
    if kind == "SongUNet":
        config["model_type"] = "ncsn" if "encoder_type" in config else "ddpm"
    cls = models.NCSNpp if kind == "SongUNet" else models.ADMUNet
    theirs = cls(in_channels=3, out_channels=3, **config).eval()
    theirs.load_state_dict(Published(ours).state())
    prior = load_prior(saved(tmp_path, ours), label=2 if config["label_dim"] else None)
    x, c_noise = random(2, 3, 8, 8, dtype=torch.float32), torch.full((2,), 0.3)
    one_hot = F.one_hot(torch.tensor([2, 2]), 4).float() if config["label_dim"] else None
    with torch.no_grad():
        expected = theirs.forward_unet(x, c_noise, class_labels=one_hot)
        found = prior.network(x, c_noise, *prior._labels(x))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


FAKE = """
import torch


class EDMPrecond(torch.nn.Module):
    def __init__(self, state, kwargs):
        super().__init__()
        for name, tensor in state.items():
            place = self
            *folders, last = name.split(".")
            for folder in folders:
                if folder not in place._modules:
                    place.add_module(folder, torch.nn.Module())
                place = place._modules[folder]
            place.register_buffer(last, tensor)
        self.init_kwargs = kwargs
"""


def test_the_lines_that_a_refused_pickle_leads_to_convert_it(tmp_path: Path, monkeypatch) -> None:
    """Run where the pickle's code is, as the page says: here a stand-in of the same attributes."""
    (tmp_path / "fake.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    state = {f"model.{k}": v for k, v in Published(CONFIGS["ncsn++"]).state().items()}
    network = importlib.import_module("fake").EDMPrecond(state, CONFIGS["ncsn++"])
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"ema": network}))
    with pytest.raises(PriorError, match="convert it where its code is, as docs/priors.md says$"):
        load_prior(tmp_path / "net.pkl")
    page = (ROOT / "docs" / "priors.md").read_text(encoding="utf-8")
    code = page.partition("# in a checkout of NVlabs/edm\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    converted = load_prior(tmp_path / "net.safetensors")
    expected = load_prior(saved(tmp_path, CONFIGS["ncsn++"]))
    x_t, t = random(1, 3, 8, 8).float(), torch.tensor(0.5, dtype=torch.float64)
    torch.testing.assert_close(converted(x_t, t), expected(x_t, t), rtol=1e-5, atol=1e-4)


def test_weights_without_their_wrapper_load_as_well(tmp_path: Path) -> None:
    file = saved(tmp_path, CONFIGS["ddpm++"], prefix="")
    prior = load_prior(file)
    assert prior.sha256 == sha256(file) and prior.name == "net.safetensors"
    (tmp_path / "net.json").unlink()
    with pytest.raises(PriorError, match="an EDM network has net.json beside it, which says so$"):
        load_prior(file)


def test_a_class_may_be_named_beside_the_weights(tmp_path: Path) -> None:
    file = saved(tmp_path, {**CONFIGS["classes"], "label": 2})
    assert load_prior(file).label == 2 and load_prior(file, label=1).label == 1


def test_what_is_wrong_is_one_sentence(tmp_path: Path) -> None:
    file = saved(tmp_path, CONFIGS["classes"])
    with pytest.raises(SettingError, match="4 classes: label is one of 0 ... 3, got None$"):
        load_prior(file)(torch.zeros(1, 3, 8, 8), torch.tensor(0.5))
    with pytest.raises(PriorError, match="4 classes: label is one of 0 ... 3, got 4$"):
        load_prior(file, label=4)
    for change, said in (
        ({"num_blocks": 2}, r"it lacks \d+ of the \d+ tensors of its EDMUNet, first those of enc"),
        ({"attn_resolutions": []}, r"has 12 tensors that its EDMUNet has no place for, first"),
        ({"model_channels": 32}, r"has shape \(.*\), expected"),
        ({"model_type": "EDM2"}, "no standard network 'EDM2'; there are SongUNet, DhariwalUNet$"),
        ({"decoder_type": "skip"}, "no standard network 'SongUNet'"),
        ({"encoder_type": "skip"}, "no encoder_type 'skip'; there are standard, residual$"),
    ):
        saved(tmp_path, CONFIGS["classes"])
        config = json.loads((tmp_path / "net.json").read_text())
        (tmp_path / "net.json").write_text(json.dumps(config | change))
        with pytest.raises(PriorError, match=said) as error:
            load_prior(file, label=1)
        assert "\n" not in str(error.value)
