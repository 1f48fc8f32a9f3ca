"""What every task offers: its record, its signature, its help, old names, methods, results."""

import inspect
import json
import subprocess
import sys
from functools import partial
from importlib import import_module
from io import BytesIO
from typing import Annotated, get_args, get_origin

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior import catalog
from diffprior.errors import SettingError
from diffprior.methods.dpir import DPIR
from diffprior.methods.mmps import MMPS
from diffprior.runtime.defaults import as_method
from diffprior.runtime.parameters import FULL_PRECISION, PARAMETERS, RENAMED, FromFile
from diffprior.runtime.placement import device_of, dtype_of
from diffprior.runtime.results import Result
from diffprior.runtime.task import Task

TASKS = catalog.functions()
IMAGE = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0))
MASK = torch.zeros(1, 24, 32)
MASK[:, 8:12, 8:12] = 1


@pytest.mark.parametrize("name", TASKS)
def test_a_task_has_a_record_and_a_signature_without_surprises(name: str) -> None:
    function = TASKS[name]
    task, signature = function.task, inspect.signature(function)
    assert isinstance(task, Task) and task.name == name == function.__name__
    kinds = {p.kind for p in signature.parameters.values()}
    assert kinds <= {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert ("samples" in signature.parameters) == task.samples
    assert ("ids" in signature.parameters) == task.ids
    assert ("coding" in signature.parameters) == task.jpeg_coding
    assert ("method" in signature.parameters) == (task.group == "restore")
    first = next(iter(signature.parameters))
    assert first == {"image": "image", "numbers": "y"}.get(str(task.input), first)
    assert not RENAMED.keys() & signature.parameters.keys()


@pytest.mark.parametrize("name", TASKS)
def test_help_explains_every_parameter_once(name: str) -> None:
    """In the signature by an annotation, and in the docstring by an entry of the same words."""
    function = TASKS[name]
    text = inspect.getdoc(function)
    assert text.count("Arguments:") == text.count("Returns:") == text.count("Raises:") == 1
    words = " ".join(text.split())
    for key, parameter in inspect.signature(function).parameters.items():
        assert text.count(f"\n    {key}: ") == 1, key
        assert get_origin(parameter.annotation) is not Annotated, "help() shows types alone"
        annotation = function.__annotations__[key]
        if get_origin(annotation) is Annotated:
            note = get_args(annotation)[1]
            help = note.help if isinstance(note, FromFile) else note
            assert help.endswith(".") and f"{key}: {help}" in words, key
            if key in PARAMETERS and parameter.default == PARAMETERS[key].default:
                assert "default" in help.lower(), key


def test_shared_parameters_are_said_once() -> None:
    """What tasks share has the same help and default in all, but where a task names it itself."""
    for function in TASKS.values():
        own = inspect.signature(inspect.unwrap(function)).parameters
        for key, parameter in inspect.signature(function).parameters.items():
            if key in PARAMETERS and key not in own:
                shared = PARAMETERS[key]
                both = (shared, FULL_PRECISION) if key == "dtype" else (shared,)
                assert parameter.default in [p.default for p in both], key


@pytest.mark.parametrize("module", ["task", "parameters"])
def test_records_and_texts_need_no_torch(module: str) -> None:
    path = import_module(f"diffprior.runtime.{module}").__file__
    code = f"import runpy, sys; runpy.run_path({path!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False"], done.stderr


def test_a_task_imports_nothing_that_it_does_not_use() -> None:
    heavy = ("diffusers", "kornia", "skimage", "transformers", "lpips", "matplotlib")
    code = (
        "import sys, diffprior.tasks.inpaint\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"precision": "full"}, {"dtype": "float32"}),
        ({"precision": "bf16"}, {"dtype": torch.bfloat16}),
        ({"tile": 128}, {"tile_size": 128}),
        ({"names": ["a"]}, {"ids": ["a"]}),
        ({"guidance": 1.0}, {"guidance_scale": 1.0}),
    ],
)
def test_old_names_go_on_with_a_warning(old: dict, new: dict) -> None:
    """One warning, at the line of the caller; the same bits."""
    settings = {"sigma": 0.1, "samples": 2, "method": "ddnm(sampler=ddim(steps=2))"}
    (name,) = old
    with pytest.warns(DeprecationWarning, match=f"{name} is now {next(iter(new))}") as caught:
        before = diffprior.denoise(IMAGE, **settings, **old)
    (warning,) = [w for w in caught if w.category is DeprecationWarning]
    assert warning.filename == __file__
    after = diffprior.denoise(IMAGE, **settings, **new)
    assert torch.equal(torch.stack(before.samples), torch.stack(after.samples))
    with pytest.raises(TypeError, match=f"both '{next(iter(new))}' and its old name '{name}'"):
        diffprior.denoise(IMAGE, **old, **new)


def test_restore_takes_the_old_spelling_of_gray() -> None:
    settings = {"sigma": 0.1, "steps": 1}
    with pytest.warns(DeprecationWarning, match="grey is now gray"):
        before = diffprior.restore(IMAGE, grey=True, **settings)
    assert torch.equal(before.image, diffprior.restore(IMAGE, gray=True, **settings).image)
    assert before.report["grey"] is True


def test_a_watched_edit_goes_on_with_a_warning() -> None:
    seen: list[float] = []
    with pytest.warns(DeprecationWarning, match="watch is now callback"):
        diffprior.blend(IMAGE, MASK, steps=2, repeats=1, watch=lambda x, done: seen.append(done))
    assert seen[-1] == 1 and seen == sorted(seen)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("stepz", "steps"), ("promt", "prompt"), ("scal", "scale")]
)
def test_an_unknown_keyword_names_the_nearest(wrong: str, nearest: str) -> None:
    words = f"super_resolve.*unexpected keyword argument '{wrong}'; did you mean '{nearest}'"
    with pytest.raises(TypeError, match=words):
        diffprior.super_resolve(IMAGE, **{wrong: 1})


def test_missing_and_surplus_arguments_name_the_task() -> None:
    with pytest.raises(TypeError, match=r"interpolate\(\).*'to'"):
        diffprior.interpolate(IMAGE)
    with pytest.raises(TypeError, match=r"denoise\(\).*too many"):
        diffprior.denoise(IMAGE, 0.1)


# Methods


@pytest.mark.parametrize(
    "setting",
    [
        DPIR(start=0.4, steps=3),
        partial(DPIR, start=0.4, steps=3),
        "dpir(start=0.4, steps=3)",
        lambda: DPIR(start=0.4, steps=3),
    ],
)
def test_a_method_is_an_object_a_class_with_settings_or_a_text(setting) -> None:
    out = diffprior.denoise(IMAGE, sigma=0.1, method=setting)
    assert out.report["method"] == repr(DPIR(start=0.4, steps=3))
    assert diffprior.denoise(IMAGE, sigma=0.1, method=setting, steps=2).report["method"] == repr(
        DPIR(start=0.4, steps=2)
    )


def test_a_class_alone_has_its_defaults() -> None:
    assert as_method(MMPS) == MMPS()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (partial(MMPS, iteration=3), "cannot be made: .*'iteration'"),
        (dict, "got a dict"),
        (object(), "^cannot read "),
    ],
)
def test_what_is_no_method_is_a_setting(setting, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        as_method(setting)


# Results


def test_a_result_is_one_line_and_a_picture() -> None:
    out = diffprior.super_resolve(IMAGE, 2, steps=2, samples=2)
    assert isinstance(out, Result) and repr(out).count("\n") == 0
    for word in ("super_resolve", "64x48", "2 samples", "MMPS", " s>"):
        assert word in repr(out)
    png = out._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert Image.open(BytesIO(png)).size == (128, 48)
    assert isinstance(out.report, dict) and json.dumps(out.report)


@pytest.mark.parametrize("kind", ["batch", "gray", "wide"])
def test_every_kind_of_result_has_a_picture(kind: str) -> None:
    images = {
        "batch": torch.stack([IMAGE, IMAGE]),
        "gray": np.zeros((8, 8), np.uint8),
        "wide": np.zeros((8, 1100, 3), np.uint8),
    }
    out = diffprior.denoise(images[kind], sigma=0.1)
    assert max(Image.open(BytesIO(out._repr_png_())).size) <= 512


# Devices and number formats


def test_devices_are_those_of_this_machine() -> None:
    assert device_of("cpu") == torch.device("cpu") and device_of(None) == device_of("auto")
    for name in ("tpu", "meta", "cuda:x"):
        with pytest.raises(SettingError, match=f"no device '{name}'; there are auto, cpu, cuda"):
            device_of(name)
    if not torch.accelerator.is_available():
        for name in ("cuda", "cuda:7", "mps", "xpu"):
            with pytest.raises(SettingError, match=f"this machine has no device '{name}'"):
                device_of(name)


def test_number_formats_have_names_old_names_and_dtypes() -> None:
    cpu = torch.device("cpu")
    for names, dtype in {
        ("float32", "full", torch.float32): None,
        ("bfloat16", "bf16", torch.bfloat16): torch.bfloat16,
        ("float16", "fp16", torch.float16): torch.float16,
    }.items():
        assert [dtype_of(name, cpu) for name in names] == [dtype] * 3
    for name in ("half", torch.float64, None):
        with pytest.raises(SettingError, match="there are auto, float32, bfloat16, float16"):
            dtype_of(name, cpu)
