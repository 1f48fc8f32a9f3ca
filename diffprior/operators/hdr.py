"""High dynamic range: values beyond the range of the sensor are clipped."""

from torch import Tensor

from .base import Operator

__all__ = ["HDR"]


class HDR(Operator):
    """y = clip(gain x, -1, 1); the gradient is zero where it clips.

    With a gain of 2 it is the task of "Improving Diffusion Inverse Problem Solving with Decoupled
    Noise Annealing" (Zhang et al., 2024), https://arxiv.org/abs/2407.01521.

    Arguments:
        gain: Factor of the contrast around middle gray; 2 keeps half of the range.
    """

    def __init__(self, gain: float = 2.0) -> None:
        super().__init__()
        if not gain > 0:
            raise ValueError(f"gain is a number above 0, got {gain}")
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return (self.gain * x).clamp(-1, 1)
