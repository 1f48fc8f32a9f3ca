"""Guided-diffusion files, against a forward pass written from the paper, and against azula's."""

import json
import pickle
import sys
from math import prod
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from diffprior.errors import PriorError, SettingError
from diffprior.networks.adm import ADM, Layout
from diffprior.pretrained.adm import PUBLISHED, complete
from diffprior.pretrained.load import load_prior, sha256
from diffprior.priors.base import denoise_vjp
from diffprior.priors.network import NetworkPrior
from diffprior.priors.tiled import TiledPrior

from support.exact import random

Shapes = dict[str, tuple[int, ...]]
Plan = list[list[tuple[str, str]]]
SMALL = {"channels": 32, "widths": (32, 64), "blocks": 1, "attention": (1,)}
DEEP = {"channels": 32, "widths": (32, 32, 64), "blocks": 2, "attention": (1, 2)}
SIZE = 8


class Published:
    """Names and shapes of the parameters, and the order of the layers, as the paper has them."""

    def __init__(
        self,
        channels: int,
        widths: tuple[int, ...],
        blocks: int,
        attention: tuple[int, ...],
        images: int = 3,
        out: int = 6,
        classes: int = 0,
        film: bool = True,
        updown: bool = True,
    ) -> None:
        self.shapes: Shapes = {}
        self.channels, self.film, self.updown = channels, film, updown
        self.add("time_embed.0", (4 * channels, channels))
        self.add("time_embed.2", (4 * channels, 4 * channels))
        if classes:
            self.shapes["label_emb.weight"] = (classes, 4 * channels)
        self.down, skips = self.way_down(images, widths, blocks, attention)
        last = widths[-1]
        parts = [(f"middle_block.{i}", kind) for i, kind in enumerate(["res", "attn", "res"])]
        self.middle = [self.layer(name, kind, last, last) for name, kind in parts]
        self.up = self.way_up(widths, blocks, attention, skips)
        self.add("out.0", (widths[0],))
        self.add("out.2", (out, widths[0], 3, 3))

    def add(self, name: str, shape: tuple[int, ...]) -> None:
        self.shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    def layer(self, name: str, kind: str, inner: int, outer: int) -> tuple[str, str]:
        if kind == "attn":
            self.add(f"{name}.norm", (inner,))
            self.add(f"{name}.qkv", (3 * inner, inner, 1))
            self.add(f"{name}.proj_out", (inner, inner, 1))
        elif kind in ("down", "up") and not self.updown:
            self.add(f"{name}.{'op' if kind == 'down' else 'conv'}", (outer, inner, 3, 3))
        else:
            self.add(f"{name}.in_layers.0", (inner,))
            self.add(f"{name}.in_layers.2", (outer, inner, 3, 3))
            self.add(f"{name}.emb_layers.1", ((2 if self.film else 1) * outer, 4 * self.channels))
            self.add(f"{name}.out_layers.0", (outer,))
            self.add(f"{name}.out_layers.3", (outer, outer, 3, 3))
            if inner != outer:
                self.add(f"{name}.skip_connection", (outer, inner, 1, 1))
        return name, kind

    def way_down(self, images: int, widths, blocks: int, attention) -> tuple[Plan, list[int]]:
        self.add("input_blocks.0.0", (widths[0], images, 3, 3))
        plan, skips = [[("input_blocks.0.0", "conv")]], [widths[0]]
        for level, width in enumerate(widths):
            for _ in range(blocks):
                name = f"input_blocks.{len(plan)}"
                plan.append([self.layer(f"{name}.0", "res", skips[-1], width)])
                if level in attention:
                    plan[-1].append(self.layer(f"{name}.1", "attn", width, width))
                skips.append(width)
            if width is not widths[-1] or level < len(widths) - 1:
                plan.append([self.layer(f"input_blocks.{len(plan)}.0", "down", width, width)])
                skips.append(width)
        return plan, skips

    def way_up(self, widths, blocks: int, attention, skips: list[int]) -> Plan:
        plan, width = [], widths[-1]
        for level in reversed(range(len(widths))):
            for i in range(blocks + 1):
                name = f"output_blocks.{len(plan)}"
                stage = [self.layer(f"{name}.0", "res", width + skips.pop(), widths[level])]
                width = widths[level]
                if level in attention:
                    stage.append(self.layer(f"{name}.1", "attn", width, width))
                if level and i == blocks:
                    stage.append(self.layer(f"{name}.{len(stage)}", "up", width, width))
                plan.append(stage)
        return plan

    def state(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Weights that keep the size of what they are given, and norms that are no identity."""
        state = {}
        for i, (name, shape) in enumerate(self.shapes.items()):
            draw = random(*shape, seed=i)
            matrix = len(shape) > 1
            scale = prod(shape[1:]) ** -0.5 if matrix else 0.2
            norm = name.endswith("weight") and not matrix
            state[name] = (scale * draw + norm).to(dtype)
        return state


class Reference:
    """The published forward pass in float64, one head at a time."""

    def __init__(self, net: Published, state: dict[str, Tensor], heads: int, order: str) -> None:
        self.net, self.heads, self.order = net, heads, order
        self.state = {k: v.double() for k, v in state.items()}

    def __call__(self, x: Tensor, step: float, label: int | None = None) -> Tensor:
        half = self.net.channels // 2
        angles = step * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        e = torch.cat([angles.cos(), angles.sin()])[None]
        e = self.linear("time_embed.2", F.silu(self.linear("time_embed.0", e)))
        if label is not None:
            e = e + self.state["label_emb.weight"][label]
        h, skips = x, []
        for stage in self.net.down:
            skips.append(h := self.stage(stage, h, e))
        h = self.stage(self.net.middle, h, e)
        for stage in self.net.up:
            h = self.stage(stage, torch.cat([h, skips.pop()], dim=1), e)
        return self.conv("out.2", F.silu(self.norm("out.0", h)))

    def both(self, name: str) -> tuple[Tensor, Tensor]:
        return self.state[f"{name}.weight"], self.state[f"{name}.bias"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.both(name)
        return x @ weight.T + bias

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight, bias = self.both(name)
        return F.conv2d(x, weight, bias, stride, padding=weight.shape[-1] // 2)

    def norm(self, name: str, x: Tensor) -> Tensor:
        groups = x.reshape(len(x), 32, -1)
        mean, var = groups.mean(-1, keepdim=True), groups.var(-1, correction=0, keepdim=True)
        weight, bias = (p[None, :, None, None] for p in self.both(name))
        return ((groups - mean) / (var + 1e-5).sqrt()).reshape_as(x) * weight + bias

    def stage(self, stage: list[tuple[str, str]], h: Tensor, e: Tensor) -> Tensor:
        for name, kind in stage:
            if kind == "conv":
                h = self.conv(name, h)
            elif kind == "attn":
                h = self.attention(name, h)
            elif kind == "down" and not self.net.updown:
                h = self.conv(f"{name}.op", h, stride=2)
            elif kind == "up" and not self.net.updown:
                h = self.conv(f"{name}.conv", self.resize(h, kind))
            else:
                h = self.block(name, kind, h, e)
        return h

    def resize(self, x: Tensor, kind: str) -> Tensor:
        if kind == "up":
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        if kind == "down":
            return (x[..., ::2, :] + x[..., 1::2, :])[..., ::2] / 4 + (
                x[..., ::2, :] + x[..., 1::2, :]
            )[..., 1::2] / 4
        return x

    def block(self, name: str, kind: str, x: Tensor, e: Tensor) -> Tensor:
        h = self.resize(F.silu(self.norm(f"{name}.in_layers.0", x)), kind)
        h = self.conv(f"{name}.in_layers.2", h)
        film = self.linear(f"{name}.emb_layers.1", F.silu(e))[..., None, None]
        if self.net.film:
            half = film.shape[1] // 2
            h = self.norm(f"{name}.out_layers.0", h) * (1 + film[:, :half]) + film[:, half:]
        else:
            h = self.norm(f"{name}.out_layers.0", h + film)
        h = self.conv(f"{name}.out_layers.3", F.silu(h))
        x = self.resize(x, kind)
        skip = f"{name}.skip_connection"
        return h + (self.conv(skip, x) if f"{skip}.weight" in self.state else x)

    def attention(self, name: str, x: Tensor) -> Tensor:
        c, pixels = x.shape[1], self.norm(f"{name}.norm", x).flatten(2)
        weight, bias = self.both(f"{name}.qkv")
        qkv, wide = weight[..., 0] @ pixels + bias[:, None], c // self.heads
        heads = []
        for i in range(self.heads):
            first = 3 * i * wide if self.order == "legacy" else i * wide
            apart = wide if self.order == "legacy" else c
            q, k, v = (qkv[:, first + j * apart :][:, :wide] for j in range(3))
            scores = torch.einsum("bci,bcj->bij", q, k) / wide**0.5
            heads.append(torch.einsum("bij,bcj->bci", scores.softmax(-1), v))
        weight, bias = self.both(f"{name}.proj_out")
        return x + (weight[..., 0] @ torch.cat(heads, 1) + bias[:, None]).reshape_as(x)


VARIANTS = {
    "small": (SMALL, {}, {"heads": 2}),
    "new order": (SMALL, {}, {"heads": 4, "order": "new"}),
    "deep": (DEEP, {"out": 3}, {"heads": 2}),
    "classes": (SMALL, {"classes": 5}, {"heads": 2}),
    "convolutions": (DEEP, {"updown": False}, {"heads": 1}),
    "added": (SMALL, {"film": False, "updown": False}, {"heads": 2}),
    "grey": (SMALL, {"images": 1, "out": 2}, {"heads": 2}),
}


@pytest.fixture(params=VARIANTS)
def variant(request):
    shape, more, read_as = VARIANTS[request.param]
    return Published(**shape, **more), read_as, 2 if more.get("classes") else None


def saved(folder: Path, state, name: str = "model.pt") -> Path:
    file = folder / name
    save_file(state, file) if name.endswith(".safetensors") else torch.save(state, file)
    return file


def table(steps: int = 1000) -> Tensor:
    """The products of 1 - beta of DDPM."""
    return (1 - torch.linspace(1e-4, 0.02, steps, dtype=torch.float64)).cumprod(0)


@pytest.mark.parametrize("step", [0, 400, 999])
def test_the_answer_is_the_published_one(tmp_path: Path, variant, step: int) -> None:
    """x_0 of the first half of the channels, in float64: eps of a pass written from the paper."""
    net, read_as, label = variant
    state = net.state()
    prior = load_prior(saved(tmp_path, state), size=SIZE, label=label, **read_as).double()
    c = net.shapes["input_blocks.0.0.weight"][1]
    x_t, t = random(2, c, SIZE, SIZE), torch.tensor((step + 1) / 1000, dtype=torch.float64)
    settings = {"heads": read_as["heads"], "order": read_as.get("order", "legacy")}
    eps = Reference(net, state, **settings)(x_t, float(t * 1000 - 1), label)[:, :c]
    alpha, sigma = table()[step].sqrt(), (1 - table()[step] + 1e-6).sqrt()  # sigma_min = 1e-3
    expected = (x_t - sigma * eps) / alpha
    scale = float(expected.abs().max())
    torch.testing.assert_close(prior(x_t, t), expected, rtol=0, atol=1e-9 * scale)


def test_the_answer_is_azulas(variant, monkeypatch) -> None:
    """Same weights in the network of azula's ADM plugin, same answer."""
    monkeypatch.setitem(sys.modules, "gdown", ModuleType("gdown"))  # it fetches files; none is
    unet = pytest.importorskip("azula.plugins.adm._src.unet")
    net, read_as, label = variant
    state = net.state()
    layout = Layout.of(state)
    theirs = unet.UNetModel(
        image_size=SIZE,
        in_channels=layout.in_channels,
        model_channels=layout.channels,
        out_channels=layout.out_channels,
        num_res_blocks=layout.blocks,
        attention_resolutions=[2**i for i in layout.attention],
        channel_mult=[w // layout.channels for w in layout.widths],
        num_classes=layout.classes or None,
        num_heads=read_as["heads"],
        use_scale_shift_norm=layout.scale_shift,
        resblock_updown=layout.updown,
        use_new_attention_order=read_as.get("order") == "new",
    ).eval()
    theirs.load_state_dict(state)
    ours = ADM(Layout(**{**vars(layout), **read_as}))
    ours.load_state_dict(state)
    x, step = random(2, layout.in_channels, 16, 16, dtype=torch.float32), torch.full((2,), 321)
    labels = None if label is None else torch.full((2,), label)
    with torch.no_grad():
        expected = theirs(x, step, labels)
        found = ours(x, step.float(), labels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


LINEAR = {"schedule": "linear", "steps": 1000, "scale": 1.0}
OLD = {"schedule": "cosine", "steps": 4000, "scale": 0.25, "heads": 4}
WIDE, DOWN = (1, 1, 2, 2, 4, 4), False
# the flags that the authors of each file give with it, and its millions of parameters
FLAGS = {
    "64 cond": (192, (1, 2, 3, 4), 3, (1, 2, 3), 1000, True)
    + ({"size": 64, "order": "new", **LINEAR, "schedule": "cosine"}, 295.9),
    "128 cond": (256, (1, 1, 2, 3, 4), 2, (2, 3, 4), 1000, True)
    + ({"size": 128, "heads": 4, **LINEAR}, 421.5),
    "256": (256, WIDE, 2, (3, 4, 5), 0, True, {"size": 256, **LINEAR}, 552.8),
    "256 cond": (256, WIDE, 2, (3, 4, 5), 1000, True, {"size": 256, **LINEAR}, 553.8),
    "512 cond": (256, (0.5, *WIDE), 2, (4, 5, 6), 1000, True, {"size": 512, **LINEAR}, 559.0),
    "ffhq": (128, WIDE, 1, (4,), 0, True, {"size": 256, **LINEAR}, 93.6),
    "2021 64": (128, (1, 2, 3, 4), 3, (2, 3), 0, DOWN, {"size": 64, **OLD}, 121.1),
    "2021 64 cond": (192, (1, 2, 3, 4), 3, (2, 3), 1000, DOWN)
    + ({"size": 64, **OLD, "scale": 1.0}, 273.1),
    "2021 32": (128, (1, 2, 2, 2), 3, (1, 2), 0, DOWN, {"size": 32, **OLD}, 52.5),
    "2021 lsun": (128, WIDE, 2, (4,), 0, DOWN, {"size": 256, "heads": 1, **LINEAR}, 113.7),
}


@pytest.mark.parametrize("name", FLAGS)
def test_published_networks_are_known_by_their_layout(name: str) -> None:
    """Every tensor of each, nothing allocated; and the settings that no tensor shows."""
    channels, mult, blocks, attention, classes, updown, settings, millions = FLAGS[name]
    widths = tuple(int(channels * m) for m in mult)
    film = name != "2021 lsun"
    net = Published(channels, widths, blocks, attention, 3, 6, classes, film, updown)
    with torch.device("meta"):
        layout = Layout.of({k: torch.empty(v) for k, v in net.shapes.items()})
        found = {k: tuple(v.shape) for k, v in ADM(layout).state_dict().items()}
    assert found == net.shapes and layout.attention == attention
    assert abs(sum(prod(v) for v in found.values()) / 1e6 - millions) < 0.06
    assert complete(layout, {}) == settings
    assert len(FLAGS) == len(PUBLISHED) + 1  # 256 px, with classes and without


def cosine(step: int, steps: int) -> Tensor:
    """The products of 1 - beta of improved diffusion, one by one."""
    f = [((i / steps + 0.008) / 1.008 * torch.pi / 2) for i in range(step + 2)]
    f = torch.tensor(f, dtype=torch.float64).cos() ** 2
    return (1 - (1 - f[1:] / f[:-1]).clamp_max(0.999)).prod()


@pytest.mark.parametrize("step", [0, 2000, 3999])
def test_the_schedule_and_the_steps_are_settings(tmp_path: Path, step: int) -> None:
    net = Published(**SMALL)
    file = saved(tmp_path, net.state())
    settings = {"schedule": "cosine", "steps": 4000, "scale": 0.25, "predicts": "sample"}
    prior = load_prior(file, size=SIZE, heads=2, **settings).double()
    t = torch.tensor((step + 1) / 4000, dtype=torch.float64)
    expected = cosine(step, 4000).clamp_min(1e-8)
    torch.testing.assert_close(prior.diffusion.schedule(t)[0] ** 2, expected, rtol=1e-9, atol=0)
    x_t = random(1, 3, SIZE, SIZE)
    x_0 = Reference(net, net.state(), 2, "legacy")(x_t, step / 4)[:, :3]
    torch.testing.assert_close(prior(x_t, t), x_0, rtol=0, atol=1e-9)
    clipped = load_prior(file, size=SIZE, heads=2, clip=True, **settings).double()
    torch.testing.assert_close(clipped(x_t, t), x_0.clamp(-1, 1), rtol=0, atol=1e-9)
    assert x_0.abs().max() > 1


T = torch.tensor(0.4, dtype=torch.float64)


def test_heads_and_their_order_matter(tmp_path: Path) -> None:
    """Guards the guard: a file read with another setting answers something else."""
    file, x_t = saved(tmp_path, Published(**SMALL).state()), random(1, 3, SIZE, SIZE).float()
    answers = [
        load_prior(file, size=SIZE, heads=heads, order=order)(x_t, T)
        for heads, order in [(2, "legacy"), (4, "legacy"), (2, "new"), (4, "new")]
    ]
    for i, one in enumerate(answers):
        assert all((one - other).abs().max() > 1e-3 for other in answers[:i])
    by_width = load_prior(file, size=SIZE, head_channels=32)(x_t, T)
    assert torch.equal(by_width, answers[0])


def test_variances_are_cut_off_and_the_mean_is_not_touched(tmp_path: Path) -> None:
    net = Published(**SMALL)
    six, x_t = net.state(), random(2, 3, SIZE, SIZE).float()
    three = six | {k: six[k][:3].clone() for k in ("out.2.weight", "out.2.bias")}
    a, b = (
        load_prior(saved(tmp_path, state, name), size=SIZE)(x_t, T)
        for state, name in [(six, "six.pt"), (three, "three.pt")]
    )
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_half_precision_weights_are_cast(tmp_path: Path) -> None:
    """The answer is that of the rounded weights, in float32: no activation is rounded."""
    net = Published(**SMALL)
    half = {k: v.half() for k, v in net.state().items()}
    prior = load_prior(saved(tmp_path, half), size=SIZE, heads=2, predicts="sample")
    assert prior.like.dtype == torch.float32
    x_t = random(1, 3, SIZE, SIZE)
    expected = Reference(net, half, 2, "legacy")(x_t, 399.0)[:, :3]
    torch.testing.assert_close(prior(x_t.float(), T).double(), expected, rtol=0, atol=1e-4)


def test_another_size_is_asked_for_or_tiled(tmp_path: Path) -> None:
    net, file = Published(**SMALL), saved(tmp_path, Published(**SMALL).state())
    prior = load_prior(file, size=24, heads=2, predicts="sample").double()
    x_t = random(1, 3, 24, 24)
    expected = Reference(net, net.state(), 2, "legacy")(x_t, 399.0)[:, :3]
    torch.testing.assert_close(prior(x_t, T), expected, rtol=0, atol=1e-9)
    with pytest.raises(ValueError, match="tiled priors take any size"):
        prior.for_shape((3, 40, 40))
    tiled, corner = TiledPrior(prior, 64, 8, (3, 40, 30)), random(1, 3, 40, 30)
    assert tiled.tile == 24
    seen = tiled(corner, T)[..., :10, :4]  # one window sees it
    torch.testing.assert_close(seen, prior(corner[..., :24, :24], T)[..., :10, :4])
    with pytest.raises(PriorError, match="size is a multiple of 2 for this network, got 25$"):
        load_prior(file, size=25)


def test_a_class_is_chosen_and_changed(tmp_path: Path) -> None:
    net = Published(**SMALL, classes=5)
    file = saved(tmp_path, net.state())
    prior = load_prior(file, size=SIZE, label=3, predicts="sample", heads=2).double()
    other, x_t = prior.for_label(0), random(2, 3, SIZE, SIZE)
    reference = Reference(net, net.state(), 2, "legacy")
    for one, label in ((prior, 3), (other, 0)):
        expected = reference(x_t, 399.0, label)[:, :3]
        torch.testing.assert_close(one(x_t, T), expected, rtol=0, atol=1e-9)
    assert prior.label == 3 and other.network is prior.network
    assert (prior(x_t, T) - other(x_t, T)).abs().max() > 1e-2
    unlabelled = load_prior(file, size=SIZE)
    assert unlabelled.needs_label and unlabelled.label is None
    with pytest.raises(SettingError, match="5 classes: label is one of 0 ... 4, got None$"):
        unlabelled(x_t.float(), T)
    for label in (5, -1, "cat", True, 2.0):
        with pytest.raises(PriorError, match=f"5 classes: label is one of 0 ... 4, got {label!r}"):
            load_prior(file, size=SIZE, label=label)
    plain = saved(tmp_path, Published(**SMALL).state(), "plain.pt")
    with pytest.raises(PriorError, match="no classes, so there is no label=1$"):
        load_prior(plain, size=SIZE, label=1)


def test_gradients_pass_and_weights_take_none(tmp_path: Path) -> None:
    """Against a difference quotient in float64."""
    file = saved(tmp_path, Published(**SMALL).state())
    prior = load_prior(file, size=SIZE).double()
    assert not any(p.requires_grad for p in prior.parameters()) and not prior.network.training
    x_t, v, d = (random(1, 3, SIZE, SIZE, seed=i) for i in range(3))
    _, vjp = denoise_vjp(prior, x_t, T)
    slope = (prior(x_t + 1e-6 * d, T) - prior(x_t - 1e-6 * d, T)) / 2e-6
    assert abs((vjp(v) * d).sum() / (v * slope).sum() - 1) < 1e-6


def test_rows_do_not_meet(tmp_path: Path) -> None:
    prior = load_prior(saved(tmp_path, Published(**DEEP).state()), size=SIZE, heads=1).double()
    x_t = random(3, 3, SIZE, SIZE)
    torch.testing.assert_close(prior(x_t, T)[1:2], prior(x_t[1:2], T), rtol=0, atol=1e-12)


# --- finding and opening ---


@pytest.mark.parametrize("wrap", ["plain", "safetensors", "ema", "parallel", "state_dict"])
def test_a_file_is_opened_however_it_was_saved(tmp_path: Path, wrap: str) -> None:
    state = Published(**SMALL).state()
    expected = load_prior(saved(tmp_path, state, "expected.pt"), size=SIZE)
    name = "model.safetensors" if wrap == "safetensors" else "model.pt"
    given = {
        "ema": {"ema": state, "step": 3},
        "parallel": {f"module.{k}": v for k, v in state.items()},
        "state_dict": {"state_dict": state, "epoch": 1},
    }.get(wrap, state)
    file = saved(tmp_path, given, name)
    prior = load_prior(file, size=SIZE)
    x_t = random(1, 3, SIZE, SIZE).float()
    assert isinstance(prior, NetworkPrior) and prior.shape == (3, SIZE, SIZE)
    torch.testing.assert_close(prior(x_t, T), expected(x_t, T), rtol=0, atol=1e-5)
    assert prior.name == name and prior.sha256 == sha256(file) and len(prior.sha256) == 64


def test_a_digest_is_that_of_the_file(tmp_path: Path) -> None:
    """As ``sha256sum`` prints it."""
    (tmp_path / "abc.pt").write_bytes(b"abc")
    assert sha256(tmp_path / "abc.pt") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_settings_lie_beside_a_file_and_those_given_come_first(tmp_path: Path) -> None:
    file = saved(tmp_path, Published(**SMALL, classes=5).state())
    file.with_suffix(".json").write_text(json.dumps({"size": SIZE, "label": 1, "heads": 2}))
    assert load_prior(file).label == 1 and load_prior(file, label=2).label == 2
    assert load_prior(tmp_path).label == 1  # a folder of one weights file
    with pytest.raises(PriorError, match="no setting 'sice'; it has label, null_label, size"):
        load_prior(file, sice=8)
    file.with_suffix(".json").write_text("[1]")
    with pytest.raises(PriorError, match="model.json beside it does not hold a JSON object$"):
        load_prior(file)


def test_a_file_of_another_kind_is_no_prior(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(b"")
    with pytest.raises(
        PriorError, match=r"a weights file \(.pt, .pth, .*\), or a hub id owner/name$"
    ):
        load_prior(tmp_path / "cat.png")


def test_several_files_in_a_folder_are_named(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        saved(tmp_path, {}, name)
    with pytest.raises(
        PriorError, match=r"several weights files \(a.pt, b.pt\): give one of them$"
    ):
        load_prior(tmp_path)


def test_a_hub_id_opens_offline_from_the_cache(tmp_path: Path, monkeypatch) -> None:
    """As huggingface_hub lays its cache out, without a network; ``HF_HUB_OFFLINE=1`` sets this."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "models--someone--faces"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text("a" * 40)
    snapshot = cached / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    file = saved(snapshot, Published(**SMALL).state(), "faces.pt")
    (snapshot / "faces.json").write_text(json.dumps({"size": SIZE}))
    prior = load_prior("someone/faces")
    assert prior.name == "someone/faces" and prior.sha256 == sha256(file)
    with pytest.raises(PriorError, match="^no prior 'someone/else' on disk, nor on the hub"):
        load_prior("someone/else")


# --- what is no prior ---


def refusal(file: Path, **settings) -> str:
    with pytest.raises(PriorError) as error:
        load_prior(file, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


BLOCK = "input_blocks.3.0.out_layers.3.weight"


def test_a_partial_file_names_the_module_that_is_missing(tmp_path: Path) -> None:
    net = Published(**SMALL)
    state = {k: v for k, v in net.state().items() if not k.startswith(BLOCK[:-7])}
    text = refusal(saved(tmp_path, state), size=SIZE)
    assert f"it lacks 2 of the {len(net.shapes)} tensors of its ADM" in text
    assert f"those of {BLOCK[:-7]}: expected {BLOCK} of shape (64, 64, 3, 3)" in text
    for lost in ("time_embed.0.weight", "out.2.weight", "input_blocks.1.0.emb_layers.1.weight"):
        state = {k: v for k, v in net.state().items() if k != lost}
        text = refusal(saved(tmp_path, state), size=SIZE)
        assert f"it lacks the weight of {lost[:-7]}, which every ADM network has" in text


def test_a_file_with_too_much_or_of_other_shapes_is_refused(tmp_path: Path) -> None:
    state = Published(**SMALL).state()
    more = state | {"middle_block.3.in_layers.0.weight": torch.ones(64)}
    text = refusal(saved(tmp_path, more), size=SIZE)
    assert "it has 1 tensors that its ADM has no place for, first those of middle_block.3" in text
    text = refusal(saved(tmp_path, state | {BLOCK: torch.ones(64, 32, 3, 3)}), size=SIZE)
    assert f"its {BLOCK} has shape (64, 32, 3, 3), expected (64, 64, 3, 3)" in text


def test_networks_that_are_no_priors_of_images_are_refused(tmp_path: Path) -> None:
    upsampler = Published(**SMALL, images=6, out=6).state()
    assert "6 channels of 6" in refusal(saved(tmp_path, upsampler), size=SIZE)
    alien = {"conv_in.weight": torch.ones(3, 3)}
    text = refusal(saved(tmp_path, alien))
    assert "its tensors (conv_in.weight ...) are not those of an ADM network" in text
    for empty in ({}, {"step": 3}, [1]):
        refusal(saved(tmp_path, empty))


def test_settings_that_are_not_known_are_asked_for(tmp_path: Path) -> None:
    file = saved(tmp_path, Published(**SMALL).state())
    assert "32 channels times 1, 2, is that of no published network: set size=" in refusal(file)
    for wrong, said in (
        ({"order": "old"}, "no attention order 'old'; there are legacy, new"),
        ({"schedule": "sigmoid"}, "no schedule 'sigmoid'; there are linear, cosine"),
        ({"heads": 5}, "64 channels are not to be split into 5 heads"),
        ({"head_channels": 128}, "64 channels are not to be split into no heads"),
        ({"predicts": "flow"}, "no prediction 'flow'; there are epsilon, v_prediction, sample"),
    ):
        assert said in refusal(file, size=SIZE, **wrong)


class Bomb:
    """What a hostile pickle does when it is opened as a whole."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    text = refusal(saved(tmp_path, {"state_dict": Bomb(mark)}))
    assert "a pickle whose code would have to be run; save it anew" in text and not mark.exists()
    file = tmp_path / "edm-ffhq.pkl"
    file.write_bytes(pickle.dumps({"ema": Bomb(mark)}))
    text = refusal(file)
    assert "convert it where its code is, as docs/priors.md says" in text and not mark.exists()


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
@pytest.mark.parametrize("keep", [0, 50, 3000])
def test_a_file_that_is_cut_short_is_one_sentence(tmp_path: Path, name: str, keep: int) -> None:
    file = saved(tmp_path, Published(**SMALL).state(), name)
    file.write_bytes(file.read_bytes()[:keep])
    assert "does not hold a prior that can be opened" in refusal(file)
