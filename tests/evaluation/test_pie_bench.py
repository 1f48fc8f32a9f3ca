"""PIE-Bench: its folder is read as it is published, and its numbers are those of others."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffprior.errors import MetricError
from diffprior.evaluation import pie_bench as module
from diffprior.evaluation.pie_bench import covered, measure, prompt_score, read, structure_distance

from support.exact import random
from support.text import unpadded

ROOT = Path(__file__).parents[2]
ENTRY = {
    "image_path": "1_change_object_80/1_artificial/1_animal/111000000000.jpg",
    "original_prompt": "a [cat] on a mat",
    "editing_prompt": "a [dog] on a mat",
    "editing_instruction": "Make the cat a dog",
    "editing_type_id": "1",
    "blended_word": "cat dog",
    "mask": [34, 4, 66, 4],
}


def folder(tmp_path: Path, count: int = 1, side: int = 32) -> Path:
    """A folder in the layout of the benchmark."""
    entries = {}
    for k in range(count):
        image = f"0_random_140/{k:012d}.png"
        entries[f"{k:012d}"] = ENTRY | {"image_path": image, "mask": [side * 8 + 8, 8 * side]}
        path = tmp_path / "annotation_images" / image
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = np.random.default_rng(k).integers(80, 160, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(photo).resize((side, side)).save(path)
    (tmp_path / "mapping_file.json").write_text(json.dumps(entries))
    return tmp_path


def test_the_mapping_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "mapping_file.json").write_text(json.dumps({"111000000000": ENTRY}))
    (edit,) = read(tmp_path)
    assert (edit.source, edit.target) == ("a cat on a mat", "a dog on a mat")
    assert (edit.name, edit.kind, edit.word) == ("111000000000", 1, ("cat", "dog"))
    assert edit.image == Path(ENTRY["image_path"]) and edit.instruction == "Make the cat a dog"
    mask = covered(edit.runs, (16, 32))[0, 0]
    inner = torch.zeros(16, 32, dtype=torch.bool)
    inner[1, 2:6] = inner[2, 2:6] = True  # pixels 34 to 37 and 66 to 69
    assert torch.equal(mask[1:-1, 1:-1], inner[1:-1, 1:-1])
    assert mask[0].all() and mask[-1].all() and mask[:, 0].all() and mask[:, -1].all()


@pytest.mark.parametrize("broken", ["mask", "editing_prompt", "image_path"])
def test_a_broken_file_is_one_sentence(tmp_path: Path, broken: str) -> None:
    with pytest.raises(MetricError, match=r"no mapping file of PIE-Bench"):
        read(tmp_path)
    entry = {k: v for k, v in ENTRY.items() if k != broken}
    (tmp_path / "mapping_file.json").write_text(json.dumps({"7": entry}))
    with pytest.raises(MetricError, match=f"the entry 7 is no edit of PIE-Bench.*{broken}"):
        read(tmp_path)


@pytest.fixture
def offline(monkeypatch) -> None:
    """No model is at hand."""

    def lpips(*_: torch.Tensor) -> torch.Tensor:
        raise MetricError("LPIPS needs weights")

    monkeypatch.setattr(module.metrics, "lpips", lpips)
    monkeypatch.setattr(module, "DINO", "nobody/nothing")
    monkeypatch.setattr(module, "CLIP", "nobody/nothing")
    module._from_cache.cache_clear()


def test_background_numbers_are_scikit_images(offline) -> None:
    x, source = (0.3 * random(1, 3, 40, 48, seed=k).clamp(-3, 3) for k in (1, 2))
    mask = covered([48 * 10 + 5, 200], (40, 48))
    found, missing = measure(x, source, mask, "anything")
    keep = (~mask)[0].double()
    a, b = (((p[0] + 1) / 2 * keep).movedim(0, -1).numpy() for p in (x, source))
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1))
    assert found["mse"] == pytest.approx(((a - b) ** 2).mean())
    options = {"gaussian_weights": True, "use_sample_covariance": False}
    _, full = structural_similarity(b, a, channel_axis=2, data_range=1, full=True, **options)
    assert found["ssim"] == pytest.approx(full.mean())
    n_a = {k for k, v in found.items() if np.isnan(v)}
    assert n_a == {"structure", "lpips", "prompt", "prompt_inside"}
    assert [m.split(" needs")[0] for m in missing] == [
        "the structure distance",
        "LPIPS",
        "the prompt score",
    ]


def test_an_edit_within_the_mask_leaves_the_background_perfect(offline) -> None:
    source = 0.3 * random(1, 3, 32, 32, seed=3)
    mask = covered([32 * 8 + 8, 100], (32, 32))
    found, _ = measure(torch.where(mask, 0.5, source), source, mask, "")
    assert found["psnr"] == float("inf") and found["mse"] == 0 and found["ssim"] == pytest.approx(1)
    found, _ = measure(source, source, torch.ones_like(mask), "")
    assert np.isnan(found["psnr"])


def test_structure_distance_is_that_of_the_last_layers_keys() -> None:
    """Against the keys made by hand from the hidden states, of a small ViT with random weights."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=224,
        patch_size=56,
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    x, y = (random(2, 3, 64, 64, seed=k).float().clamp(-1, 1) for k in (4, 5))
    found = structure_distance(x, y, model)
    assert (structure_distance(x, x, model) == 0).all() and (found > 0).all()

    def similarity(p: torch.Tensor) -> torch.Tensor:
        p = torch.nn.functional.interpolate((p + 1) * 127.5, (224, 224), mode="bilinear")
        mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (module.MEAN, module.STD))
        with torch.no_grad():
            hidden = model((p - mean) / std, output_hidden_states=True).hidden_states[-2]
        state = model.state_dict()
        last = {k.rsplit("2.", 1)[1]: v for k, v in state.items() if ".2." in f".{k}"}
        weight, bias = (
            next(v for k, v in last.items() if k.endswith((f"k_proj.{n}", f"key.{n}")))
            for n in ("weight", "bias")
        )
        h = torch.nn.functional.layer_norm(
            hidden, (24,), last["layernorm_before.weight"], last["layernorm_before.bias"], 1e-12
        )
        k = h @ weight.T + bias
        return torch.cosine_similarity(k[:, :, None], k[:, None], dim=-1)

    expected = (similarity(x) - similarity(y)).square().mean((1, 2))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


def test_prompt_score_is_the_cosine_of_clip(tmp_path: Path) -> None:
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        CLIPProcessor,
        CLIPTextConfig,
        CLIPVisionConfig,
    )

    from support.tiny import CLIP, tokenizer

    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
        projection_dim=8,
    )
    text = CLIPTextConfig(**CLIP, projection_dim=8)
    config = CLIPConfig(
        text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8
    )
    model = CLIPModel(config).eval()
    sizes = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = CLIPProcessor(CLIPImageProcessor(**sizes), tokenizer(tmp_path))
    x = random(2, 3, 32, 32, seed=6).clamp(-1, 1).float()
    found = prompt_score(x, "cab", model, processor)
    images = [Image.fromarray(p) for p in ((x + 1) * 127.5).round().byte().movedim(1, -1).numpy()]
    given = processor(text=["cab"], images=images, return_tensors="pt")
    with torch.no_grad():
        out = model(**given)
    a, b = out.image_embeds, out.text_embeds
    cos = (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)
    torch.testing.assert_close(found, 100 * cos.clamp_min(0), rtol=1e-3, atol=1e-3)


def test_models_that_are_not_at_hand_are_one_line(offline) -> None:
    with pytest.raises(MetricError, match="^the structure distance needs nobody/nothing in the"):
        structure_distance(torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32))


@pytest.fixture
def script(monkeypatch):
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "tables"))
    return importlib.import_module("editing")


def test_the_benchmark_goes_on_where_it_was_stopped(tmp_path, script, offline, capsys) -> None:
    data, out = folder(tmp_path / "pie", 2), tmp_path / "out"
    settings = {"method": ["blend", "source", "edit-friendly"], "prompts": False, "steps": 3}
    script.pie(data, out, **settings, limit=1)
    first = unpadded(capsys.readouterr().out)
    assert "| source | 1 | n/a | inf |" in first and "needs nobody/nothing" in first
    kept = (out / "rows.csv").read_text()
    script.pie(data, out, **settings)
    rows = (out / "rows.csv").read_text()
    assert rows.startswith(kept) and len(rows.splitlines()) == 1 + 6
    assert "| source | 2 | n/a | inf | n/a | 0.00 | 100.00 |" in unpadded(capsys.readouterr().out)
    name = Path("annotation_images") / "0_random_140" / "000000000001.png"
    before, after = (np.asarray(Image.open(place / name)) for place in (data, out / "blend"))
    assert (after != before)[8:16].any() and (after == before)[17:].all()


def test_the_benchmark_of_inversions(tmp_path, script, capsys) -> None:
    image = folder(tmp_path, 1) / "annotation_images" / "0_random_140" / "000000000000.png"
    ways = ["edict", "ddim_inversion", "ddim_inversion(rounds=1)"]
    script.inversions([str(image)], tmp_path, ways, side=32, steps=6)
    lines = [line.split(" | ") for line in unpadded(capsys.readouterr().out).splitlines()[2:]]
    assert [line[0] for line in lines] == [f"| `{way}`" for way in ways]
    assert [line[3] for line in lines] == ["24", "12", "18"]
    assert float(lines[0][2]) > 50 > float(lines[1][2])


def test_sdedit_goes_from_faithful_to_real(tmp_path, script, capsys) -> None:
    """With strength the distance to the input rises, and so does the likelihood."""
    script.sdedit(tmp_path, samples=32, steps=40)
    rows = [line.split(",") for line in (tmp_path / "sdedit.csv").read_text().splitlines()[1:]]
    _, distance, log_p = ([float(row[k]) for row in rows] for k in range(3))
    assert distance == sorted(distance) and log_p == sorted(log_p)
    own = unpadded(capsys.readouterr().out).splitlines()[-1].split(" | ")
    assert abs(log_p[-1] - float(own[-1].strip(" |"))) < 30
