"""Conditions reach the innermost prior, and no further than it can follow."""

import pytest
import torch
from torch import Tensor

from diffprior.priors.base import Prior, Source
from diffprior.priors.guided import GuidedPrior
from diffprior.priors.half import HalfPrior
from diffprior.priors.latent import LatentPrior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.tiled import TiledPrior
from diffprior.random import Noise

from support.conditions import SHAPE, TextPrior, classes
from support.exact import random

T = torch.tensor(0.4, dtype=torch.float64)


@pytest.fixture
def x_t() -> Tensor:
    return random(2, *SHAPE, seed=9)


def test_nothing_asked_is_the_prior_itself() -> None:
    for prior in (classes(), TextPrior(), classes().whole):
        assert prior.with_condition() is prior
        assert prior.with_condition(guidance_scale=1) is prior


@pytest.mark.parametrize(("guidance", "scale"), [(None, 3.0), (1.0, 1.0), (0.0, 0.0), (5.0, 5.0)])
def test_a_label_is_guided(x_t: Tensor, guidance: float | None, scale: float) -> None:
    prior = classes()
    found = prior.with_condition(label=1, guidance_scale=guidance)
    free = prior(x_t, T)
    expected = free + scale * (prior.parts[1](x_t, T) - free)
    torch.testing.assert_close(found(x_t, T), expected, rtol=0, atol=1e-12)
    assert prior.label is None


@pytest.mark.parametrize(("negative", "away"), [(None, 0.0), ("cats", 0.4)])
def test_a_prompt_is_guided_away_from_the_negative(
    x_t: Tensor, negative: str | None, away: float
) -> None:
    """Of Gaussians of one variance, the guided one has the mean away + 7.5 (mean - away)."""
    one = torch.ones(1, dtype=torch.float64)
    mean = torch.full((1, *SHAPE), away + 7.5 * (0.6 - away), dtype=torch.float64)
    found = TextPrior().with_condition(prompt="a lion", negative_prompt=negative)
    torch.testing.assert_close(found(x_t, T), MixturePrior(one, mean, one)(x_t, T))


def test_wrappers_stay_where_they_are(x_t: Tensor) -> None:
    inner = classes(dtype=torch.float32)
    tiled = HalfPrior(TiledPrior(inner, 65, 32, SHAPE))
    latent = LatentPrior(inner, lambda x: x / 2, lambda z: 2 * z)
    latent.source = Source("tiny", "abc")
    found = tiled.with_condition(label=0), latent.with_condition(label=0)
    assert isinstance(found[0], HalfPrior) and isinstance(found[0].inner, TiledPrior)
    assert isinstance(found[1], LatentPrior)
    assert (found[1].name, found[1].sha256) == ("tiny", "abc")
    assert torch.equal(found[1].encode(x_t), x_t / 2)
    expected = inner.with_condition(label=0)(x_t.float(), T)
    torch.testing.assert_close(found[0](x_t.float(), T), expected, rtol=0, atol=2e-2)
    torch.testing.assert_close(found[1](x_t.float(), T), expected)


def test_guidance_is_taken_off_and_turned_against_another_condition(x_t: Tensor) -> None:
    prior = classes()
    a, b = (prior.with_condition(label=k, guidance_scale=4.0) for k in (0, 1))
    alone = [p(x_t, T) for p in prior.parts]
    assert torch.equal(b.without_guidance()(x_t, T), alone[1])
    turned = TiledPrior(b, 65, 32, SHAPE).with_negative(a)
    expected = alone[0] + 4 * (alone[1] - alone[0])
    torch.testing.assert_close(turned(x_t, T), expected, rtol=0, atol=1e-12)
    assert isinstance(turned.innermost, GuidedPrior)
    assert b.without_guidance().with_negative(a)(x_t, T).equal(alone[1])


def test_a_condition_replaces_another(x_t: Tensor) -> None:
    prior = classes()
    twice = prior.with_condition(label=0).with_condition(label=1, guidance_scale=2.0)
    once = prior.with_condition(label=1, guidance_scale=2.0)
    assert torch.equal(twice(x_t, T), once(x_t, T))


@pytest.mark.parametrize(
    ("prior", "condition"), [(classes(), {"label": 1}), (TextPrior(), {"prompt": "a lion"})]
)
def test_a_prior_that_has_a_condition_keeps_it(x_t: Tensor, prior: Prior, condition: dict) -> None:
    own = prior.with_condition(**condition)
    for guidance in (1.0, 2.0):
        expected = prior.with_condition(guidance_scale=guidance, **condition)
        assert torch.equal(own.with_condition(guidance_scale=guidance)(x_t, T), expected(x_t, T))


def test_a_network_without_free_images_is_not_guided(x_t: Tensor) -> None:
    prior = classes(free=False)
    assert torch.equal(prior.with_condition(label=1)(x_t, T), prior.parts[1](x_t, T))
    with pytest.raises(ValueError, match="guidance_scale=2.0 needs a network that was trained"):
        prior.with_condition(label=1, guidance_scale=2.0)


@pytest.mark.parametrize(
    ("prior", "settings", "words"),
    [
        (classes(), {"prompt": "a cat"}, "'a cat' needs a prior of a text-to-image.*ClassPrior"),
        (
            classes(),
            {"negative_prompt": "a cat"},
            "negative_prompt='a cat' needs a prior of a text",
        ),
        (classes(), {"label": 2}, "label is one of 0 ... 1, got 2"),
        (
            classes(),
            {"guidance_scale": 3.0},
            "guidance_scale=3.0 strengthens a label, and none was set",
        ),
        (
            TextPrior(),
            {"label": 1},
            "label=1 needs a class-conditional prior, and TextPrior has no",
        ),
        (TextPrior(), {"guidance_scale": 3.0}, "strengthens a prompt, and none"),
        (TextPrior(), {"prompt": "a", "label": 1}, "texts or classes, not both"),
        (classes().whole, {"guidance_scale": 3.0}, "needs a prior with a prompt or a label"),
    ],
)
def test_what_a_prior_has_not_is_one_sentence(prior: Prior, settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TiledPrior(prior, 65, 32, SHAPE).with_condition(**settings)


def test_samples_have_their_class() -> None:
    """Guards the stand-in itself."""
    prior = classes()
    x = prior.parts[1].sample(Noise(0, samples=4))
    assert (prior.parts[1].log_prob(x) > prior.parts[0].log_prob(x) + 100).all()


def test_the_methods_of_a_prior_set_its_condition(x_t: Tensor) -> None:
    prior = classes()
    tiled = TiledPrior(prior, 65, 32, SHAPE)
    guided = tiled.with_label(1)
    assert (guided.label, guided.guidance_scale, tiled.label) == (1, 3.0, None)
    torch.testing.assert_close(guided.for_label(0)(x_t, T), prior.parts[0](x_t, T))
    torch.testing.assert_close(guided.without_guidance()(x_t, T), prior.parts[1](x_t, T))
    free, one = prior(x_t, T), prior.parts[1](x_t, T)
    expected = free + 2 * (one - free)
    torch.testing.assert_close(guided.with_guidance(2.0)(x_t, T), expected)
    assert guided.with_guidance(1.0).guidance_scale == 1 and tiled.with_guidance(1.0) is tiled


def test_guidance_keeps_the_negative_prompt() -> None:
    """Of Gaussians of one variance, the guided one has the mean away + w (mean - away)."""
    prior = TextPrior().with_prompt("a lion", "cats")
    assert (prior.text, prior.guidance_scale) == ("a lion", 7.5)
    one, mean = torch.ones(1, dtype=torch.float64), torch.full((1, *SHAPE), 0.4 + 2 * 0.2).double()
    x = random(2, *SHAPE)
    expected = MixturePrior(one, mean, one)(x, T)
    torch.testing.assert_close(prior.with_guidance(2.0)(x, T), expected)
    plain = prior.with_prompt("a lion").with_guidance(2.0)
    mean = torch.full((1, *SHAPE), 2 * 0.6, dtype=torch.float64)
    torch.testing.assert_close(plain(x, T), MixturePrior(one, mean, one)(x, T))


def test_wrappers_say_what_is_inside_them() -> None:
    inner = classes(dtype=torch.float32)._replace(source=Source("tiny", "abc"))
    latent = LatentPrior(HalfPrior(inner), lambda x: x, lambda z: z, stride=4, multiple=8)
    assert (latent.name, latent.sha256, latent.classes) == ("tiny", "abc", 2)
    assert latent.dtype == torch.bfloat16 and latent.like.dtype == torch.float32
    assert (latent.stride, latent.latents(9), inner.stride) == (4, 4, 1)
    assert latent.innermost is inner and not latent.sees_image and not latent.takes_control
    changed = latent.with_label(1)
    assert (changed.source, changed.stride, changed.label) == (latent.source, 4, 1)
    assert classes().name == "ClassPrior" and classes().sha256 is None


def test_a_changed_copy_leaves_the_prior_and_shares_its_networks() -> None:
    prior = classes()
    other = prior._replace(whole=prior.parts[0], label=1)
    assert other.parts is prior.parts and other.whole is prior.parts[0]
    assert prior.whole is not prior.parts[0] and prior.label is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.with_image(), "ClassPrior does not take an image"),
        (lambda p: p.with_control(torch.zeros(1, 3, 8, 8)), "needs a prior with a ControlNet"),
        (lambda p: p.with_prompt("a cat"), "ClassPrior knows no text"),
        (lambda p: p.for_text("a cat"), "needs a prior of a text-to-image model, not ClassPrior"),
        (lambda p: p.with_embedding(torch.zeros(1, 2, 3)), "an embedding needs a prior of a text"),
        (lambda p: p.with_guidance(float("nan")), "guidance_scale is a finite number, got nan"),
    ],
)
def test_what_a_prior_cannot_do_is_refused(change, words: str) -> None:
    for prior in (classes(), TiledPrior(classes(), 65, 32, SHAPE)):
        with pytest.raises(ValueError, match=words):
            change(prior)
    with pytest.raises(ValueError, match="label=1 needs a class-conditional prior, not TextPrior"):
        TextPrior().for_label(1)
