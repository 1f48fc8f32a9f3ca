"""Labels of least energy, against enumeration."""

import itertools

import pytest
import torch
from torch import Tensor

from diffprior.exemplar.labeling import Energy, Lattice, minimize


def random_energy(member: Tensor, labels: int, seed: int, coupling: float = 1.0) -> Energy:
    generator = torch.Generator().manual_seed(seed)
    lattice = Lattice(member)
    n = len(lattice)
    single = torch.rand(n, labels, generator=generator)
    pairs = [coupling * torch.rand(n, labels, labels, generator=generator) for _ in range(2)]
    for costs, neighbor in zip(pairs, (lattice.right, lattice.down), strict=True):
        costs[neighbor == n] = 0
    return Energy(lattice, single, *pairs)


def least(energy: Energy) -> float:
    """Return the least of the energies of all labels, which are looked up for all at once."""
    n, labels = energy.single.shape
    every = torch.tensor([*itertools.product(range(labels), repeat=n)])
    total = energy.single[torch.arange(n), every].sum(1)
    pairs = ((energy.right, energy.lattice.right), (energy.down, energy.lattice.down))
    for costs, neighbor in pairs:
        (i,) = (neighbor < n).nonzero(as_tuple=True)
        total += costs[i, every[:, i], every[:, neighbor[i]]].sum(1)
    assert total[-1] == pytest.approx(energy.of(every[-1]), rel=1e-6)
    return float(total.min())


def test_the_energy_is_the_sum_of_its_costs() -> None:
    energy = random_energy(torch.ones(2, 2, dtype=torch.bool), 3, 0)
    number = {tuple(at): i for i, at in enumerate(energy.lattice.at.tolist())}
    labels = torch.tensor([2, 0, 1, 1])
    total = sum(float(energy.single[i, labels[i]]) for i in range(4))
    for (y, x), i in number.items():
        for costs, at in ((energy.right, (y, x + 1)), (energy.down, (y + 1, x))):
            if at in number:
                total += float(costs[i, labels[i], labels[number[at]]])
    assert energy.of(labels) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1)])
@pytest.mark.parametrize("seed", range(4))
def test_a_chain_is_solved_exactly(shape: tuple[int, int], seed: int) -> None:
    energy = random_energy(torch.ones(shape, dtype=torch.bool), 3, seed)
    assert energy.of(minimize(energy, 4)) == pytest.approx(least(energy), rel=1e-6)


def test_a_tree_is_solved_exactly() -> None:
    member = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 0]], dtype=torch.bool)
    for seed in range(6):
        energy = random_energy(member, 3, seed)
        assert energy.of(minimize(energy, 12)) == pytest.approx(least(energy), rel=1e-6)


def test_a_grid_comes_close_to_the_least_energy() -> None:
    """Ten random grids of 3 x 3 pixels: most are solved, none is off by more than 5 %."""
    member = torch.ones(3, 3, dtype=torch.bool)
    ratios = []
    for seed in range(10):
        energy = random_energy(member, 3, seed)
        ratios.append(energy.of(minimize(energy, 16)) / least(energy))
    assert max(ratios) < 1.05
    assert sum(ratio < 1 + 1e-5 for ratio in ratios) >= 7


def test_neighbors_of_a_hole_of_any_shape() -> None:
    member = torch.rand(9, 11, generator=torch.Generator().manual_seed(1)) < 0.6
    lattice = Lattice(member)
    number = {tuple(at): i for i, at in enumerate(lattice.at.tolist())}
    assert set(number) == {tuple(at) for at in member.nonzero().tolist()}
    moves = {"left": (0, -1), "up": (-1, 0), "right": (0, 1), "down": (1, 0)}
    for name, (dy, dx) in moves.items():
        wanted = [number.get((y + dy, x + dx), len(lattice)) for y, x in number]
        assert getattr(lattice, name).tolist() == wanted
    joined = [i for s in lattice.diagonals for i in range(s.start, s.stop)]
    assert joined == list(range(len(lattice)))
    for s in lattice.diagonals:
        assert len({int(at.sum()) for at in lattice.at[s]}) == 1
