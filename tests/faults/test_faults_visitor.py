"""Faults that a new user met in the first hour: memory, words, names, signatures."""

import inspect
import warnings

import pytest
import torch
from typer.testing import CliRunner

import diffprior
from diffprior.cli import commands, index
from diffprior.cli.commands import app
from diffprior.exemplar import completion
from diffprior.exemplar.completion import complete

# Masks that hide almost all


def photo(height, width):
    """Noise with some structure, ``(3, H, W)`` in [0, 1]."""
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.avg_pool2d(noise[None], 5, 1, 2)[0]


def all_but(*kept, size):
    """A hole that leaves a few spans of rows and columns."""
    hole = torch.ones(size, dtype=torch.bool)
    for rows, columns in kept:
        hole[rows, columns] = False
    return hole


@pytest.mark.saw("a thin line left of a large photo: the hole was filled at full size, for hours")
def test_a_hole_round_a_thin_line_is_filled_at_reduced_size(monkeypatch):
    monkeypatch.setattr(completion, "LARGE", 400)
    widest = 0

    def best(reduced, *others, real=completion._best):
        nonlocal widest
        widest = max(widest, int(reduced.hole.sum()))
        return real(reduced, *others)

    monkeypatch.setattr(completion, "_best", best)
    image, hole = photo(48, 64), all_but((slice(20, 21), slice(0, 64)), size=(48, 64))
    filled = complete(image, hole, tries=2)
    assert widest <= 400
    assert torch.equal(filled[:, ~hole], image[:, ~hole])
    colors = image[:, ~hole]
    low, high = colors.amin(1)[:, None], colors.amax(1)[:, None]
    assert ((filled[:, hole] > low - 0.2) & (filled[:, hole] < high + 0.2)).float().mean() > 0.99


# Noise that is estimated


@pytest.mark.saw("a clean photo: a warning to try a smaller sigma, where none was given")
def test_a_low_estimate_that_is_too_high_is_no_warning():
    image = photo(32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = diffprior.denoise(image, steps=1).report
    level, chi2 = report["sigma"][0], report["chi2"][0]
    assert 1 / 255 < level < 5 / 255 and chi2 < 0.5  # which was warned of before
    with pytest.warns(diffprior.errors.ResidualWarning, match=f"noise of sigma {level:.3g} leaves"):
        diffprior.denoise(image, sigma=level, steps=1)


# Words


@pytest.mark.saw("unexpected keyword argument 'generator'; did you mean 'prior'?")
@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("generator", "seed"),
        ("num_inference_steps", "steps"),
        ("num_images_per_prompt", "samples"),
        ("mask_image", "mask"),
        ("noise_level", "sigma"),
    ],
)
def test_a_keyword_of_another_library_names_ours(wrong, right):
    image = torch.zeros(3, 8, 8)
    with pytest.raises(TypeError, match=f"'{wrong}'; did you mean '{right}'"):
        diffprior.inpaint(image, **{wrong: 1})


@pytest.mark.saw("Input should be a valid integer, unable to parse string as an integer")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("upscale a.png --scale 0.5", "Invalid value for '--scale': give a whole number, got 0.5"),
        ("sdedit a.png --strength x", "Invalid value for '--strength': give a number, got x"),
        ("denoise a.png --jobs 0", "Invalid value for '--jobs': give a number from 1 on, got 0"),
    ],
)
def test_a_wrong_number_is_said_in_plain_words(words, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["diffprior", *words.split()])
    assert commands.run() == 2
    assert capsys.readouterr().err.startswith(f"diffprior: {message} (see ")


@pytest.mark.saw("100 lines of options, and no command that I could copy")
@pytest.mark.parametrize("name", [c.name for c in index.commands().values() if c.options])
def test_the_help_of_a_task_begins_with_a_whole_command(name):
    command = index.commands()[name]
    assert command.example is not None
    words = command.example.split()
    flags = {f"--{option.name.replace('_', '-')}" for option in command.options or ()} | {"-o"}
    assert words[:2] == ["diffprior", name] and {w for w in words if w[0] == "-"} <= flags
    assert command.example in inspect.getdoc(command.load())
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120"}).output
    assert shown.index(command.example) < shown.index("Options ─")
