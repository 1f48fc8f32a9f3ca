"""Train the small classifier that judges class edits, and save some test images next to it.

python scripts/tables/fashion_classifier.py fashion_mnist.npz --out data/fashion
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diffprior.cli.scripts import run

NAMES = (
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
FILE = "classifier.safetensors"


class Classifier(nn.Sequential):
    """Logits ``(B, 10)`` of gray images ``(B, 1, 28, 28)`` in [-1, 1].

    Arguments:
        channels: Channels of the first convolution.
        classes: Number of classes.
    """

    def __init__(self, channels: int = 32, classes: int = 10) -> None:
        wide = 2 * channels
        super().__init__(
            *(nn.Conv2d(1, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()),
            nn.MaxPool2d(2),
            *(nn.Conv2d(channels, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU()),
            nn.MaxPool2d(2),
            *(nn.Flatten(), nn.Dropout(0.2), nn.Linear(49 * wide, classes)),
        )


def load(folder: Path) -> Classifier:
    """Return the trained classifier of a folder."""
    network = Classifier()
    weights = load_file(folder / FILE)
    network.load_state_dict({k: v.float() for k, v in weights.items()})
    return network.eval().requires_grad_(False)


def states(x: np.ndarray[Any, Any]) -> Tensor:
    """Return images ``(N, 28, 28)`` of uint8 as states ``(N, 1, 28, 28)`` in [-1, 1]."""
    return torch.from_numpy(x)[:, None].float() / 127.5 - 1


def accuracy(network: Classifier, x: Tensor, y: Tensor) -> float:
    """Return the share of images that are classified correctly."""
    with torch.no_grad():
        classes = torch.cat([network(part).argmax(1) for part in torch.split(x, 1000)])
    return float((classes == y).double().mean())


def train(x: Tensor, y: Tensor, epochs: int, batch: int = 128, seed: int = 0) -> Classifier:
    """Return a classifier trained on images and their labels."""
    torch.manual_seed(seed)
    network = Classifier()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(epochs):
        order = torch.randperm(len(x))[: steps // epochs * batch]
        for index in torch.split(order, batch):
            loss = nn.functional.cross_entropy(network(x[index]), y[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.eval()


def main(
    data: Annotated[
        Path, typer.Argument(help="NPZ file with x_train, y_train, x_test and y_test.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the weights and the test images.")],
    epochs: Annotated[int, typer.Option(help="Number of passes over the images.")] = 5,
    keep: Annotated[int, typer.Option(help="Test images of each class to save.")] = 20,
) -> None:
    """Train, print the accuracy on the test images, and save."""
    with np.load(data) as file:
        x, y, test, truth = (file[k] for k in ("x_train", "y_train", "x_test", "y_test"))
    network = train(states(x), torch.from_numpy(y).long(), epochs)
    print(f"test accuracy {accuracy(network, states(test), torch.from_numpy(truth).long()):.4f}")
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    save_file(weights, out / FILE)
    chosen = np.concatenate([np.flatnonzero(truth == c)[:keep] for c in np.unique(truth)])
    np.savez_compressed(out / "pictures.npz", x=test[chosen], y=truth[chosen])


if __name__ == "__main__":
    run(main)
