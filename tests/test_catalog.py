"""Names, settings, and what is said when they are wrong."""

import inspect

import pytest
import torch

from diffprior import catalog
from diffprior.catalog import KINDS, CatalogError, build, find, names, summary
from diffprior.methods.dps import DPS
from diffprior.methods.mmps import MMPS
from diffprior.methods.smc import TwistedSMC
from diffprior.priors.base import Prior
from diffprior.samplers.ddim import DDIM
from diffprior.samplers.heun import Heun

EVERY = [(kind, name) for kind in KINDS for name in names(kind)]


def test_the_folders_are_the_registry() -> None:
    """What must be there; files that are added join by themselves."""
    assert {"ancestral", "ddim", "dpm", "heun"} <= set(names("samplers"))
    assert {"dps", "mmps", "pigdm", "repaint", "smc", "tilt"} <= set(names("methods"))
    assert {"identity", "mask", "matrix"} <= set(names("operators"))
    assert {"bits", "diffusers", "latent", "mixture", "network", "tiled"} <= set(names("priors"))
    assert "inpainting" in names("tasks")
    for kind in KINDS:
        assert names(kind) == sorted(names(kind)) and "base" not in names(kind)
    assert all(issubclass(find(name, ("priors",)), Prior) for name in names("priors"))


@pytest.mark.parametrize("kind, name", EVERY)
def test_every_name_is_found_and_summed_up_in_a_line(kind: str, name: str) -> None:
    thing = find(name, (kind,))
    assert thing.__module__ == f"diffprior.{kind}.{name}"
    assert inspect.isclass(thing) is (kind != "tasks")
    line = summary(thing)
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
    assert build("dpir(start=None, weight=-1e-3, steps=+4)").weight == -1e-3
    assert build("ddim(steps=3)", ("samplers",)) == DDIM(steps=3)


@pytest.mark.parametrize(
    "text, kinds, message",
    [
        ("mmsp", ("methods",), r"^no method 'mmsp'; the nearest are mmps"),
        ("dim", ("samplers",), r"^no sampler 'dim'; the nearest are ddim"),
        ("mmps(sampler=hune)", ("methods",), r"^no name 'hune'; the nearest are heun"),
        ("zzzz", ("samplers",), r"^no sampler 'zzzz'; the nearest are ancestral, ddim, dpm, heun$"),
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
    ],
)
def test_what_is_wrong_is_one_sentence(text: str, kinds: tuple, message: str) -> None:
    with pytest.raises(CatalogError, match=message) as error:
        build(text, kinds)
    assert "\n" not in str(error.value)


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
