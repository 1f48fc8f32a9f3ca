"""Damaged files of every kind that is read: only errors of the library come, in one sentence."""

import random
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(ROOT / "scripts"))
    import fuzz

    patch.undo()
    return fuzz


def test_the_seeds_are_read(script: ModuleType, tmp_path: Path) -> None:
    for name, target in script.targets().items():
        for seed in target.seeds:
            finding = script.attempt(name, target, seed, tmp_path / "file")
            assert finding is None, (name, finding.error)


def test_damage_is_the_same_for_a_seed(script: ModuleType) -> None:
    seed = bytes(range(200))
    first = [script.damaged(seed, random.Random(3)) for _ in range(2)]
    assert first[0] == first[1] != seed


def test_damaged_files_end_in_errors_of_the_library(script: ModuleType) -> None:
    count, found = script.fuzz(rounds=3000, seconds=12, seed=1)
    assert count >= 100
    assert not found, [(f.name, type(f.error).__name__, str(f.error)[:120]) for f in found[:5]]
