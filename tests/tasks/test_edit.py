"""Edits: what is asked changes, what is not stays, on classes of which everything is known."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diffprior
from diffprior.catalog import SettingError, build, names
from diffprior.editing.difference_mask import disagreement
from diffprior.io.arrays import ImageError
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.random import Noise

from support.conditions import SHAPE, ClassPrior, TextPrior, classes
from support.exact import random
from support.shell import texts

PLAIN = sorted(set(names("inversions")) - {"null_text"})
SAMPLES = Path(__file__).parents[2] / "data" / "samples"


@pytest.fixture(scope="module")
def prior() -> ClassPrior:
    return classes(dtype=torch.float32)


@pytest.fixture(scope="module")
def image(prior: ClassPrior) -> torch.Tensor:
    """An image of class 0, in [0, 1]."""
    return ((prior.parts[0].sample(Noise(1))[0] + 1) / 2).clamp(0, 1)


def member(prior: ClassPrior, x: torch.Tensor, label: int) -> float:
    """Return by how much the log-density of a class is above the other's."""
    x = 2 * x[None] - 1
    return float(prior.parts[label].log_prob(x) - prior.parts[1 - label].log_prob(x))


@pytest.mark.parametrize("name", PLAIN)
def test_a_class_becomes_the_other_and_itself_is_itself(prior, image, name: str) -> None:
    settings = {"prior": prior, "inversion": f"{name}(steps=30)", "source_label": 0}
    same = diffprior.edit(image, **settings).image
    other = diffprior.edit(image, label=1, guidance_scale=1.0, **settings).image
    assert member(prior, image, 0) > 100 and member(prior, other, 1) > 100
    bar = {"ddim_inversion": 0.1, "negative_prompt": 0.1, "edict": 0.01}.get(name, 1e-3)
    assert (same - image).abs().max() < bar
    if name != "edict":  # which overshoots where an edit is as large as this
        free = float(prior.parts[1].log_prob(prior.parts[1].sample(Noise(0, samples=50))).mean())
        assert float(prior.parts[1].log_prob(2 * other[None] - 1)) > free - 60


def test_what_is_not_said_of_the_target_is_as_it_was(prior, image) -> None:
    made = diffprior.invert(image, prior=prior, label=0).trajectory
    a = diffprior.edit(image, prior=prior, inversion=made, guidance_scale=2.0).image
    b = diffprior.edit(image, prior=prior, inversion=made, label=0, guidance_scale=2.0).image
    assert torch.equal(a, b)


def test_a_file_is_an_inversion_made_on_the_way(prior, image, tmp_path: Path) -> None:
    out = diffprior.invert(image, prior=prior, label=0, steps=9, ids=["a"])
    (tmp_path / "code.safetensors").write_bytes(out.data())
    settings = {"prior": prior, "label": 1, "guidance_scale": 2.0, "ids": ["a"]}
    here = diffprior.edit(image, steps=9, source_label=0, **settings)
    read = diffprior.edit(image, inversion=tmp_path / "code.safetensors", **settings)
    alone = diffprior.edit(inversion=str(tmp_path / "code.safetensors"), **settings)
    assert torch.equal(here.image, read.image)
    shown = torch.from_numpy(np.array(alone.image)).movedim(-1, 0) / 255
    assert (shown - read.image).abs().max() <= 0.5 / 255 + 1e-6
    assert read.report["source"] == {"guidance": 1.0, "label": 0}
    assert read.report["target"]["label"] == 1


def test_strength_is_the_noise_that_the_way_ends_at(prior, image) -> None:
    """The less of it, the nearer to the image the edit stays; T_skip of the paper."""
    far = []
    for strength in (0.003, 0.02, 1.0):
        out = diffprior.edit(
            image, prior=prior, source_label=0, label=1, guidance_scale=1.0, strength=strength
        )
        far.append(float((out.image - image).square().mean()))
    assert far[0] < far[1] < far[2] and far[0] < far[2] / 4
    code = diffprior.invert(image, prior=prior, strength=0.3).trajectory
    ratio = prior.diffusion.schedule.ratio(torch.tensor(code.inversion.stop).double())
    assert abs(float(ratio) - 1.2) < 0.05


@pytest.mark.parametrize("name", ["edict", "edit_friendly", "flow"])
def test_outside_a_mask_nothing_changes(prior, name: str) -> None:
    """Bit for bit, of 8-bit images, whatever inversion; inside is the other class."""
    image = np.random.default_rng(0).integers(70, 90, (8, 8, 3)).astype(np.uint8)
    mask = np.zeros((8, 8), bool)
    mask[2:7, 1:6] = True
    out = diffprior.edit(
        image,
        mask,
        prior=prior,
        inversion=f"{name}(steps=20)",
        source_label=0,
        label=1,
        guidance_scale=1.0,
        feather=0,
    )
    assert (out.image[~mask] == image[~mask]).all()
    assert out.image[mask].mean() > image[mask].mean() + 40


def test_states_outside_are_the_images_own_after_every_step(prior, image) -> None:
    mask = torch.zeros(8, 8)
    mask[:, :4] = 1
    seen = []
    diffprior.edit(
        image,
        mask,
        prior=prior,
        source_label=0,
        label=1,
        steps=10,
        callback=lambda x, done: seen.append((done, x.clone())),
    )
    down = [x for done, x in seen if done > 0.5]
    assert [x.shape[0] for x in down] == [2] * 10
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1][0] == 1
    for before, after in zip(down[:-1], down[1:], strict=True):  # seen before they are blended
        kept, new = after
        assert not torch.equal(kept, new) and not torch.equal(before, after)


def test_a_feather_lies_inside_and_colors_meet_at_the_edge(image) -> None:
    """Of a decoder that shifts colors by 0.1: the edit is moved back, as far as it is the same."""
    one = torch.ones(1)
    flat = MixturePrior(one, torch.zeros(1, *SHAPE), 0.01 * one)
    latent = LatentPrior(flat, lambda x: x, lambda z: z + 0.1)
    photo = torch.full(SHAPE, 0.5)
    mask = torch.zeros(8, 8)
    mask[1:7, 1:7] = 1
    plain = diffprior.edit(photo, prior=latent, inversion="edict", steps=5)
    assert (plain.image - 0.55).abs().max() < 1e-3
    out = diffprior.edit(photo, mask, prior=latent, inversion="edict", steps=5, feather=2)
    assert (out.image - 0.5).abs().max() < 1e-3
    cover = out.cover[0, 0]
    assert torch.equal(cover[mask == 0], torch.zeros(28))
    torch.testing.assert_close(cover[4, :4], torch.tensor([0, 1 / 3, 2 / 3, 1.0]))


def halves() -> ClassPrior:
    """Two classes that differ in the left half alone."""
    one, mean = torch.ones(1), 0.2 * random(1, 3, 16, 16, dtype=torch.float32)
    other = mean.clone()
    other[..., :8] += 0.5
    return ClassPrior(*(MixturePrior(one, m, 0.01 * one) for m in (mean, other)))


def test_a_prior_of_one_channel_edits_gray_and_colors() -> None:
    """States (1, H, W): the mean of the channels, and back the same for each."""
    one = torch.ones(1)

    class Gray(ClassPrior):
        def for_shape(self, shape: Sequence[int]) -> "Gray":
            return self

        def encode(self, image: torch.Tensor) -> torch.Tensor:
            return image.mean(1, keepdim=True)

    means = (torch.full((1, 1, 8, 8), m) for m in (-0.5, 0.5))
    prior = Gray(*(MixturePrior(one, m, 0.01 * one) for m in means))
    mask = np.zeros((8, 8), bool)
    mask[2:6, 2:6] = True
    settings = {"prior": prior, "source_label": 0, "label": 1, "guidance_scale": 1.0, "feather": 0}
    for shape in ((8, 8), (8, 8, 3)):
        photo = np.random.default_rng(0).integers(55, 73, shape).astype(np.uint8)
        back = diffprior.invert(photo[..., None] if len(shape) == 2 else photo, prior=prior)
        assert back.report["round_trip_psnr"][0] > (80 if len(shape) == 2 else 25)
        out = diffprior.edit(photo, mask, **settings).image
        assert out.shape == shape and (out[~mask] == photo[~mask]).all()
        assert out[mask].mean() > 160


def test_an_automatic_mask_is_where_the_conditions_disagree() -> None:
    prior = halves()
    a, b = prior.for_label(0), prior.for_label(1)
    x = prior.parts[0].sample(Noise(0, samples=2))
    found = disagreement(a, b, x, Noise(1, samples=2))
    assert found.shape == (2, 1, 16, 16) and found[..., :8].all() and not found[..., 8:].any()
    assert torch.equal(found[1:], disagreement(a, b, x[1:], Noise(1, samples=2).rows([1])))
    assert not disagreement(a, a, x, Noise(1, samples=2)).any()
    image = ((x[0] + 1) / 2).clamp(0, 1)
    settings = {"prior": prior, "source_label": 0, "label": 1, "guidance_scale": 1.0, "feather": 0}
    out = diffprior.edit(image, "auto", **settings)
    assert torch.equal(out.image[..., 8:], image[..., 8:])
    assert (out.image - image)[..., :8].mean() > 0.15


def test_latent_states_are_masked_by_cells() -> None:
    """Behind a decoder of cells of two pixels a mask of one pixel frees its cell, and is kept."""
    small = classes(dtype=torch.float32)
    latent = LatentPrior(
        small,
        lambda x: torch.nn.functional.avg_pool2d(x, 2),
        lambda z: torch.nn.functional.interpolate(z, scale_factor=2.0),
        stride=2,
    )
    image = np.full((16, 16, 3), 76, np.uint8)
    mask = np.zeros((16, 16), bool)
    mask[3:9, 3:9] = True
    out = diffprior.edit(
        image, mask, prior=latent, source_label=0, label=1, guidance_scale=1.0, feather=0, steps=20
    )
    assert (out.image[~mask] == image[~mask]).all()
    assert out.image[mask].mean() > 140


@pytest.mark.parametrize("name", ["edit_friendly", "edict", "flow"])
def test_a_batch_is_its_images(prior, image, name: str) -> None:
    batch = torch.stack([image, image.flip(-1), 0.9 * image])
    mask = torch.zeros(8, 8)
    mask[3:6, 2:7] = 1
    settings = {"prior": prior, "inversion": f"{name}(steps=6)", "source_label": 0, "label": 1}
    together = diffprior.edit(batch, mask, ids=["a", "b", "c"], **settings).image
    alone = diffprior.edit(batch[1], mask, ids=["b"], **settings).image
    torch.testing.assert_close(together[1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"prompt": "a cat"}, SettingError, "prompt='a cat' needs a prior of a text-to-image"),
        ({"label": 7}, SettingError, "2 classes: label is one of 0 ... 1, got 7"),
        ({"mask": torch.zeros(4, 4)}, ImageError, "the mask is 4x4 but the image is 8x8"),
        ({"mask": "auto"}, SettingError, "where two conditions disagree"),
        ({"strength": 0.0}, SettingError, r"strength lies in \(0, 1\], got 0.0"),
        ({"feather": -1}, SettingError, "a feather is pixels from 0 on, got -1"),
        ({"inversion": "dimm"}, SettingError, "no inversion 'dimm'; the nearest are"),
        ({"inversion": "none.safetensors"}, SettingError, "none.safetensors cannot be read"),
        ({"inversion": "none.safetensors", "steps": 3}, SettingError, "has its own steps"),
        ({"image": None}, ImageError, "there is no image"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(prior, image, settings, error, words: str) -> None:
    with pytest.raises(error, match=words):
        diffprior.edit(**{"image": image, "prior": prior} | settings)


def test_an_inversion_of_another_prior_or_image_is_refused(prior, image) -> None:
    made = diffprior.invert(image, prior=prior, steps=2).trajectory
    with pytest.raises(SettingError, match="made with the prior ClassPrior.*got MixturePrior"):
        diffprior.edit(image, prior=prior.whole, inversion=made)
    with pytest.raises(ImageError, match="of another image of the same size"):
        diffprior.edit(0.5 * image, prior=prior, inversion=made)
    with pytest.raises(SettingError, match="made with the prior ClassPrior"):
        diffprior.edit(image, inversion=made)


def opened(file: Path) -> tuple[np.ndarray, dict]:
    with Image.open(file) as image:
        return np.asarray(image).astype(int), image.info


def test_files_by_the_commands(tmp_path: Path) -> None:
    """Invert a photograph, read it back, from the file and without, in a mask, and side by side."""
    image = Image.open(SAMPLES / "dog.png").convert("RGB").crop((240, 110, 304, 174))
    (tmp_path / "in").mkdir()
    image.save(tmp_path / "in" / "dog.png")
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    dog, code, out = tmp_path / "in" / "dog.png", tmp_path / "c.safetensors", tmp_path / "o.png"
    done = texts("invert", dog, "-o", code, "--steps", "12", "--json", "--compare")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["round_trip_psnr"][0] > 50 and report["outputs"]["0"] == str(code)
    assert opened(tmp_path / "c.compare.png")[0].shape == (64, 128, 3)
    done = texts("edit", dog, "--inversion", code, "--mask", tmp_path / "mask.png", "-o", out)
    assert done.returncode == 0, done.stderr
    (after, info), before = opened(out), np.asarray(image).astype(int)
    assert (after[mask == 0] == before[mask == 0]).all() and abs(after - before).max() <= 1
    assert json.loads(info["diffprior"])["inversion"].startswith("edit_friendly(")
    codes, shown = f"{tmp_path}/codes/", f"{tmp_path}/out/"
    folder = texts("invert", tmp_path / "in", "-o", codes, "--steps", "3")
    assert folder.returncode == 0, folder.stderr
    folder = texts("edit", tmp_path / "in", "--inversion", codes, "-o", shown, "--compare")
    assert folder.returncode == 0, folder.stderr
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "dog.edited.compare.png",
        "dog.edited.png",
    ]
    wrong = texts("edit", dog, "--mask", "auto", "--steps", "3", "-o", tmp_path / "x.png")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1
    assert "automatic mask is where two conditions disagree" in wrong.stderr


def test_a_prompt_is_an_edit_of_its_own() -> None:
    """Gaussians by the length of a text: an edit moves the mean by what the text adds."""
    prior = TextPrior()
    settings = {"prior": prior, "source_prompt": "a dog", "guidance_scale": 1.0}
    gray = torch.full(SHAPE, 0.5).double()
    out = diffprior.edit(gray, prompt="a dog runs", inversion="flow", **settings)
    assert (out.image - 0.75).abs().max() < 1e-3


def test_calls_are_counted_to_the_last(prior, image) -> None:
    """Up once a step; down, in a mask, the source, the target and what it is guided from."""
    mask = torch.zeros(8, 8)
    mask[2:5] = 1
    settings = {"prior": prior, "steps": 9}
    assert diffprior.invert(image, label=0, **settings).report["network_calls"] == 18
    out = diffprior.edit(image, mask, source_label=0, label=1, **settings)
    assert out.report["network_calls"] == 9 + 3 * 9


def test_a_negative_prompt_brings_its_own_source_back(prior, image) -> None:
    """At any guidance; and its edit is guided away from the source, by GuidedPrior's own sum."""
    settings = {"prior": prior, "inversion": "negative_prompt(rounds=8)", "source_label": 0}
    same = diffprior.edit(image, label=0, guidance_scale=6.0, **settings).image
    assert (same - image).abs().max() < 1e-4
    free = diffprior.edit(
        image, label=0, guidance_scale=6.0, **settings | {"inversion": "ddim_inversion(rounds=8)"}
    ).image
    assert (free - image).abs().max() > 100 * (same - image).abs().max()


class WordsPrior(TextPrior):
    """A Gaussian whose mean is what it is told: a word for each channel."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(text)
        self.words = torch.zeros(1, 3, 64).double() + len(text or "") / 10

    @property
    def embedding(self) -> torch.Tensor:
        return self.words

    def with_embedding(self, embedding: torch.Tensor) -> "WordsPrior":
        return self._replace(words=embedding)

    def for_text(self, text: str | None, negative: bool = False) -> "WordsPrior":
        return WordsPrior(text)

    def forward(self, x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        alpha_t, sigma_t = self.diffusion.schedule(t)
        mean = self.words.reshape(-1, *SHAPE)
        gain = alpha_t / (alpha_t**2 + sigma_t**2)  # of variance 1
        return mean + gain * (x_t - alpha_t * mean)


def test_null_text_is_fitted_until_the_image_comes_back() -> None:
    """Where any words can be had, the round trip at w = 7.5 is DDIM's at w = 1; else it is not."""
    prior, image = WordsPrior(), 0.5 + 0.1 * random(*SHAPE, seed=3)
    settings = {"prior": prior, "prompt": "a dog runs"}
    fitted, one, unfitted = (
        diffprior.invert(image, inversion=text, guidance_scale=w, **settings).report[
            "round_trip_psnr"
        ][0]
        for text, w in (
            ("null_text(iterations=40, rate=0.1, tolerance=1e-9)", 7.5),
            ("ddim_inversion", 1.0),
            ("null_text(iterations=0)", 7.5),
        )
    )
    assert unfitted < one - 10 and fitted > one - 1


def test_null_text_of_a_batch_is_its_images_and_keeps_to_a_mask(tmp_path: Path) -> None:
    prior = WordsPrior()
    batch = (0.5 + 0.1 * random(2, *SHAPE, seed=3)).clamp(0, 1)
    settings = {"prior": prior, "inversion": "null_text(steps=5)", "source_prompt": "a dog"}
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1
    both = diffprior.edit(batch, mask, prompt="a longer dog", **settings).image
    one = diffprior.edit(batch[1], mask, prompt="a longer dog", **settings).image
    torch.testing.assert_close(both[1], one)
    assert torch.equal(both[..., mask == 0], batch[..., mask == 0])
    assert ((both - batch)[..., mask == 1]).mean() > 0.05
    method = build("null_text(steps=5)", ("inversions",))
    guided = prior.with_condition(prompt="a dog")
    x = 2 * batch - 1
    code = method.encode(guided, x)
    assert code["null"].shape == (2, 5, 3, 64)
    alone = method.decode(guided, {k: v[1:] for k, v in code.items()})
    torch.testing.assert_close(method.decode(guided, code)[1:], alone)


def test_null_text_of_a_pipeline(tmp_path: Path) -> None:
    """On a tiny network of the form of Stable Diffusion: each fit lowers what it is to lower."""
    from support.tiny import stable_diffusion

    stable_diffusion(tmp_path)
    prior = diffprior.load_prior(tmp_path)
    image = (0.5 + 0.1 * random(3, 16, 16, dtype=torch.float32)).clamp(0, 1)
    z = prior.encode(2 * image[None] - 1)
    guided = prior.with_condition(prompt="a cat", guidance_scale=30.0)

    def off(text: str) -> float:
        method = build(text, ("inversions",))
        return float((method.decode(guided, method.encode(guided, z)) - z).square().mean())

    setting = "null_text(steps=4, rate=0.3, tolerance=0.0, iterations={})"
    assert off(setting.format(10)) < off(setting.format(0)) / 2
    out = diffprior.edit(
        image, prior=prior, inversion="null_text(steps=2)", source_prompt="a cat", prompt="a dog"
    )
    assert out.image.shape == image.shape and out.report["target"]["prompt"] == "a dog"


@pytest.mark.parametrize(
    ("made", "settings", "words"),
    [
        (classes(), {"label": 0}, "empty prompt of a text-to-image prior, and ClassPrior has none"),
        (
            WordsPrior(),
            {"prompt": "a", "guidance_scale": 1.0},
            "fits a guidance, and WordsPrior has non",
        ),
    ],
)
def test_null_text_is_refused_where_there_is_none(image, made, settings, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        diffprior.invert(image, prior=made, inversion="null_text", **settings)
