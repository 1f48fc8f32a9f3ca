"""The critic of a run: it is trained in turn with the network that it judges."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..networks.critic import Critic
from .processes import Processes

__all__ = ["BETAS", "Rival"]

BETAS = (0.5, 0.9)  # of AdamW on both sides: against a critic the past misleads


class Rival:
    """A critic and its optimizer.

    Arguments:
        shape: Shape of a state.
        classes: Number of classes; 0 for none.
        rate: Its learning rate.
        device: Device of the critic.
    """

    def __init__(
        self, shape: Sequence[int], classes: int, rate: float, device: torch.device
    ) -> None:
        self.rate = rate
        self.network = Critic(shape, classes).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), rate, betas=BETAS)

    def learn(self, loss: Tensor, factor: float, processes: Processes) -> None:
        """Take one step for a loss, at a share of its learning rate."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        processes.average([p.grad for p in self.network.parameters() if p.grad is not None])
        nn.utils.clip_grad_norm_(self.network.parameters(), 10.0)
        self.optimizer.param_groups[0]["lr"] = self.rate * factor
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
