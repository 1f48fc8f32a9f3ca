"""Low-rank changes of many layouts, against weights that are merged by hand, and diffusers' own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, StableDiffusionXLPipeline
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffprior.errors import PriorError
from diffprior.pretrained.layer_names import aliases
from diffprior.pretrained.load import load_prior
from diffprior.pretrained.lora import merge_lora

from support import tiny
from support.exact import random

Layers = dict[str, nn.Module]
ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_{}"
NAMES = [
    ATTENTION.format("q"),
    ATTENTION.format("out.0"),
    "up_blocks.1.attentions.0.proj_in",  # a convolution of one pixel
    "mid_block.resnets.0.conv1",
    "down_blocks.0.downsamplers.0.conv",
]


def matrices(layer: nn.Module, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return B and A of a layer, in the shapes that trainers give to them."""
    outer, inner, *kernel = layer.weight.shape
    up = random(outer, rank, *[1 for _ in kernel], seed=seed, dtype=torch.float32)
    return up, random(rank, inner, *kernel, seed=seed + 1, dtype=torch.float32)


def merged(layer: nn.Module, up: Tensor, down: Tensor, factor: float) -> Tensor:
    """Return W + factor B A in float64, one output and one input pixel at a time."""
    product = torch.einsum("or,ri->oi", up.double().flatten(1), down.double().flatten(1))
    return layer.weight.detach().double() + factor * product.reshape(layer.weight.shape)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    tiny.stable_diffusion(root / "sd")
    tiny.stable_diffusion_xl(root / "xl")
    tiny.flux(root / "flux")
    return {name: root / name for name in ("sd", "xl", "flux")}


def kohya(name: str, up: Tensor, down: Tensor, alpha: float | None) -> dict[str, Tensor]:
    flat = "lora_unet_" + name.replace(".", "_")
    given = {f"{flat}.lora_up.weight": up, f"{flat}.lora_down.weight": down}
    return given if alpha is None else given | {f"{flat}.alpha": torch.tensor(alpha)}


def dotted(up_name: str, down_name: str, prefix: str = "unet.") -> Callable[..., Any]:
    def write(name: str, up: Tensor, down: Tensor, alpha: float | None) -> dict[str, Tensor]:
        given = {f"{prefix}{name}.{up_name}.weight": up, f"{prefix}{name}.{down_name}.weight": down}
        return given if alpha is None else given | {f"{prefix}{name}.alpha": torch.tensor(alpha)}

    return write


LAYOUTS = {
    "kohya": kohya,
    "diffusers": dotted("lora_B", "lora_A"),
    "diffusers, linear layers": dotted("lora_linear_layer.up", "lora_linear_layer.down"),
    "diffusers, earlier": dotted("lora.up", "lora.down"),
    "peft": dotted("lora_B.default", "lora_A.default", "base_model.model."),
    "comfy": dotted("lora_up", "lora_down", "diffusion_model."),
    "bare": dotted("lora_B", "lora_A", ""),
}


@pytest.mark.parametrize("with_alpha", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layer_has_its_own_rank_and_alpha(tmp_path, layout: str, with_alpha: bool) -> None:
    """W + s alpha / r B A to a rounding of float32; without alpha W + s B A."""
    unet, content, expected = tiny.unet(), {}, {}
    own = dict(unet.named_modules())
    for i, name in enumerate(NAMES):
        rank, alpha = 2 + i, (0.5 * i + 1 if with_alpha else None)
        up, down = matrices(own[name], rank, seed=10 * i)
        content |= LAYOUTS[layout](name, up, down, alpha)
        expected[name] = merged(own[name], up, down, 0.7 * (alpha / rank if alpha else 1))
    others = {k: v.clone() for k, v in unet.state_dict().items()}
    save_file(content, tmp_path / "lora.safetensors")
    merge_lora({"network": unet}, tmp_path / "lora.safetensors", 0.7)
    for name, weight in expected.items():
        found = own[name].weight.detach().double()
        torch.testing.assert_close(found, weight, rtol=0, atol=2e-6 * float(weight.abs().max()))
        others.pop(f"{name}.weight")
    assert all(torch.equal(unet.state_dict()[k], v) for k, v in others.items())


def test_a_core_between_the_matrices_of_a_convolution(tmp_path: Path) -> None:
    """LoCon: W[o, c, k, l] + alpha / r sum_rs B[o, r] M[r, s, k, l] A[s, c]."""
    unet = tiny.unet()
    name = "mid_block.resnets.0.conv1"
    layer = unet.get_submodule(name)
    up, down = (random(*shape, seed=3, dtype=torch.float32) for shape in ((16, 4), (4, 16)))
    mid = random(4, 4, 3, 3, seed=4, dtype=torch.float32)
    expected = layer.weight.detach().clone()
    for k in range(3):
        for j in range(3):
            expected[:, :, k, j] += 0.5 * up @ mid[:, :, k, j] @ down
    content = kohya(name, up[..., None, None], down[..., None, None], 2.0)
    content["lora_unet_mid_block_resnets_0_conv1.lora_mid.weight"] = mid
    save_file(content, tmp_path / "lora.safetensors")
    merge_lora({"network": unet}, tmp_path / "lora.safetensors", 1.0)
    torch.testing.assert_close(layer.weight.detach(), expected, rtol=0, atol=1e-4)


def test_the_notes_of_peft_are_the_alphas(tmp_path: Path) -> None:
    """Its patterns of ranks and alphas, and rsLoRA: the layers that peft itself makes."""
    torch.manual_seed(0)
    for root in (False, True):
        unet = tiny.unet()
        targets = ["to_q", "to_v", "conv1"]
        config = LoraConfig(
            r=4,
            lora_alpha=6,
            target_modules=targets,
            rank_pattern={"to_v": 2},
            alpha_pattern={"to_v": 3, "attn1.to_q": 5},
            use_rslora=root,
            init_lora_weights=False,
        )
        plain = {k: v.clone() for k, v in unet.state_dict().items()}
        model = get_peft_model(unet, config)
        model.save_pretrained(tmp_path / str(root))
        expected = model.merge_and_unload().state_dict()
        ours = tiny.unet()
        ours.load_state_dict(plain)
        merge_lora({"network": ours}, tmp_path / str(root), 1.0)
        for name, weight in ours.state_dict().items():
            torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-5)
        assert any(not torch.equal(weight, plain[k]) for k, weight in expected.items())


def fully(pipe: Any, names: Iterator[tuple[str, tuple[nn.Module, ...]]]) -> dict[str, Tensor]:
    """Return a kohya file of rank 3 and alpha 2 with a change for every name."""
    content: dict[str, Tensor] = {}
    for i, (name, layers) in enumerate(names):
        outer = sum(len(layer.weight) for layer in layers)
        inner, *kernel = layers[0].weight.shape[1:]
        draw = {"seed": 2 * i, "dtype": torch.float32}
        content[f"{name}.lora_up.weight"] = random(outer, 3, *[1 for _ in kernel], **draw) / 9
        content[f"{name}.lora_down.weight"] = random(3, inner, *kernel, **draw) / 9
        content[f"{name}.alpha"] = torch.tensor(2.0)
    return content


@pytest.mark.parametrize(("kind", "start"), [("xl", "input_blocks"), ("flux", "double_blocks")])
def test_the_names_of_the_published_code(folders, tmp_path: Path, kind: str, start: str) -> None:
    """Against diffusers, which reads such files too, as long as all ranks are one."""
    cls = {"xl": StableDiffusionXLPipeline, "flux": FluxPipeline}[kind]
    pipe = cls.from_pretrained(folders[kind])
    network = pipe.unet if kind == "xl" else pipe.transformer
    firsts = {
        "xl": ("input_blocks_", "middle_", "output_"),
        "flux": ("double_blocks_", "single_blocks_"),
    }[kind]
    named = {
        f"lora_unet_{k}": v
        for k, v in aliases(network).items()
        if k.startswith(firsts) and "." not in k and "linear1" not in k
        if kind == "flux" or "attn" in k or "proj" in k
    }  # of Flux, diffusers knows the linear1 of the published widths alone
    assert len(named) > 8 and any(start in k for k in named)
    file = tmp_path / "lora.safetensors"
    save_file(fully(pipe, iter(named.items())), file)
    ours = cls.from_pretrained(folders[kind])
    ours = ours.unet if kind == "xl" else ours.transformer
    merge_lora({"network": ours}, file, 1.0)
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    theirs = network.state_dict()
    changed = 0
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, theirs[name], rtol=0, atol=1e-5)
        changed += int(not torch.equal(weight, cls_weights(folders[kind], kind)[name]))
    assert changed >= len(named)


def test_the_names_of_convolutions() -> None:
    """Those of Stable Diffusion XL, whose levels have two residual blocks."""
    unet = tiny.unet_xl(layers_per_block=2)
    known = aliases(unet)
    for published, name in {
        "input_blocks.0.0": "conv_in",
        "input_blocks.1.0.in_layers.2": "down_blocks.0.resnets.0.conv1",
        "input_blocks.2.1.proj_in": "down_blocks.0.attentions.1.proj_in",
        "input_blocks.3.0.op": "down_blocks.0.downsamplers.0.conv",
        "input_blocks.4.0.skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
        "middle_block.0.emb_layers.1": "mid_block.resnets.0.time_emb_proj",
        "middle_block.1.proj_out": "mid_block.attentions.0.proj_out",
        "middle_block.2.out_layers.3": "mid_block.resnets.1.conv2",
        "output_blocks.2.1.conv": "up_blocks.0.upsamplers.0.conv",
        "output_blocks.5.1.proj_in": "up_blocks.1.attentions.2.proj_in",
        "time_embed.2": "time_embedding.linear_2",
        "label_emb.0.0": "add_embedding.linear_1",
        "out.2": "conv_out",
    }.items():
        assert known[published] == known[published.replace(".", "_")] == (unet.get_submodule(name),)


def test_layers_that_were_one(folders, tmp_path: Path) -> None:
    """Queries, keys, values and the gate of a single block of Flux are rows of one matrix."""
    pipe = FluxPipeline.from_pretrained(folders["flux"])
    block = pipe.transformer.single_transformer_blocks[0]
    layers = [block.attn.to_q, block.attn.to_k, block.attn.to_v, block.proj_mlp]
    up, down = (random(*size, seed=3, dtype=torch.float32) for size in ((224, 5), (5, 32)))
    whole = torch.cat([layer.weight for layer in layers]).detach() + 0.4 * up @ down
    save_file(kohya("single_blocks.0.linear1", up, down, 2.0), tmp_path / "lora.safetensors")
    merge_lora({"network": pipe.transformer}, tmp_path / "lora.safetensors", 1.0)
    found = torch.cat([layer.weight for layer in layers]).detach()
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5)


def cls_weights(folder: Path, kind: str) -> dict[str, Tensor]:
    part = "unet" if kind == "xl" else "transformer"
    return load_file(folder / part / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("prefix", ["lora_te_text_model_", "text_encoder.text_model.", "lora_te1_"])
def test_a_text_encoder_is_changed_as_well(folders, tmp_path: Path, prefix: str) -> None:
    name = "encoder.layers.0.self_attn.q_proj"
    flat = prefix + (name.replace(".", "_") if prefix.startswith("lora") else name)
    down, up = random(2, 16, dtype=torch.float32), random(16, 2, seed=1, dtype=torch.float32)
    words = ("lora_A", "lora_B") if prefix.startswith("text") else ("lora_down", "lora_up")
    file = tmp_path / "lora.safetensors"
    save_file({f"{flat}.{words[0]}.weight": down, f"{flat}.{words[1]}.weight": up}, file)
    settings = {"prompt": "a red cat", "guidance_scale": 1.0}
    ours = load_prior(folders["sd"], lora=file, **settings)
    plain = load_prior(folders["sd"], **settings)
    reader = plain.inner.family.pipe.text_encoder
    layer = next(m for k, m in reader.named_modules() if k.endswith(name))
    with torch.no_grad():
        layer.weight += up @ down
    by_hand = plain.innermost.for_text("a red cat")
    z, t = random(1, 4, 8, 8, dtype=torch.float32), torch.tensor(0.5)
    torch.testing.assert_close(ours(z, t), by_hand(z, t), rtol=0, atol=1e-4)
    assert not torch.equal(by_hand(z, t), plain(z, t))


def test_several_files_add_up(folders, tmp_path: Path) -> None:
    """The change of two is the sum of their changes, each with its own scale."""
    own = dict(tiny.unet().named_modules())
    for i, name in enumerate(NAMES[:2]):
        save_file(kohya(name, *matrices(own[name], 2, i), 1.0), tmp_path / f"{i}.safetensors")
    files = [tmp_path / "0.safetensors", tmp_path / "1.safetensors"]
    both = load_prior(folders["sd"], lora=files, lora_scale=[0.5, -1.0])
    weights = load_prior(folders["sd"]).innermost.family.network.state_dict()
    for i, (name, scale) in enumerate(zip(NAMES, (0.5, -1.0), strict=False)):
        layer = nn.Module()
        layer.weight = weights[f"{name}.weight"]
        expected = merged(layer, *matrices(own[name], 2, i), scale / 2)
        found = both.innermost.family.network.state_dict()[f"{name}.weight"].double()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert [(a.name, a.scale) for a in both.source.added] == [
        ("0.safetensors", 0.5),
        ("1.safetensors", -1.0),
    ]
    with pytest.raises(PriorError, match="lora has 2 files, and lora_scale 1 numbers$"):
        load_prior(folders["sd"], lora=files, lora_scale=[0.5])


Q = "lora_unet_" + ATTENTION.format("q").replace(".", "_")
GOOD = {f"{Q}.lora_up.weight": torch.ones(8, 2), f"{Q}.lora_down.weight": torch.ones(2, 8)}
NAN = torch.tensor([[float("nan")] * 8] * 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (GOOD | {f"{Q}.dora_scale": torch.ones(8)}, "it has DoRA"),
        (GOOD | {f"{Q}.lora_magnitude_vector.weight": torch.ones(8)}, "it has DoRA"),
        ({f"{Q}.hada_w1_a": torch.ones(8, 2)}, "it has LoHa"),
        ({f"{Q}.lokr_w1": torch.ones(8, 2)}, "it has LoKr"),
        ({f"{Q}.diff": torch.ones(8, 8)}, "it has full differences"),
        (GOOD | {"lora_unet_nowhere.lora_up.weight": torch.ones(8, 2)}, "one half of the change"),
        ({k.replace("0_attn1", "7_attn1"): v for k, v in GOOD.items()}, "no layer of it is lora"),
        (GOOD | {f"{Q}.lora_up.weight": torch.ones(6, 2)}, "has shape .6, 8., its layer .8, 8."),
        (GOOD | {f"{Q}.lora_up.weight": torch.ones(8, 3)}, "do not fit each other"),
        (GOOD | {f"{Q}.lora_down.weight": NAN}, "numbers that are not finite"),
        (GOOD | {"clip_l.token": torch.ones(3, 16)}, "its clip_l.token is no tensor of a LoRA"),
        ({k.replace("_unet_", "_te3_"): v for k, v in GOOD.items()}, "no layer of it is lora_te3"),
    ],
)
def test_what_cannot_be_added_is_one_sentence(folders, tmp_path, content, words: str) -> None:
    file = tmp_path / "lora.safetensors"
    save_file({k: v.clone() for k, v in content.items()}, file)
    with pytest.raises(PriorError, match=words) as error:
        load_prior(folders["sd"], lora=file)
    text = str(error.value)
    assert "lora='lora.safetensors' is none of this network" in text
    assert "\n" not in text and len(text) <= 300


def test_notes_that_are_dora_are_refused(folders, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"use_dora": True, "r": 2}))
    save_file({k: v.clone() for k, v in GOOD.items()}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(PriorError, match="it is DoRA, and only LoRA is added"):
        load_prior(folders["sd"], lora=tmp_path / "adapter_model.safetensors")
