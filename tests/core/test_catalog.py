"""Names, settings, and what is said when they are wrong."""

import inspect
import re

import numpy as np
import pytest
import torch

from diffprior import catalog
from diffprior.catalog import KINDS, SettingError, build, find, names, spell, summaries, summary
from diffprior.errors import CatalogError
from diffprior.methods.dps import DPS
from diffprior.methods.mmps import MMPS
from diffprior.methods.smc import TwistedSMC
from diffprior.priors.base import Prior
from diffprior.samplers.ddim import DDIM
from diffprior.samplers.heun import Heun

ONLY = ("operators",)
EVERY = [(kind, name) for kind in KINDS for name in names(kind)]


def test_the_folders_are_the_registry() -> None:
    """What must be there; files that are added join by themselves."""
    assert {"ancestral", "ddim", "dpm", "heun"} <= set(names("samplers"))
    assert {"dps", "mmps", "pigdm", "repaint", "smc", "tilt"} <= set(names("methods"))
    assert {"identity", "mask", "matrix"} <= set(names("operators"))
    assert {"bits", "latent", "mixture", "network", "text", "tiled"} <= set(names("priors"))
    assert "inpaint" in names("tasks")
    for kind in KINDS:
        assert names(kind) == sorted(names(kind)) and "base" not in names(kind)
    assert all(issubclass(find(name, ("priors",)), Prior) for name in names("priors"))


@pytest.mark.parametrize("kind, name", EVERY)
def test_every_name_is_found_and_summed_up_in_a_line(kind: str, name: str) -> None:
    thing = find(name, (kind,))
    assert thing.__module__ == f"diffprior.{kind}.{name}"
    assert inspect.isclass(thing) is (kind != "tasks")
    line = summary(thing)
    assert summaries(kind)[name] == line
    assert 10 < len(line) <= 100 and line.endswith((".", ":")) or line[-1].isalnum()
    assert thing.__doc__ and thing.__doc__.strip()


def test_names_are_one_in_all_kinds_that_are_built() -> None:
    """A method and a sampler of one name could not be told apart in a text."""
    built = [*names("methods"), *names("samplers")]
    assert len(built) == len(set(built))


@pytest.mark.parametrize("name", [*names("methods"), *names("samplers")])
def test_every_name_builds_without_settings_and_prints_itself(name: str) -> None:
    made = build(name)
    assert made == build(f"{name}()") == build(f"  {name} ") and type(made).__name__ in repr(made)


def test_settings_are_literals_or_built_in_turn() -> None:
    text = "smc(proposal=dps(zeta=0.3, sampler=ddim(steps=7, grid='karras')), steps=9)"
    sampler = DDIM(steps=7, grid="karras")
    assert build(text) == TwistedSMC(proposal=DPS(zeta=0.3, sampler=sampler), steps=9)
    assert build("mmps(sampler=heun)") == MMPS(sampler=Heun())
    assert build("dpir(start=None, weight=+1e-3, steps=4)").weight == 1e-3
    assert build("ddim(steps=3)", ("samplers",)) == DDIM(steps=3)


@pytest.mark.parametrize(
    "text, kinds, message",
    [
        ("mmsp", ("methods",), r"^no method 'mmsp'; the nearest are mmps"),
        ("dim", ("samplers",), r"^no sampler 'dim'; the nearest are ddim"),
        ("mmps(sampler=hune)", ("methods",), r"^no name 'hune'; the nearest are heun"),
        ("zzzz", ("samplers",), r"^no sampler 'zzzz'; the nearest are adaptive_sde, ancestral, "),
        (
            "mmps(iteration=5)",
            ("methods",),
            r"^mmps has no setting 'iteration'; it has .*iterations",
        ),
        ("mmps(5)", ("methods",), r"^settings of mmps are named, as in mmps\(a=1\)$"),
        ("mmps(**{'a': 1})", ("methods",), r"^settings of mmps are named"),
        ("mmps(iterations=", ("methods",), r"^cannot read 'mmps\(iterations='; write a name, or"),
        ("", ("methods",), r"^cannot read ''; write a name"),
        ("mmps; import os", ("methods",), r"^cannot read"),
        ("1 + 1 if 0 else x", ("methods",), r"^cannot read"),
        ("mmps(iterations=[x for x in y])", ("methods",), r"^cannot read"),
        ("mmps(iterations=__import__('os').system('true'))", ("methods",), r"^cannot read"),
        ("os.system('true')", ("methods",), r"^cannot read"),
        ("heun", ("methods",), r"^no method 'heun'"),
        ("3", ("methods",), r"^cannot read '3'; write a name, or name\(setting=value\)$"),
        ("'dpir'", ("methods",), r"^cannot read \"'dpir'\"; write a name"),
        ("dpir(steps=2, steps=3)", ("methods",), r"^dpir is given its setting 'steps' twice$"),
        ("mask", ("operators",), r"^mask needs keep, which no text can say: build it in Python$"),
        ("matrix", ("operators",), r"^matrix needs A, which no text can say"),
        ("physics", ("operators",), r"^physics needs physics, which no text can say"),
        ("quantize", ("operators",), r"^quantize needs bits: write quantize\(bits=\.\.\.\)$"),
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, kinds: tuple, message: str) -> None:
    with pytest.raises(CatalogError, match=message) as error:
        build(text, kinds)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, message",
    [
        ("dpir(steps=0)", "steps of DPIR is a whole number from 1 to 1000000, got 0"),
        ("dpir(steps=2.5)", "steps of DPIR is a whole number from 1 to 1000000, got 2.5"),
        ("dpir(steps=True)", "steps of DPIR is a whole number from 1 to 1000000, got True"),
        ("dpir(start=-1)", "start of DPIR is a number from 0 on or None, got -1"),
        ("dpir(start=1e400)", "start of DPIR is a number from 0 on or None, got inf"),
        ("dpir(weight=0)", "weight of DPIR is a number above 0, got 0"),
        ("daps(steps=0)", "steps of DAPS is a whole number from 1 to 1000000, got 0"),
        ("mmps(iterations=0)", "iterations of MMPS is a whole number from 1 to 1000000, got 0"),
        ("mmps(sampler=3)", "sampler of MMPS is a Sampler, got 3"),
        ("mmps(sampler=tilt)", "sampler of MMPS is a Sampler, got Tilt("),
        ("mmps(sampler=ddim(eta=40.0))", "eta of DDIM is a number in [0, 1], got 40.0"),
        ("ddim(grid='foo')", "grid of DDIM is one of 'time', 'logsnr', 'karras', 'vp', 'quad', "),
        ("smc(proposal=dpir, steps=2)", "proposal of TwistedSMC is a Guidance, got DPIR("),
        ("dps(constant=1)", "constant of DPS is True or False, got 1"),
        ("pnp_dm(rho=(1.0, 0))", "rho of PnPDM is a pair, each a number above 0, got (1.0, 0)"),
        ("pnp_dm(rho=(1.0,))", "rho of PnPDM is a pair, each a number above 0, got (1.0,)"),
        ("flow(rounds=-1)", "rounds of FlowInversion is a whole number from 0 on, got -1"),
        ("direct(steps=0)", "steps of DirectInversion is a whole number from 1 to 1000000, got 0"),
        ("average(factor=2.5)", "factor of average is a whole number, got 2.5"),
        ("mask(keep=3)", "mask needs keep, which no text can say: build it in Python"),
        ("fourier(keep=3)", "keep of fourier is a Tensor or a text, got 3"),
        ("hadamard(ratio=2)", "the ratio of measurements to pixels is in (0, 1], got 2"),
    ],
)
def test_a_setting_that_cannot_work_is_one_sentence(text: str, message: str) -> None:
    with pytest.raises(SettingError, match=f"^{re.escape(message)}") as error:
        build(text, ("methods", "samplers", "inversions", "operators"))
    assert "\n" not in str(error.value)


def test_compositions_are_read_from_the_right() -> None:
    A = build("decimate(factor=2) @ blur(kernel='gaussian:1') @ gray(weights='luminance')", ONLY)
    x = torch.rand(1, 3, 8, 8)
    gray = build("gray(weights='luminance')", ONLY)(x)
    blurred = build("blur(kernel='gaussian:1')", ONLY)(gray)
    expected = build("decimate(factor=2)", ONLY)(blurred)
    torch.testing.assert_close(A(x), expected)
    nested = build("decimate(factor=2) @ (blur(kernel='gaussian:1') @ gray)", ONLY)
    assert nested(x).shape == (1, 1, 4, 4)


def test_settings_of_a_text_can_be_resolved_from_left_to_right() -> None:
    keep, kernel = (torch.rand(1, 4, 4) < 0.5).float(), torch.ones(3, 3) / 9
    parts = iter((keep, kernel))

    def resolve(thing: type, settings: dict[str, object]) -> dict[str, object]:
        return {k: next(parts) if v == "*" else v for k, v in settings.items()}

    A = build("mask(keep='*') @ blur(kernel='*')", ONLY, resolve)
    x = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(A(x), keep * build("blur(kernel='uniform:3')", ONLY)(x))
    assert next(parts, None) is None
    with pytest.raises(CatalogError, match="^mask needs keep, which no text can say"):
        build("mask(keep='*')", ONLY, lambda thing, settings: settings)


@pytest.mark.parametrize(
    ("text", "kinds", "message"),
    [
        ("gray @", ("operators",), r"^cannot read 'gray @'; write a name, or name\("),
        ("gray @ 3", ("operators",), r"^cannot read '3'; write a name, or name\("),
        ("gray @ grya", ("operators",), r"^no operator 'grya'; the nearest are gray"),
        ("gray + gray", ("operators",), r"^cannot read 'gray \+ gray'"),
        ("mmps @ dps", ("methods",), r"^cannot read 'mmps @ dps'"),
        ("mmps @ gray", ("methods", "operators"), r"^cannot compose 'mmps @ gray'"),
        ("mmps(sampler=gray @ gray)", ("methods",), r"^cannot read 'gray @ gray'"),
    ],
)
def test_a_composition_that_cannot_be_read_is_one_sentence(
    text: str, kinds: tuple[str, ...], message: str
) -> None:
    with pytest.raises(CatalogError, match=message) as error:
        build(text, kinds)
    assert "\n" not in str(error.value)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(CatalogError, match="; did you mean iterations\\?$"):
        build("mmps(iteration=5)")
    with pytest.raises(CatalogError, match="has no setting 'zzz'; it has [^;]*$"):
        build("mmps(zzz=5)")


@pytest.mark.parametrize("name", [*names("methods"), *names("samplers")])
def test_what_is_built_can_be_spelled(name: str) -> None:
    made = build(name)
    assert build(spell(made)) == made
    assert spell(DDIM(steps=7, grid="karras")).startswith("ddim(")


def test_settings_are_checked_where_no_text_is_read() -> None:
    with pytest.raises(
        SettingError, match="^steps of DDIM is a whole number from 1 to 1000000, got -1$"
    ):
        DDIM().with_steps(-1)
    with pytest.raises(SettingError, match="^zeta of DPS is a number from 0 on, got nan$"):
        DPS(zeta=float("nan"))
    assert DDIM(steps=np.int64(3), eta=np.float32(0.5)).steps == 3


def test_an_unknown_kind_is_one_sentence() -> None:
    with pytest.raises(CatalogError, match="^no kind 'method'; there are tasks, methods,"):
        names("method")


def test_the_error_is_both_a_lookup_and_a_value_error() -> None:
    assert issubclass(CatalogError, LookupError) and issubclass(CatalogError, ValueError)
    assert str(CatalogError("a 'b'")) == "a 'b'"  # not the repr that a KeyError prints


def test_tasks_are_attributes_of_the_package() -> None:
    import diffprior

    for name, function in catalog.functions().items():
        assert getattr(diffprior, name) is function
        assert torch.is_tensor(torch.empty(0)) and inspect.signature(function).parameters
    with pytest.raises(AttributeError, match="^module 'diffprior' has no 'inpiant'; it has"):
        _ = diffprior.inpiant
