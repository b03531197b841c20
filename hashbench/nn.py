"""Network pieces that several methods share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from hashbench.method import Incompatible, View


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


def hash_network(view: View, bits: int, hidden: int, dropout: float = 0.0) -> nn.Sequential:
    """Standardised encoder, one hidden layer of rectified units, and bits: rows (b, ...) to reals (b, k).

    ``hidden`` = 0 is no hidden layer: bits are linear in the encoder's output.
    """
    layers = [nn.Linear(view.dim, hidden), nn.ReLU(), nn.Dropout(dropout)] if hidden else []
    return nn.Sequential(standardised_encoder(view), *layers, nn.Linear(hidden or view.dim, bits)).to(view.device)


@torch.no_grad()
def untrained_features(view: View, batch_size: int = 512) -> Tensor:
    """(n, d) float32 of every row from the view's encoder as it is before training, as unsupervised methods compare.

    They are a view's cached features; a raw view's rows go once through an encoder of their own.
    """
    if not view.raw:
        return view.features()
    encoder = view.encoder().eval()
    return torch.cat([encoder(view.batch(i)).float() for i in torch.arange(len(view)).split(batch_size)])


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


def groups_of_all(
    nets: Mapping[str, nn.Module], views: Mapping[str, View], lr: float, encoder_lr: float
) -> list[dict[str, object]]:
    """:func:`parameter_groups` of every network, each with the view that it reads, for one optimiser of all."""
    return [group for name, net in nets.items() for group in parameter_groups(net, views[name], lr, encoder_lr)]


def set_falling_step(optimiser: torch.optim.Optimizer, epoch: int, epochs: int, last: float) -> None:
    """Linear schedule: the first step in epoch 0, ``last`` in the last epoch; a first step below ``last`` stays."""
    left = 1 - epoch / max(epochs - 1, 1)
    for group in optimiser.param_groups:
        first = group.setdefault("first", group["lr"])
        group["lr"] = min(last, first) + (first - min(last, first)) * left


def bert_adam(
    nets: Mapping[str, nn.Module], views: Mapping[str, View], lr: float, encoder_lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """The optimiser of the CLIP-era methods for all networks: Adam with decoupled decay and BertAdam's constants.

    Unlike BertAdam it corrects the bias of its averages, and it does not clip gradients.
    """
    groups = groups_of_all(nets, views, lr, encoder_lr)
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6, weight_decay=weight_decay)


def set_warm_up_cosine(optimiser: torch.optim.Optimizer, progress: float, warm_up: float) -> None:
    """BertAdam's schedule: lr · progress / warm_up up to ``warm_up``, then lr · ½ (1 + cos(π · progress)).

    Args:
        optimiser: Its groups' first step sizes are the lr.
        progress: Share of all steps that are done, 0 to 1; the middle of a step is never a step of size 0.
        warm_up: Share of the steps in which the size rises.
    """
    share = progress / warm_up if progress < warm_up else (1 + math.cos(math.pi * progress)) / 2
    for group in optimiser.param_groups:
        group["lr"] = group.setdefault("first", group["lr"]) * share


def set_dropping_step(
    optimiser: torch.optim.Optimizer, epoch: int, every: int, factor: float, at_once: bool = False
) -> None:
    """The first step times ``factor`` for every ``every`` epochs that are over, 1e-6 at least.

    Args:
        optimiser: Its groups' first step sizes are kept.
        epoch: From 0.
        every: Epochs between two drops.
        factor: Below 1.
        at_once: Drop after the first epoch too, a fault of released code that drops where epoch % every == 0.
    """
    drops = math.ceil(epoch / every) if at_once else epoch // every
    for group in optimiser.param_groups:
        first = group.setdefault("first", group["lr"])
        group["lr"] = max(first * factor**drops, min(first, 1e-6))


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers from each width to the next, with rectified units between them: (b, first) to (b, last)."""
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


class LogOdds(nn.Module):
    """Pairs of reals (b, 2k) to z_1 - z_0 (b, k): the log odds of +1 in k two-way softmaxes, positive where the argmax
    is the second."""

    def forward(self, pairs: Tensor) -> Tensor:
        return pairs[:, 1::2] - pairs[:, 0::2]


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


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """x @ weight (d, k) + bias (k,) as a layer that is not trained, for solutions in closed form."""
    layer = nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None, device=weight.device)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer.requires_grad_(False)


def ridge_regression(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """W (d, k) minimising ||XW - Y||² + λ ||W||², with λ = ridge · mean of the diagonal of XᵀX.

    Args:
        x: (n, d).
        y: (n, k).
        ridge: λ as a share, so that it means the same for any number of items and any scale of features.
    """
    return torch.cholesky_solve(x.T @ y, ridge_factor(x, ridge))


def ridge_factor(x: Tensor, ridge: float) -> Tensor:
    """Lower Cholesky factor (d, d) of XᵀX + λI with the λ of :func:`ridge_regression`, for many y in turn."""
    gram = x.T @ x
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    return torch.linalg.cholesky(gram)


class AnchorKernel(nn.Module):
    """Radial basis functions around anchors a_j: x (b, d) to φ_j(x) = exp(-||x - a_j||² / 2σ²), (b, m).

    σ² is the mean squared distance between the training items and the anchors, as in SePH's and BATCH's code.
    """

    anchors: Tensor
    width: Tensor

    def __init__(self, features: Tensor, anchors: Tensor) -> None:
        """
        Args:
            features: (n, d) of the training items.
            anchors: (m, d).
        """
        super().__init__()
        self.register_buffer("anchors", anchors)
        self.register_buffer("width", 2 * _squared_distances(features, anchors).mean())

    def forward(self, features: Tensor) -> Tensor:
        return torch.exp(-_squared_distances(features, self.anchors) / self.width)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """(n, d), (m, d) to (n, m)."""
    return (a.pow(2).sum(1)[:, None] + b.pow(2).sum(1) - 2 * a @ b.T).clamp_min(0)


def canonical_directions(x: Tensor, y: Tensor, k: int, ridge: float) -> tuple[Tensor, Tensor]:
    """The k leading pairs of canonical directions (dx, k) and (dy, k), each weighted by its correlation.

    Solves max corr(x a, y b) for centred x (n, dx) and y (n, dy) by the singular values of the whitened
    cross-covariance.

    Args:
        x: Centred rows of one view, double.
        y: Centred rows of the other.
        k: How many.
        ridge: Added to both covariances, as a share of their mean variance.

    Raises:
        Incompatible: there are fewer than k directions.
    """
    n, most = len(x), min(x.shape[1], y.shape[1], len(x) - 1)
    if k > most:
        raise Incompatible(f"{k} bits, but CCA gives at most {most} directions here")
    whiten_x, whiten_y = (_inverse_root(z.T @ z / n, ridge) for z in (x, y))
    u, s, vt = torch.linalg.svd(whiten_x @ (x.T @ y / n) @ whiten_y, full_matrices=False)
    return whiten_x @ u[:, :k] * s[:k], whiten_y @ vt.T[:, :k] * s[:k]


def _inverse_root(c: Tensor, ridge: float) -> Tensor:
    """(C + ridge · mean variance · I)^(-1/2)."""
    s, u = torch.linalg.eigh(c + ridge * c.diagonal().mean() * torch.eye(len(c), dtype=c.dtype, device=c.device))
    return u * s.clamp_min(1e-12).rsqrt() @ u.T
