"""The noise levels of a method, all of them times a factor."""

from diffprior.methods.daps import DAPS
from diffprior.methods.discrepancy import Discrepancy
from diffprior.methods.dpir import DPIR
from diffprior.methods.mmps import MMPS
from diffprior.methods.textured import Textured


def test_levels_scale_and_nothing_else() -> None:
    assert DPIR(start=0.4, stop=0.02, steps=7, weight=0.3).at_levels(0.5) == DPIR(
        start=0.2, stop=0.01, steps=7, weight=0.3
    )
    assert DAPS(stop=0.02).at_levels(0.5) == DAPS(stop=0.01)
    assert MMPS(start=1.0, iterations=2).at_levels(0.5) == MMPS(start=0.5, iterations=2)
    assert MMPS().at_levels(0.5) == MMPS()


def test_methods_inside_others_scale_with_them() -> None:
    inner = DPIR(start=0.4, stop=0.02)
    assert Discrepancy(method=inner, start=1.0).at_levels(0.5) == Discrepancy(
        method=DPIR(start=0.2, stop=0.01), start=0.5
    )
    textured = Textured(mean=inner, sample=MMPS(start=1.0)).at_levels(0.5)
    assert textured == Textured(mean=DPIR(start=0.2, stop=0.01), sample=MMPS(start=0.5))
