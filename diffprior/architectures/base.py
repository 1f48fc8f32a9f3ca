"""What an architecture is: the settings of a network whose input and output the data decide."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import UnsuitedError
from ..networks.parameterizations import Parameterization
from ..validation import Checked

__all__ = ["Architecture", "Demand"]


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What the data and the objective ask of a network.

    Arguments:
        shape: Shape of a state: ``(C, H, W)``, or ``(D,)`` of points.
        sigma_data: Standard deviation of the data.
        classes: Number of classes; 0 for none.
        numbers: Outputs for each number of a state.
        parameterization: What the network takes, and what its output means.
    """

    shape: Sequence[int]
    sigma_data: float
    classes: int
    numbers: int
    parameterization: Parameterization

    def scale(self, span: float) -> float:
        """Return what the times are multiplied by, so that their range is ``span``."""
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        _, times = self.parameterization.inputs(torch.ones_like(ends), ends)
        return float(f"{span / max(float((times[1] - times[0]).abs()), 1e-3):.6g}")

    def square(self, name: str, multiple: int) -> tuple[int, int]:
        """Return the channels and the side of square images.

        Raises:
            UnsuitedError: If states are no square images, or their side does not fit the network.
        """
        if len(self.shape) != 3:
            raise UnsuitedError(f"{name} is a network of images, and these are points: use mlp")
        channels, height, width = self.shape
        if height != width or height % multiple:
            raise UnsuitedError(
                f"{name} takes square images whose side is a multiple of {multiple}, and these "
                f"have {width}x{height} pixels"
            )
        return channels, height


class Architecture(Checked, ABC):
    """The settings of a network, by the name of its module."""

    @abstractmethod
    def build(self, demand: Demand) -> nn.Module:
        """Return a new network.

        Raises:
            UnsuitedError: If it cannot have such states.
        """
