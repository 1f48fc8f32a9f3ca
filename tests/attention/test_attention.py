"""Prompt-to-prompt, on a tiny network: what is taken over is the source's, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import diffprior
from diffprior.attention._control import Sight, attended
from diffprior.attention.base import AttentionEdit, Words, take_words
from diffprior.catalog import SettingError, build, names
from diffprior.inversions.edit_friendly import EditFriendly
from diffprior.priors.base import Prior
from diffprior.priors.mixture import MixturePrior
from diffprior.priors.text import text_prior

from support.exact import random
from support.tiny import stable_diffusion, stable_diffusion_xl

TIMES = torch.linspace(1, 0, 11, dtype=torch.float64)
EARLY, LATE = torch.tensor(0.95).double(), torch.tensor(0.15).double()


@pytest.fixture(scope="module")
def sd(tmp_path_factory: pytest.TempPathFactory) -> Prior:
    """A network whose attention counts: its words are made large."""
    folder = tmp_path_factory.mktemp("sd")
    stable_diffusion(folder)
    prior = diffprior.load_prior(folder)
    for name, weight in text_prior(prior).family.network.named_parameters():
        if "attn2.to_k" in name or "attn2.to_v" in name:
            weight.data.mul_(20)
    return prior


def edit(text: str) -> AttentionEdit:
    made: AttentionEdit = build(text, ("attention",))
    return made


def words(text: str, length: int = 16) -> Words:
    """As many rows a word as it has letters."""
    return Words.of(text, list, length)


def state(prior: Prior, rows: int = 1) -> Tensor:
    return random(rows, *prior.shape, seed=3, dtype=torch.float32)


def trio(prior: Prior, text: str, before: str, after: str) -> tuple[Prior, Prior, Sight | None]:
    source, target = (prior.with_condition(prompt=p, guidance_scale=1.0) for p in (before, after))
    return attended(edit(text), source, target, TIMES)


def pair(prior: Prior, text: str, before: str, after: str) -> tuple[Prior, Prior]:
    first, second, sight = trio(prior, text, before, after)
    assert sight is None
    return first, second


def maps(prior: Prior, call: Callable[[], object]) -> list[tuple[str, Tensor]]:
    """Return all that attention scores weigh their values with, by a hook on the products."""
    from diffusers.models.attention_processor import Attention

    seen, network = [], text_prior(prior).family.network
    layers = {m: n for n, m in network.named_modules() if isinstance(m, Attention)}
    bmm = torch.bmm

    def product(a: Tensor, b: Tensor) -> Tensor:
        seen.append(a.clone())
        return bmm(a, b)

    torch.bmm = product
    try:
        call()
    finally:
        torch.bmm = bmm
    return list(zip(layers.values(), seen, strict=True))


@pytest.mark.parametrize(
    "text", ["replace", "refine", "reweight", "replace(cross=0.0, layout=0.0)"]
)
def test_one_prompt_is_looked_at_as_it_is(sd: Prior, text: str) -> None:
    first, second = pair(sd, text, "a cat", "a cat")
    plain = sd.with_condition(prompt="a cat", guidance_scale=1.0)
    for t in (EARLY, LATE):
        x, y = first(state(sd), t), second(state(sd), t)
        assert torch.equal(x, y)
        torch.testing.assert_close(x, plain(state(sd), t), rtol=1e-4, atol=1e-5)


def test_maps_are_the_sources_where_they_are_replaced(sd: Prior) -> None:
    """Early all of them; later those of words; in the end none: shares 0.8 and 0.4."""
    first, second = pair(sd, "replace(cross=0.8, layout=0.4)", "a cat", "a dog")
    for t, layout, cross in ((0.95, True, True), (0.5, False, True), (0.15, False, False)):
        t = torch.tensor(t, dtype=torch.float64)
        source = maps(sd, lambda: first(state(sd), t))  # noqa: B023
        target = maps(sd, lambda: second(state(sd), t))  # noqa: B023
        assert len(source) == len(target) >= 4
        for (name, a), (_, b) in zip(source[1:], target[1:], strict=True):  # before 1: no words
            held = cross if "attn2" in name else layout
            assert torch.equal(a, b) == held, name


def test_a_swapped_word_is_told_of_by_the_targets_text(sd: Prior) -> None:
    """Maps of the source and words of the target: neither prior alone, and in between late."""
    first, second = pair(sd, "replace(cross=0.5)", "a cat", "a dog")
    x = state(sd)
    early, late = ((first(x, t), second(x, t))[1] for t in (EARLY, LATE))
    plain = [sd.with_condition(prompt=p, guidance_scale=1.0) for p in ("a cat", "a dog")]
    assert all((early - p(x, EARLY)).abs().max() > 1e-4 for p in plain)
    torch.testing.assert_close(late, plain[1](x, LATE), rtol=1e-4, atol=1e-5)


def test_a_weight_multiplies_the_columns_of_its_word(sd: Prior) -> None:
    """A word of three letters is three rows of the text, after the one of "a"."""
    first, second = pair(sd, "reweight(weights={'cat': 3.0})", "a cat", "a cat")
    source = maps(sd, lambda: first(state(sd), EARLY))
    target = maps(sd, lambda: second(state(sd), EARLY))
    found = [(a, b) for (name, a), (_, b) in zip(source, target, strict=True) if "attn2" in name]
    a, b = found[0]
    torch.testing.assert_close(b[..., 2:5], 3 * a[..., 2:5])
    assert torch.equal(b[..., :2], a[..., :2]) and torch.equal(b[..., 5:], a[..., 5:])
    first, second = pair(sd, "reweight(weights={'cat': 1.0})", "a cat", "a cat")
    assert torch.equal(first(state(sd), EARLY), second(state(sd), EARLY))


def test_rows_follow_their_words() -> None:
    """By hand: of "ab c" and "ab xyz c" with a row a letter, between beginning and end."""
    M, k = edit("refine").columns(words("ab c", 8), words("ab xyz c", 10))
    expected = torch.zeros(8, 10)
    for i, j in ((0, 0), (1, 1), (2, 2), (3, 6), (4, 7), (5, 8), (6, 9)):
        expected[i, j] = 1
    assert torch.equal(M, expected) and k.nonzero().flatten().tolist() == [3, 4, 5]


def test_words_are_found_within_their_punctuation() -> None:
    """Of "a cat, (a dog)" with a row a letter: 2 to 5 are "cat,", and 8 to 11 "dog)"."""
    text = words("a cat, (a dog)")
    assert text.rows("cat") == [2, 3, 4, 5] and text.rows("dog", "rat") == [8, 9, 10, 11]
    assert text.rows("a") == [1, 6, 7]
    assert edit("refine(weights={'cat': 2.0})").factors(text).tolist()[1:7] == [1, 2, 2, 2, 2, 1]


def test_words_of_other_lengths_share() -> None:
    M, k = edit("replace").columns(words("a bc d"), words("a xyz d"))
    assert not k.any()
    assert torch.equal(M[2:4, 3 - 1 : 5], torch.full((2, 3), 1 / 3))
    assert M[4, 5] == 1 and M[5, 6] == 1 and M[14, 15] == 1
    assert torch.equal(M[:15].sum(1), torch.ones(15))  # all that is looked at is shared out


def test_a_text_that_is_too_long_ends_with_the_rows() -> None:
    long = words("abcdefgh ijklmnop qrs", 12)
    assert long.spans == [(1, 9), (9, 11), (11, 11)] and long.end == 11
    assert torch.isfinite(take_words(long, words("a b c", 12), [(0, 0), (1, 1), (2, 2)])).all()


def test_what_guidance_is_free_of_is_left_alone(sd: Prior) -> None:
    """Guided, the answer is free + w (attended - free)."""
    source, target = (sd.with_condition(prompt=p, guidance_scale=4.0) for p in ("a cat", "a dog"))
    first, second, _ = attended(edit("replace"), source, target, TIMES)
    alone = pair(sd, "replace", "a cat", "a dog")
    x, free = state(sd), sd.with_condition(negative_prompt="", guidance_scale=1.0)(state(sd), EARLY)
    first(x, EARLY), alone[0](x, EARLY)
    expected = free + 4 * (alone[1](x, EARLY) - free)
    torch.testing.assert_close(second(x, EARLY), expected, rtol=1e-3, atol=1e-4)


def test_a_row_of_a_batch_is_the_row_alone(sd: Prior) -> None:
    x = state(sd, 3)
    both = [p(x, EARLY) for p in pair(sd, "replace", "a cat", "a dog")]
    alone = [p(x[1:2], EARLY) for p in pair(sd, "replace", "a cat", "a dog")]
    torch.testing.assert_close(both[1][1:2], alone[1])


def test_the_network_is_left_as_it_was(sd: Prior) -> None:
    network = text_prior(sd).family.network
    before = network.attn_processors
    first, second = pair(sd, "replace", "a cat", "a dog")
    first(state(sd), EARLY), second(state(sd), EARLY)
    after = network.attn_processors
    assert before.keys() == after.keys() and all(after[k] is before[k] for k in before)
    assert not any("get_attention_scores" in vars(m) for m in network.modules())


def test_the_larger_network_reads_by_two_and_is_controlled_as_well(tmp_path: Path) -> None:
    stable_diffusion_xl(tmp_path)
    prior = diffprior.load_prior(tmp_path)
    first, second = pair(prior, "refine", "a cat", "a cat")
    assert torch.equal(first(state(prior), EARLY), second(state(prior), EARLY))


def test_an_edit_under_attention(sd: Prior) -> None:
    """By the task: the same prompt gives the image back; another with attention stays nearer."""
    image = (0.5 + 0.1 * random(3, 16, 16, dtype=torch.float32)).clamp(0, 1)
    settings = {"prior": sd, "steps": 4, "source_prompt": "a cat", "guidance": 1.0}
    back = diffprior.edit(image, **settings).image
    same = diffprior.edit(image, prompt="a cat", attention="reweight", **settings).image
    torch.testing.assert_close(same, back, rtol=0, atol=1e-3)
    mask = torch.zeros(16, 16)
    mask[4:12, 4:12] = 1
    out = diffprior.edit(image, mask, prompt="a dog", attention="replace(cross=0.5)", **settings)
    assert torch.equal(out.image[:, mask == 0], image[:, mask == 0])


@pytest.mark.parametrize("name", names("attention"))
def test_shares_are_shares(name: str) -> None:
    with pytest.raises(ValueError, match=r"cross of \w+ is a number in \[0, 1\], got 2"):
        edit(f"{name}(cross=2)")


@pytest.mark.parametrize(
    ("text", "before", "after", "told"),
    [
        ("replace", "a cat", "a fat cat", "one for one, and the prompts have 2 and 3"),
        ("reweight", "a cat", "a dog", "reweight is of one prompt, got 'a cat' and 'a dog'"),
        ("refine(weights={'rat': 2.0})", "a cat", "a dog", "no word 'rat' to weight in 'a dog'"),
    ],
)
def test_prompts_that_do_not_go_together_are_one_sentence(sd, text, before, after, told) -> None:
    with pytest.raises(ValueError, match=told):
        pair(sd, text, before, after)


def test_priors_without_words_are_one_sentence(sd: Prior) -> None:
    one = torch.ones(1)
    flat = MixturePrior(one, torch.zeros(1, 3, 8, 8), one)
    with pytest.raises(SettingError, match="that of a U-Net of Stable Diffusion"):
        diffprior.edit(torch.zeros(3, 8, 8), prior=flat, steps=2, attention="replace")
    with pytest.raises(ValueError, match="from prompt to prompt, and one is missing"):
        attended(edit("replace"), sd, sd.with_condition(prompt="a cat"), TIMES)


def looked(found: list[tuple[str, Tensor]], rows: slice) -> np.ndarray:
    """By hand: what every head of every layer looks at in some rows, on the grid of the state."""
    layers = []
    for name, A in found:
        if "attn2" in name:
            M, n = A[..., rows].sum(-1).mean(0), round(A.shape[1] ** 0.5)
            layers.append(cv2.resize(M.reshape(n, n).numpy(), (8, 8)))
    assert len(layers) == 4
    return np.mean(layers, 0)


def test_a_local_edit_shows_where_its_words_are_looked_for(sd: Prior) -> None:
    """Of "a cat" rows 2 to 4, of "a fat cat" 5 to 7; the sum over two calls, over 0.8 of the most.

    Cross attention of the refined word is the source's early, and the target's own late.
    """
    text = "refine(cross=0.5, local='cat', threshold=0.8)"
    first, second, sight = trio(sd, text, "a cat", "a fat cat")
    total = [np.zeros((8, 8)), np.zeros((8, 8))]
    for t in (EARLY, LATE):
        for k, (prior, rows) in enumerate(((first, slice(2, 5)), (second, slice(5, 8)))):
            total[k] += looked(maps(sd, lambda: prior(state(sd), t)), rows)  # noqa: B023
    source, target = (M > 0.8 * M.max() for M in total)
    assert (source != target).any() and 4 < (source | target).sum() < 60
    assert np.array_equal(sight.mask()[0, 0].numpy(), source | target)


def test_the_spots_of_a_row_of_a_batch_are_those_of_the_row_alone(sd: Prior) -> None:
    found = []
    for x in (state(sd, 3), state(sd, 3)[1:2]):
        *both, sight = trio(sd, "replace(local='cat dog', threshold=0.8)", "a cat", "a dog")
        _ = [prior(x, EARLY) for prior in both]
        found.append(sight.mask())
    assert torch.equal(found[0][1:2], found[1]) and not torch.equal(found[0][:1], found[1])


def test_rows_at_once_are_seen_as_one_by_one() -> None:
    """A batch that goes through the network whole, as on a GPU; heads and sizes by layer."""
    layers = [(4, 64), (8, 16), (4, 16)]  # heads, positions; of a state of 8 x 8
    A = [random(3, heads, n, 6, seed=k).float().softmax(-1) for k, (heads, n) in enumerate(layers)]
    masks = []
    for parts in (1, 3):
        sight = Sight(([1, 2], [3]), (8, 8), 8, 0.9)
        for which in (0, 1):
            for rows in torch.arange(3).chunk(parts):
                for a, (heads, _) in zip(A, layers, strict=True):
                    sight.look(which, a[rows].flatten(0, 1), heads)
            sight.close(which, torch.zeros(3, 4, 8, 8))
        masks.append(sight.mask())
    assert torch.equal(*masks) and 0 < masks[0].sum() < masks[0].numel()


def test_a_word_of_one_prompt_alone_is_looked_for_there(sd: Prior) -> None:
    masks = []
    for words in ("cat", "dog", "cat dog"):
        text = f"replace(cross=0.0, layout=0.0, local='{words}', threshold=0.8)"
        *both, sight = trio(sd, text, "a cat", "a dog")
        _ = [prior(state(sd), EARLY) for prior in both]
        masks.append(sight.mask())
    assert torch.equal(masks[0] | masks[1], masks[2]) and not torch.equal(masks[0], masks[1])


def test_states_outside_a_local_edit_are_the_sources_after_every_step(sd, monkeypatch) -> None:
    """And in the end the image's own, bit for bit; with a mask, inside of both."""
    steps, spots, down, mask = [], [], EditFriendly.down, Sight.mask

    def noting(self, prior, code, times, each):
        def noted(x: Tensor, i: int) -> Tensor:
            steps.append(each(x, i))
            return steps[-1]

        return down(self, prior, code, times, noted)

    def seen(self: Sight) -> Tensor:
        spots.append(mask(self))
        return spots[-1]

    monkeypatch.setattr(EditFriendly, "down", noting)
    monkeypatch.setattr(Sight, "mask", seen)
    image = (0.5 + 0.1 * random(2, 3, 16, 16, dtype=torch.float32)).clamp(0, 1)
    settings = {"prior": sd, "steps": 4, "source_prompt": "a cat", "prompt": "a dog"}
    settings |= {"attention": "replace(local='cat dog', threshold=0.8)", "feather": 0}
    out = diffprior.edit(image, **settings)
    for both, inside in zip(steps, spots, strict=False):
        kept, new = both.chunk(2)
        assert 0 < inside.sum() < inside.numel() and torch.equal(
            new[:, 0] != kept[:, 0], inside[:, 0]
        )
    last = torch.cat(spots[-2:])  # the images, one after the other
    last = last.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.equal(out.cover, last.float())
    outside = ~last.expand(-1, 3, -1, -1)
    assert (
        torch.equal(out.image[outside], image[outside]) and out.report["attention"][:7] == "Replace"
    )
    assert torch.equal(diffprior.edit(image[1], **settings).image, out.image[1])
    left = torch.zeros(16, 16)
    left[:, :8] = 1
    half = diffprior.edit(image, left, **settings)
    assert not half.cover[..., 8:].any() and half.cover.any()
    assert torch.equal(half.image[..., 8:], image[..., 8:])


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        ("replace(local='rat')", {}, "no word 'rat' to look for in 'a cat' or 'a dog'"),
        ("replace(threshold=1.5)", {}, r"threshold of Replace is a number in \[0, 1\], got 1.5"),
        ("replace(local='cat')", {"image": None}, "there is no image"),
        (
            "replace(local='cat', side=1)",
            {},
            "in states of at most 1 a side .* larger tile, or side",
        ),
    ],
)
def test_words_that_cannot_be_looked_for_are_one_sentence(sd, text, settings, told) -> None:
    image = torch.full((3, 16, 16), 0.5)
    more = {"prior": sd, "source_prompt": "a cat", "prompt": "a dog", "steps": 2}
    if "image" in settings:
        del more["steps"], more["source_prompt"]
        made = diffprior.invert(image, prior=sd, prompt="a cat", steps=2)
        more["inversion"] = made.trajectory
    with pytest.raises(ValueError, match=told):
        diffprior.edit(**{"image": image, "attention": text} | more | settings)
