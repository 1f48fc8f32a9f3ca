"""A block in strips on a CPU is the block."""

import pytest
import torch

from diffprior.networks import nafunet
from diffprior.networks.nafunet import NAFUNet


@pytest.mark.parametrize("strip", [1, 700, 2**19])
def test_strips_of_any_size_give_what_the_whole_image_gives(
    monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr(nafunet, "STRIP", strip)
    torch.manual_seed(0)
    network = NAFUNet((8, 12), (2, 1))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, noise = torch.randn(1, 3, 20, 12), torch.tensor([-0.3])
    whole = network(x, noise)  # with gradients
    with torch.no_grad():
        strips = network(x, noise)
    assert whole.requires_grad and whole.abs().max() > 0.1
    torch.testing.assert_close(strips, whole.detach(), rtol=1e-4, atol=1e-5)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = network(x, noise).float()
    assert (half - whole).norm() < 0.05 * whole.norm()
