"""Network pieces that several methods share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from hashbench.method import View


class Standardise(nn.Module):
    """(x - mean) / deviation with fixed statistics (d,) of the training features; constant dimensions give 0."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(features.double(), dim=0, correction=0)
        self.register_buffer("mean", mean.float())
        self.register_buffer("deviation", torch.where(deviation < 1e-6, 1.0, deviation).float())

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation


def standardised_encoder(view: View) -> nn.Module:
    """A view's encoder followed by standardisation: rows (b, ...) to (b, d) of mean 0 and deviation 1.

    Cached features are standardised with the statistics of the training set. An encoder that is trained has
    no fixed statistics, so there running ones take their place (batch normalisation without an affine part).
    """
    if view.raw:
        return nn.Sequential(view.encoder(), nn.BatchNorm1d(view.dim, affine=False)).to(view.device)
    return nn.Sequential(view.encoder(), Standardise(view.features())).to(view.device)


def parameter_groups(net: nn.Module, view: View, lr: float, encoder_lr: float) -> Iterator[dict[str, object]]:
    """Optimiser groups: a pre-trained encoder steps with ``encoder_lr``, everything else with ``lr``.

    Args:
        net: Sequential whose first module holds the view's encoder.
        view: The view that ``net`` reads.
        lr: Step of the head, and of an encoder that starts untrained.
        encoder_lr: Step of an encoder that starts from trained weights.
    """
    assert isinstance(net, nn.Sequential)
    encoder = list(net[0].parameters())
    inside = {id(p) for p in encoder}
    yield {"params": [p for p in net.parameters() if id(p) not in inside], "lr": lr}
    if encoder:
        yield {"params": encoder, "lr": encoder_lr if view.pretrained else lr}


def set_falling_step(optimiser: torch.optim.Optimizer, epoch: int, epochs: int, last: float) -> None:
    """Linear schedule: the first step in epoch 0, ``last`` in the last epoch; a first step below ``last`` stays."""
    left = 1 - epoch / max(epochs - 1, 1)
    for group in optimiser.param_groups:
        first = group.setdefault("first", group["lr"])
        group["lr"] = min(last, first) + (first - min(last, first)) * left


def code_statistics(outputs: Tensor) -> dict[str, float]:
    """How well bits are used, from real codes (n, k) in training.

    balance: mean |bit mean| (0 is perfect); dead: share of bits with |bit mean| > .95; correlation: largest
    |correlation| between two bits; distinct: share of distinct codes; quantisation: mean 1 - |output|.
    """
    signs = torch.where(outputs >= 0, 1.0, -1.0)
    means = signs.mean(0)
    centred = signs - means
    scale = centred.norm(dim=0)
    alive = scale > 0
    correlation = (centred.T @ centred) / (scale[:, None] * scale).clamp_min(1e-12)
    correlation.fill_diagonal_(0)
    return {
        "balance": means.abs().mean().item(),
        "dead": (means.abs() > 0.95).float().mean().item(),
        "correlation": correlation[alive][:, alive].abs().max().item() if bool(alive.any()) else 0.0,
        "distinct": len(torch.unique(signs, dim=0)) / len(signs),
        "quantisation": (1 - outputs.abs()).mean().item(),
    }


def gradient_norm(net: nn.Module) -> float:
    """Euclidean norm of all gradients of a network; 0 before the first step."""
    norms = [p.grad.norm() for p in net.parameters() if p.grad is not None]
    return torch.stack(norms).norm().item() if norms else 0.0
