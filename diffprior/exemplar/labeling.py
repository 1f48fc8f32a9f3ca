"""Labels of the pixels of a hole, of least energy with those of their neighbors.

"Convergent Tree-Reweighted Message Passing for Energy Minimization" (Kolmogorov, 2006). The pixels
are passed in the order of their diagonals: those of one diagonal do not neighbor each other, so
that their messages are sent at once.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Energy", "Lattice", "minimize"]


class Lattice:
    """Pixels and their neighbors.

    Attributes:
        at: Row and column of each of N pixels, ``(N, 2)``, by diagonals.
        left, up, right, down: The number of the neighbor of each pixel, ``(N,)``; N for none.
        diagonals: The pixels of each diagonal.
    """

    def __init__(self, member: Tensor) -> None:
        at = member.nonzero()
        diagonal = at.sum(1)
        order = diagonal.argsort(stable=True)
        self.at = at[order]
        count = len(at)
        height, width = member.shape
        number = torch.full((height + 2, width + 2), count)
        row, column = (self.at + 1).unbind(1)
        number[row, column] = torch.arange(count)
        self.left, self.up = number[row, column - 1], number[row - 1, column]
        self.right, self.down = number[row, column + 1], number[row + 1, column]
        sizes = torch.unique_consecutive(diagonal[order], return_counts=True)[1].tolist()
        ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
        self.diagonals = [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]

    def __len__(self) -> int:
        return len(self.at)


@dataclass(frozen=True, eq=False)
class Energy:
    """The sum of a cost for each label and one for each pair of labels of neighbors.

    Attributes:
        lattice: The N pixels.
        single: Cost of each label of each pixel, ``(N, K)``.
        right, down: Costs of the labels of a pixel (first) and its neighbor to the right or below,
            ``(N, K, K)``; 0 where there is none.
    """

    lattice: Lattice
    single: Tensor
    right: Tensor
    down: Tensor

    def of(self, labels: Tensor) -> float:
        """Return the energy of labels ``(N,)``."""
        pixel = torch.arange(len(labels))
        total = self.single[pixel, labels].sum()
        next_to = torch.cat([labels, labels.new_zeros(1)])
        for costs, neighbor in ((self.right, self.lattice.right), (self.down, self.lattice.down)):
            total = total + costs[pixel, labels, next_to[neighbor]].sum()
        return float(total)


def minimize(energy: Energy, iterations: int) -> Tensor:
    """Return labels ``(N,)`` of small energy: the best ones of those met.

    Arguments:
        iterations: Passes forward and back over the pixels.
    """
    state = _Messages(energy)
    best, least = energy.single.argmin(1), torch.inf
    for i in range(iterations):
        state.forward()
        state.backward()
        if i % 4 == 3 or i == iterations - 1:
            labels = state.labels()
            now = energy.of(labels)
            if now < least:
                best, least = labels, now
    return best


class _Messages:
    """What each pixel is told by its neighbors about the cost of its labels, ``(N + 1, K)``.

    The last row is that of a neighbor that is not there.
    """

    def __init__(self, energy: Energy) -> None:
        self.energy = energy
        lattice = energy.lattice
        count, labels = energy.single.shape
        self.left, self.up, self.right, self.down = energy.single.new_zeros(4, count + 1, labels)
        later = (lattice.right < count).long() + (lattice.down < count).long()
        earlier = (lattice.left < count).long() + (lattice.up < count).long()
        self.share = 1 / torch.maximum(later, earlier).clamp_min(1).to(energy.single)[:, None]

    def forward(self) -> None:
        e, lattice = self.energy, self.energy.lattice
        for s in lattice.diagonals:
            belief = self._belief(s)
            self.left[lattice.right[s]] = _sent(belief - self.right[s], e.right[s], 1)
            self.up[lattice.down[s]] = _sent(belief - self.down[s], e.down[s], 1)

    def backward(self) -> None:
        e, lattice = self.energy, self.energy.lattice
        for s in reversed(lattice.diagonals):
            belief = self._belief(s)
            for own, costs, neighbor, told in (
                (self.left, e.right, lattice.left[s], self.right),
                (self.up, e.down, lattice.up[s], self.down),
            ):
                some = neighbor.clamp_max(len(lattice) - 1)
                told[neighbor] = _sent(belief - own[s], costs[some], 2)

    def labels(self) -> Tensor:
        """Return the labels that follow from the messages, each from those before it."""
        e, lattice = self.energy, self.energy.lattice
        labels = torch.zeros(len(lattice) + 1, dtype=torch.long)
        for s in lattice.diagonals:
            cost = e.single[s] + self.right[s] + self.down[s]
            for costs, neighbor in ((e.right, lattice.left[s]), (e.down, lattice.up[s])):
                some = neighbor.clamp_max(len(lattice) - 1)
                there = (neighbor < len(lattice)).to(cost)[:, None]
                cost = cost + there * costs[some, labels[some]]
            labels[s] = cost.argmin(1)
        return labels[:-1]

    def _belief(self, s: slice) -> Tensor:
        told = self.left[s] + self.up[s] + self.right[s] + self.down[s]
        belief: Tensor = (self.energy.single[s] + told) * self.share[s]
        return belief


def _sent(belief: Tensor, costs: Tensor, over: int) -> Tensor:
    """Return the messages of pixels: the least cost over their own labels, the axis ``over``."""
    total = (belief[:, :, None] if over == 1 else belief[:, None]) + costs
    message = total.amin(over)
    return message - message.amin(1, keepdim=True)
