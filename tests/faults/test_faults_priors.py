"""Weights files and model folders as people have them: layouts, classes, averages, hostile ones."""

import json
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from PIL import Image
from safetensors.torch import load_file, save_file

import diffprior
from diffprior.errors import DiffpriorError, PriorError, SettingError
from diffprior.pretrained.load import load_prior
from diffprior.priors.base import Prior

from support import shell, tiny, warm
from support.checkpoints import SETTINGS, SIZE, adm, flips, prefixed, saved

T = torch.tensor(0.4, dtype=torch.float64)
X = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    return adm()


@pytest.fixture(scope="module")
def raw() -> dict[str, torch.Tensor]:
    """Weights that are not those of ``state``, of the same network."""
    return adm(seed=1)


@pytest.fixture(scope="module")
def expected(tmp_path_factory, state) -> torch.Tensor:
    file = saved(tmp_path_factory.mktemp("plain") / "plain.pt", state)
    return load_prior(file, **SETTINGS)(X, T)


def answers(file: Path, **settings: Any) -> torch.Tensor:
    return load_prior(file, **SETTINGS | settings)(X, T)


def refusal(source: Path, **settings: Any) -> str:
    """Return why a prior is refused: one sentence, of at most 300 characters."""
    with pytest.raises(PriorError) as error:
        load_prior(source, **settings)
    text = str(error.value)
    assert "\n" not in text and len(text) <= 300
    return text


# --- layouts ---

NESTED = {
    "model_state_dict": lambda d: {"model_state_dict": d, "epoch": 3},
    "params_ema": lambda d: {"params_ema": d},
    "net": lambda d: {"net": d},
    "params": lambda d: {"params": d, "iter": 7},
    "nested": lambda d: {"model": {"state_dict": d}, "optimizer": {}},
    "deep": lambda d: {"state": {"trainer": {"model": {"net": d}}}},
    "generator": lambda d: {"generator": d, "discriminator": {"conv.weight": torch.ones(3)}},
    "list": lambda d: [d, {"state": {0: {"exp_avg": torch.ones(3)}}}, 3],
    "orig_mod": lambda d: prefixed("_orig_mod.", d),
    "compiled inside": lambda d: {k.replace("blocks.0.", "blocks.0._orig_mod."): d[k] for k in d},
    "module": lambda d: {"state_dict": prefixed("module.", d)},
    "module of compiled": lambda d: prefixed("module._orig_mod.", d),
    "model": lambda d: prefixed("model.", d),
    "denoise_fn": lambda d: prefixed("denoise_fn.", d),
    "diffusion_model": lambda d: {"state_dict": prefixed("model.diffusion_model.", d)},
    "a prefix of their own": lambda d: prefixed("my.unet_v2.", d),
    "optimizer": lambda d: {
        "model": d,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(4)}}, "param_groups": [{"lr": 1e-4}]},
    },
    "steps and losses": lambda d: d | {"step": torch.tensor(7), "loss_weight": torch.ones(1000)},
    "logvar": lambda d: {"state_dict": prefixed("model.", d) | {"logvar": torch.zeros(1000)}},
    "half": lambda d: {"model": d, "ema": {}},
}


@pytest.mark.saw("ten common layouts were refused: it holds no tensors by name")
@pytest.mark.parametrize("layout", NESTED)
def test_common_layouts_open(tmp_path: Path, state, expected, layout: str) -> None:
    file = saved(tmp_path / "model.pt", NESTED[layout](state))
    torch.testing.assert_close(answers(file), expected, rtol=0, atol=1e-6)


def squashed(state: dict[str, torch.Tensor], before: str) -> dict[str, torch.Tensor]:
    """Return names as LitEma writes them."""
    return {"model_ema." + (before + k).replace(".", ""): v for k, v in state.items()}


AVERAGED = {
    "ema": lambda raw, mean: {"model": raw, "ema": mean},
    "params_ema": lambda raw, mean: {"params": raw, "params_ema": mean},
    "ema_state_dict": lambda raw, mean: {"state_dict": raw, "ema_state_dict": mean, "step": 3},
    "model_EMA": lambda raw, mean: {"model": raw, "model_EMA": prefixed("module.", mean)},
    "shadow": lambda raw, mean: {"model": raw, "ema": {"decay": 0.999, "shadow": mean}},
    "shadow_params": lambda raw, mean: {
        "model": raw,
        "ema": {"decay": 0.9999, "num_updates": 9, "shadow_params": [*mean.values()]},
    },
    "prefix": lambda raw, mean: prefixed("model.", raw) | prefixed("ema_model.", mean),
    "online": lambda raw, mean: {
        "ema": prefixed("online_model.model.", raw)
        | prefixed("ema_model.model.", mean)
        | {"initted": torch.tensor(True), "step": torch.tensor(9)}
    },
    "LitEma": lambda raw, mean: {
        "state_dict": prefixed("model.diffusion_model.", raw)
        | squashed(mean, "diffusion_model.")
        | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(9)}
    },
    "several": lambda raw, mean: {"model": raw, "ema_0.99": raw, "ema_0.9999": mean},
    "swa": lambda raw, mean: {"model": raw, "swa_model": prefixed("module.", mean)},
}


@pytest.mark.saw("averaged weights beside the raw ones were passed over in silence")
@pytest.mark.parametrize("layout", AVERAGED)
def test_averaged_weights_are_taken_and_named(tmp_path, state, raw, expected, layout) -> None:
    file = saved(tmp_path / "model.pt", AVERAGED[layout](raw, state))
    with pytest.warns(UserWarning, match=r"^model.pt holds averaged weights \(.*\) and raw ones"):
        found = answers(file)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.saw("averaged weights beside the raw ones were passed over in silence")
def test_an_average_that_fits_nothing_is_named(tmp_path: Path, state, expected) -> None:
    listed = [torch.ones(3), torch.ones(4)]
    file = saved(tmp_path / "model.pt", {"model": state, "ema": {"shadow_params": listed}})
    with pytest.warns(UserWarning, match=r"\(ema.shadow_params\) that do not match the raw ones"):
        torch.testing.assert_close(answers(file), expected, rtol=0, atol=1e-6)


@pytest.mark.saw("averaged weights beside the raw ones were passed over in silence")
def test_a_folder_of_averaged_weights(tmp_path: Path) -> None:
    """As the training scripts of diffusers write ``unet_ema`` beside ``unet``."""
    for seed, name in enumerate(("unet", "unet_ema")):
        unet(seed).save_pretrained(tmp_path / "both" / name)
    DDPMScheduler().save_pretrained(tmp_path / "both" / "scheduler")
    shutil.copytree(tmp_path / "both" / "unet_ema", tmp_path / "one" / "unet")
    DDPMScheduler().save_pretrained(tmp_path / "one" / "scheduler")
    one = load_prior(tmp_path / "one")
    with pytest.warns(UserWarning, match=r"averaged weights \(unet_ema\) and raw ones \(unet\)"):
        both = load_prior(tmp_path / "both")
    assert torch.equal(both(X, T), one(X, T)) and both.sha256 == one.sha256


@pytest.mark.saw("two networks in one file: which one was opened, nobody said")
def test_two_networks_are_named(tmp_path: Path, state, raw) -> None:
    file = saved(tmp_path / "model.pt", {"teacher": raw, "student": state})
    assert "it holds 2 networks (teacher, student); save the one to use" in refusal(
        file, **SETTINGS
    )


@pytest.mark.saw("a file with betas beside its weights was refused: no place for betas")
def test_betas_beside_the_weights_are_the_schedule(tmp_path: Path, state) -> None:
    betas = torch.linspace(2e-4, 0.05, 500, dtype=torch.float64)
    file = saved(tmp_path / "model.pt", state | {"betas": betas.float(), "step": torch.tensor(7)})
    alpha = load_prior(file, **SETTINGS).diffusion.schedule(torch.tensor(0.5).double())[0]
    assert abs(alpha**2 - (1 - betas)[:250].prod()) < 1e-6
    told = load_prior(file, **SETTINGS, schedule="cosine").diffusion.schedule(T)[0]
    assert abs(told**2 - torch.tensor(torch.pi * 0.2).cos() ** 2) < 0.01


@pytest.mark.saw("a classifier was refused as 0 levels of two or more")
def test_what_is_no_denoiser_is_said(tmp_path: Path, state) -> None:
    encoder = {k: v for k, v in state.items() if not k.startswith("output_blocks.")}
    text = refusal(saved(tmp_path / "classifier.pt", encoder), **SETTINGS)
    assert "it has no output_blocks: it may be a classifier" in text


# --- classes ---


@pytest.fixture(scope="module")
def classes(tmp_path_factory) -> Path:
    """A network of ten classes, as the training code of guided diffusion writes it."""
    folder = tmp_path_factory.mktemp("classes")
    Image.new("RGB", (SIZE, SIZE), (90, 120, 60)).save(folder / "b.png")
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (2, 2, 5, 5))
    mask.save(folder / "m.png")
    (folder / "cond.json").write_text(json.dumps(SETTINGS))
    return saved(folder / "cond.pt", adm(classes=10))


def picture(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.copy()


TASKS = {
    "inpaint": lambda x, m, **label: diffprior.inpaint(x, m, steps=2, **label),
    "denoise": lambda x, m, **label: diffprior.denoise(x, sigma=0.1, **label),
    "upscale": lambda x, m, **label: diffprior.super_resolve(x, scale=2, steps=2, **label),
    "sdedit": lambda x, m, **label: diffprior.sdedit(x, steps=2, **label),
    "generate": lambda x, m, **label: diffprior.generate(width=16, height=16, steps=2, **label),
}


@pytest.mark.saw("--label 3 was answered by: label is one of 0 ... 9, got None")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("task", TASKS)
def test_a_label_reaches_the_network(classes: Path, task: str) -> None:
    image, mask = (picture(classes.with_name(name)) for name in ("b.png", "m.png"))
    three, four = (TASKS[task](image, mask, prior=classes, label=k).report for k in (3, 4))
    assert (three["label"], four["label"]) == (3, 4)
    with pytest.raises(SettingError, match="10 classes alone: label is one of 0 ... 9"):
        TASKS[task](image, mask, prior=classes)
    with pytest.raises(SettingError, match="10 classes: label is one of 0 ... 9, got 10$"):
        TASKS[task](image, mask, prior=classes, label=10)


@pytest.mark.saw("--label 3 was answered by: label is one of 0 ... 9, got None")
def test_a_label_of_the_command_line(classes: Path) -> None:
    size = ("--width", 16, "--height", 16, "--steps", 2, "-q", "--force")
    words = ("generate", "--prior", classes.name, *map(str, size))
    done = shell.diffprior(*words, "--label", "3", "-o", "out.png", folder=classes.parent)
    assert done.returncode == 0, done.stderr
    done = shell.diffprior(*words, "-o", "none.png", folder=classes.parent)
    assert "label is one of 0 ... 9" in shell.complaint(done)


@pytest.mark.saw("an edit without --source-label ended in a traceback")
def test_an_edit_asks_for_both_labels(classes: Path) -> None:
    image = picture(classes.with_name("b.png"))
    settings = {"prior": classes, "steps": 2, "label": 3}
    with pytest.raises(SettingError, match="source_label, where a task inverts an image"):
        diffprior.edit(image, **settings)


@pytest.mark.saw("a network with a class for none was asked for a label")
def test_a_class_for_none(classes: Path) -> None:
    prior, plain = load_prior(classes, null_label=9), load_prior(classes, label=9)
    assert torch.equal(prior(X, T), plain(X, T)) and not prior.needs_label
    free, one = prior(X, T), load_prior(classes, label=3)(X, T)
    guided = prior.with_condition(label=3, guidance_scale=2.0)
    torch.testing.assert_close(guided(X, T), free + 2 * (one - free), rtol=1e-4, atol=1e-5)
    assert "label is one of 0 ... 9, got 10" in refusal(classes, null_label=10)


@pytest.mark.saw("a network that embeds its classes in another way answered for class 0")
def test_classes_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    folder = pixel_folder(tmp_path, class_embed_type="identity")
    assert "its classes are embedded by 'identity'" in refusal(folder)


# --- networks and schedulers that are not what they seem ---


def unet(seed: int = 0, **more: Any) -> UNet2DModel:
    torch.manual_seed(seed)
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    sizes = {"sample_size": SIZE, "layers_per_block": 1, "block_out_channels": (8, 16)}
    return UNet2DModel(**{**blocks, **sizes, "norm_num_groups": 4, **more})


def pixel_folder(folder: Path, scheduler: Any = None, **more: Any) -> Path:
    unet(**more).save_pretrained(folder / "unet")
    (scheduler or DDPMScheduler()).save_pretrained(folder / "scheduler")
    return folder


@pytest.mark.saw("an upsampler of 6 channels in, 3 out opened as a prior of 6 channels")
@pytest.mark.parametrize(
    ("inner", "outer"), [(6, 3), (6, 6), (4, 3), (3, 4), (4, 4), (3, 1), (9, 3)]
)
def test_networks_that_see_more_are_refused(tmp_path: Path, inner: int, outer: int) -> None:
    folder = pixel_folder(tmp_path, in_channels=inner, out_channels=outer)
    assert f"its network makes {outer} channels of {inner}" in refusal(folder)
    if (inner, outer) == (6, 3):
        state = adm(in_channels=6, out_channels=3)
        text = refusal(saved(tmp_path / "up.pt", state), **SETTINGS)
        assert "its network makes 3 channels of 6" in text and "it may see a second image" in text


@pytest.mark.saw("an upsampler of 6 channels in, 3 out opened as a prior of 6 channels")
def test_an_upsampler_of_latents_is_refused(tmp_path: Path) -> None:
    tiny.latent_diffusion(tmp_path)
    shutil.rmtree(tmp_path / "unet")
    unet(in_channels=6, out_channels=3).save_pretrained(tmp_path / "unet")
    assert "makes 3 channels of 6, and its latents have 3" in refusal(tmp_path)


@pytest.mark.saw("a network of continuous noise levels was asked for discrete steps")
@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (EulerDiscreteScheduler(timestep_type="continuous"), "has timestep_type='continuous'"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "whose times run backward"),
        (DDPMScheduler(trained_betas=[0.1, -0.2, 0.3]), "are no noise schedule"),
        (DDPMScheduler(trained_betas=[1.0, 0.5]), "are no noise schedule"),
        (DDPMScheduler(prediction_type="velocity"), "no prediction 'velocity'"),
    ],
)
def test_schedulers_that_say_something_else_are_refused(tmp_path, scheduler, words) -> None:
    assert words in refusal(pixel_folder(tmp_path, scheduler))


# --- hostile folders ---

EVIL = "import pathlib\npathlib.Path({mark!r}).touch()\nclass Evil: pass\n"


@pytest.fixture(scope="module")
def sd(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sd")
    tiny.stable_diffusion(folder)
    return folder


def with_index(folder: Path, **entries: Any) -> Path:
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    return folder


def with_code(folder: Path, part: str, mark: Path, config: dict[str, Any]) -> None:
    place = folder / part
    place.mkdir(exist_ok=True)
    (place / "evil.py").write_text(EVIL.format(mark=str(mark)))
    for name in ("model_index.json", "config.json", "tokenizer_config.json"):
        kept = json.loads((place / name).read_text()) if (place / name).exists() else {}
        (place / name).write_text(json.dumps(kept | config))


AUTO = {
    "auto_map": {
        "AutoTokenizer": ["evil.Evil", None],
        "AutoModel": "evil.Evil",
        "AutoConfig": "evil.Evil",
    },
    "tokenizer_class": "Evil",
    "model_type": "evil",
}


@pytest.mark.saw("a folder's evil.py ran when it was opened as a prior")
def test_a_folder_runs_no_code(sd: Path, tmp_path: Path) -> None:
    """Two parts with code, and a pipeline with code; every question is answered by yes."""
    mark = tmp_path / "ran"
    folder = shutil.copytree(sd, tmp_path / "sd")
    pair = {"_class_name": ["evil", "Evil"], "x": ["evil", "Evil"]}
    with_code(folder, "foo", mark, pair)
    with_code(folder, "bar", mark, AUTO)
    with_code(folder, ".", mark, {})
    with_index(
        folder,
        foo=["diffusers", "DiffusionPipeline"],
        bar=["transformers", "AutoTokenizer"],
        _class_name=["evil", "Evil"],
    )
    script = tmp_path / "opens.py"
    script.write_text(f"import diffprior; print(diffprior.load_prior({str(folder)!r}).name)")
    done = warm.run(script, folder=tmp_path, stdin=b"y\n" * 99)
    assert done.stdout.split() == [b"sd"] and not mark.exists(), done.stderr


@pytest.mark.saw("a folder's evil.py ran when it was opened as a prior")
@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("tokenizer", ["transformers", "AutoTokenizer"]),
        ("tokenizer", ["foo", "Evil"]),
        ("text_encoder", ["transformers", "AutoModel"]),
        ("text_encoder", ["evil", "Evil"]),
        ("unet", ["diffusers", "DiffusionPipeline"]),
        ("unet", ["evil", "UNet2DConditionModel"]),
        ("vae", ["diffusers", "AutoModel"]),
        ("vae", ["..", "AutoencoderKL"]),
        ("scheduler", ["diffusers", "DiffusionPipeline"]),
        ("controlnet", ["diffusers", "AutoModel"]),
    ],
)
def test_parts_of_other_classes_are_refused(sd: Path, tmp_path: Path, part: str, kind) -> None:
    folder, mark = shutil.copytree(sd, tmp_path / "sd"), tmp_path / "ran"
    with_code(folder, part, mark, AUTO | {"_class_name": ["evil", "Evil"]})
    with_index(folder, **{part: kind})
    assert f"its {part} is a" in refusal(folder) and not mark.exists()


@pytest.mark.saw("entries of a config had a library import or download code")
@pytest.mark.parametrize(
    ("part", "file", "entries"),
    [
        ("text_encoder", "config.json", AUTO | {"attn_implementation": "someone/kernel"}),
        ("text_encoder", "config.json", {"quantization_config": {"quant_method": "bitsandbytes"}}),
        ("text_encoder", "adapter_config.json", {"base_model_name_or_path": "/", "peft_type": "X"}),
        ("tokenizer", "tokenizer_config.json", {"auto_map": AUTO["auto_map"]}),
        ("scheduler", "scheduler_config.json", {"_class_name": "DDIMScheduler", "auto_map": AUTO}),
    ],
)
def test_entries_that_would_run_something_do_not(sd, tmp_path, part, file, entries) -> None:
    folder, mark = shutil.copytree(sd, tmp_path / "sd"), tmp_path / "ran"
    (folder / part / "evil.py").write_text(EVIL.format(mark=str(mark)))
    place = folder / part / file
    kept = json.loads(place.read_text()) if place.exists() else {}
    place.write_text(json.dumps(kept | entries))
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    assert torch.equal(load_prior(folder)(z, T.float()), load_prior(sd)(z, T.float()))
    assert not mark.exists()


@pytest.mark.saw("a scheduler's config named a pipeline, and the pipeline was opened")
@pytest.mark.parametrize("name", ["DiffusionPipeline", "AutoModel", "../x", ["evil", "Evil"], 3])
def test_schedulers_are_of_the_list(tmp_path: Path, name: Any) -> None:
    folder = pixel_folder(tmp_path)
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({"_class_name": name}))
    assert "by which no network can be read" in refusal(folder)


@pytest.mark.saw("the index of a folder's shards named files elsewhere")
def test_shards_lie_beside_their_index(tmp_path: Path) -> None:
    folder = pixel_folder(tmp_path)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": "../../secret.safetensors"}}))
    assert "names files that are no weights files beside it" in refusal(folder)


class Touch:
    """What a hostile pickle does when it is opened as a whole."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.saw("a pickle ran code when it was opened as weights")
def test_pickles_run_no_code(sd: Path, tmp_path: Path, state) -> None:
    mark = tmp_path / "ran"
    for name in ("a.pt", "b.ckpt", "c.bin", "d.pth"):
        assert "would have to be run" in refusal(
            saved(tmp_path / name, {"state_dict": Touch(mark)})
        )
        (tmp_path / name).write_bytes(pickle.dumps({"state_dict": Touch(mark)}))
        refusal(tmp_path / name)
    folder = shutil.copytree(sd, tmp_path / "sd")
    for part, name in (("text_encoder", "pytorch_model"), ("unet", "diffusion_pytorch_model")):
        weights = next((folder / part).glob("*.safetensors"))
        content = load_file(weights) | {"evil": Touch(mark)}
        weights.unlink()
        saved(folder / part / f"{name}.bin", content)
        assert "would have to be run" in refusal(folder)
    assert not mark.exists()


# --- small files that ask for much memory ---

MEASURED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
import diffprior
for place in sorted(Path(sys.argv[1]).iterdir()):
    if place.suffix == ".json":
        continue
    try:
        diffprior.load_prior(place, size=8) if place.is_file() else diffprior.load_prior(place)
        print(place.name, "opened")
    except diffprior.DiffpriorError as error:
        assert len(str(error)) <= 300, error
        print(place.name, str(error).partition("can be opened: ")[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of Linux: not below its parent's
status = Path("/proc/self/status")
if status.exists():
    peak = int(status.read_text().partition("VmHWM:")[2].split()[0])
print("peak", peak // 1024)
"""


def edited(folder: Path, file: str, **entries: Any) -> None:
    place = folder / file
    place.write_text(json.dumps(json.loads(place.read_text()) | entries))


@pytest.mark.saw("a weights file of 1.5 kB took 4 GB, a config of 9000 channels 8 GB")
def test_small_files_take_little_memory(tmp_path: Path, sd: Path, state) -> None:
    """Each is refused in one sentence; all of them together stay below 2 GB."""
    one = torch.zeros(1, dtype=torch.float16)
    saved(tmp_path / "stride.pt", {"time_embed.0.weight": one.expand(10**9)})
    torch.save({"a": one.expand(10**9)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    wide = torch.zeros(2**18)
    saved(tmp_path / "views.pt", {f"input_blocks.{i}.0.weight": wide for i in range(3000)})
    with zipfile.ZipFile(tmp_path / "zip.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zip/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("zip/data/0", bytes(2**26))
    laughs: list[Any] = [one]
    for _ in range(40):
        laughs = [laughs] * 10
    saved(tmp_path / "laughs.pt", {"state_dict": laughs})
    native = shutil.copytree(diffprior.pretrained.shipped()["fashion"], tmp_path / "native")
    edited(native, "config.json", channels=[9000, 9000], blocks=[1, 1])
    deep = shutil.copytree(native, tmp_path / "deep")
    edited(deep, "config.json", channels=[8], blocks=[10**9])
    for name, entries in {
        "wide": {"block_out_channels": [9000, 9000]},
        "layers": {"layers_per_block": 10**9},
        "labels": {"num_class_embeds": 10**10},
    }.items():
        edited(pixel_folder(tmp_path / name), "unet/config.json", **entries)
    steps = pixel_folder(tmp_path / "steps")
    edited(steps, "scheduler/scheduler_config.json", num_train_timesteps=10**10)
    for part, entries in {
        "text_encoder": {"hidden_size": 20000, "intermediate_size": 80000},
        "vae": {"block_out_channels": [12000, 12000]},
        "unet": {"cross_attention_dim": 10**7},
        "tokenizer": {"model_max_length": 10**10},
    }.items():
        folder = shutil.copytree(sd, tmp_path / f"sd-{part}")
        name = "tokenizer_config.json" if part == "tokenizer" else "config.json"
        edited(folder, f"{part}/{name}", **entries)
    bomb = shutil.copytree(sd, tmp_path / "sd-bin")
    next((bomb / "unet").glob("*.safetensors")).unlink()
    saved(
        bomb / "unet" / "diffusion_pytorch_model.bin",
        {"conv_in.weight": torch.zeros(1).expand(2**29)},
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    *lines, peak = done.stdout.splitlines()
    assert len(lines) == 16 and not [line for line in lines if line.endswith("opened")], lines
    assert int(peak.removeprefix("peak ")) < 2000, done.stdout


# --- configs that say what cannot be ---

FASHION = diffprior.pretrained.shipped()["fashion"]
WRONG = [
    {"channels": [-8, 8]},
    {"channels": "64"},
    {"channels": 64},
    {"channels": [[8]]},
    {"blocks": [1, "1"]},
    {"blocks": []},
    {"patch": 0},
    {"patch": -2},
    {"image_channels": 6},
    {"classes": -1},
    {"classes": True},
    {"sigma_data": 0},
    {"sigma_data": "x"},
    {"sigma_min": float("nan")},
    {"sigma_max": float("inf")},
    {"sigma_min": 30.0},
    {"size": 10**9},
    {"size": 2.5},
    {"embedding": None},
    {"foo": 1},
    {"channels": [1e30]},
]


@pytest.mark.saw("a config with a negative width ended in a traceback of torch")
@pytest.mark.parametrize("entries", WRONG, ids=str)
def test_configs_that_cannot_be_are_one_sentence(tmp_path: Path, entries: dict[str, Any]) -> None:
    folder = shutil.copytree(FASHION, tmp_path / "fashion")
    edited(folder, "config.json", **entries)
    assert next(iter(entries)).replace("image_", "") in refusal(folder)


@pytest.mark.saw("settings beside a weights file ended in a traceback")
@pytest.mark.parametrize(
    "entries",
    [
        {"size": "big"},
        {"size": 10**9},
        {"size": -8},
        {"heads": 0},
        {"heads": 2.5},
        {"steps": 10**12},
        {"scale": 0},
        {"scale": "x"},
        {"clip": 3},
        {"label": [1]},
        {"schedule": 7},
        {"class_name": ["EDMPrecond"]},
        {"class_name": "EDMPrecond", "img_resolution": "x"},
        {"class_name": "EDMPrecond", "img_resolution": 8, "model_channels": -4},
        {"class_name": "EDMPrecond", "img_resolution": 8, "channel_mult": [10**9]},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_one_sentence(tmp_path: Path, state, entries) -> None:
    file = saved(tmp_path / "model.pt", state)
    file.with_suffix(".json").write_text(json.dumps(SETTINGS | entries))
    refusal(file)


@pytest.mark.saw("weights with NaN in them made black pictures")
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, state) -> None:
    name = "middle_block.0.in_layers.2.weight"
    broken = state | {name: state[name].clone().fill_(float("nan"))}
    text = refusal(saved(tmp_path / "nan.pt", broken), **SETTINGS)
    assert f"its {name} holds numbers that are not finite" in text
    whole = state | {name: state[name].to(torch.int8)}
    assert "holds torch.int8, expected weights" in refusal(
        saved(tmp_path / "int.pt", whole), **SETTINGS
    )


@pytest.mark.saw("a name of 400 letters ended in a traceback")
def test_names_that_cannot_be_files_are_one_sentence(tmp_path: Path) -> None:
    for name in ("a" * 400, str(tmp_path / ("b" * 300)), "a\0b", "", "../x", "x" * 5000):
        refusal(Path(name) if "\0" not in name and name else name)  # type: ignore[arg-type]


# --- damage ---


def try_flips(file: Path, opened: Path, count: int, **settings: Any) -> set[type]:
    """Open a prior after each change of one of its files; it opens, or it is refused."""
    data, kinds = file.read_bytes(), set()
    for changed in flips(file, count):
        file.write_bytes(changed)
        try:
            kinds.add(type(load_prior(opened, **settings)))
        except DiffpriorError as error:
            assert "\n" not in str(error) and len(str(error)) <= 300
            kinds.add(type(error))
    file.write_bytes(data)
    return kinds


@pytest.mark.saw("a damaged file ended in a traceback of the unpickler")
@pytest.mark.filterwarnings("ignore")
def test_damaged_files_are_one_sentence(tmp_path: Path, state) -> None:
    """Some hundred changes: nothing but a prior or a ``PriorError`` comes of them."""
    small = adm(widths=(32,), attention=())
    file = saved(tmp_path / "model.pt", small)
    assert PriorError in try_flips(file, file, 60, **SETTINGS)
    torch.save(small, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert PriorError in try_flips(tmp_path / "old.pt", tmp_path / "old.pt", 60, **SETTINGS)
    flat = tmp_path / "model.safetensors"
    save_file(small, flat)
    assert PriorError in try_flips(flat, flat, 60, **SETTINGS)
    notes = file.with_suffix(".json")
    notes.write_text(json.dumps(SETTINGS | {"schedule": "linear", "clip": True}))
    try_flips(notes, file, 40)


@pytest.mark.saw("a damaged config ended in a traceback of diffusers")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", ["unet/config.json", "scheduler/scheduler_config.json", "weights"])
def test_damaged_folders_are_one_sentence(tmp_path: Path, part: str) -> None:
    folder = pixel_folder(tmp_path)
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert PriorError in try_flips(weights if part == "weights" else folder / part, folder, 40)


@pytest.mark.saw("a damaged config ended in a traceback of diffusers")
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_shipped_prior_is_one_sentence(tmp_path: Path) -> None:
    folder = shutil.copytree(FASHION, tmp_path / "fashion")
    kinds = try_flips(folder / "config.json", folder, 60)
    assert PriorError in kinds
    assert all(issubclass(kind, Prior | DiffpriorError) for kind in kinds)
