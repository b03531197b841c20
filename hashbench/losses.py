"""Losses that several methods share. Each is a mean over its entries unless it says otherwise."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.errors import Diverged


def sign(reals: Tensor) -> Tensor:
    """+1 where x >= 0, else -1; never 0, and no gradient. Same shape and dtype."""
    return torch.where(reals >= 0, 1.0, -1.0).to(reals.dtype).detach()


def pair_likelihood(theta: Tensor, similarity: Tensor) -> Tensor:
    """Negative log likelihood of similarity (b, n) under p(s_ij = 1) = sigmoid(θ_ij), every entry.

    softplus(θ) - s θ  (DCMH eq. 1), in the stable form; the field's log(1 + e^θ) - s θ overflows.
    """
    return nnf.binary_cross_entropy_with_logits(theta, similarity, reduction="none")


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) cosines of every row of ``a`` (n, d) with every row of ``b`` (m, d); 0 where a row is zero."""
    return nnf.normalize(a) @ nnf.normalize(b).T


def triplets(distances: Tensor, similar: Tensor, margin: float) -> Tensor:
    """Sum of s_ip (1 - [s_in > 0]) [d_ip - d_in + margin]_+ over every anchor i, positive p and negative n.

    Args:
        distances: (b, n) from anchors to candidates.
        similar: (b, n), 0 where a candidate is a negative, else the weight of the positive.
        margin: By how much negatives should be further away.
    """
    anchor, positive = similar.nonzero(as_tuple=True)  # (p,) each, far fewer than there are triplets
    gaps = (distances[anchor, positive][:, None] - distances[anchor] + margin).relu()  # (p, n)
    return (similar[anchor, positive][:, None] * (similar[anchor] == 0) * gaps).sum()


def cross_entropy_with(odds: Tensor, truth: float) -> Tensor:
    """Mean cross-entropy of log odds, of any shape, that all have the same truth, 0 or 1."""
    return nnf.binary_cross_entropy_with_logits(odds, torch.full_like(odds, truth))


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean (||∇D(x)|| - 1)² over points x between real and fake ones (WGAN-GP, arXiv 1704.00028, eq. 3).

    x lies in the box that the two span, every entry drawn on its own, as in the code of AGAH, DADH and CPAH; in the
    paper x lies on the line between them.

    Args:
        critic: Vectors (b, d) to scores (b, 1).
        real: (b, d).
        fake: (b, d).
    """
    share = torch.rand_like(real)
    x = (share * real + (1 - share) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return (slope.norm(dim=1) - 1).pow(2).mean()


# ---------------------------------------------------------------- joint-modal distribution-based similarity (JDSH)


class Distribution(NamedTuple):
    """Where clearly dissimilar and clearly similar pairs begin, and how far they go."""

    left: float
    right: float
    low: float
    high: float


def joint_similarity(x: Tensor, y: Tensor, alpha: float, beta: float, lamb: float) -> Tensor:
    """S̃ (m, m) of a batch of pairs, from features (m, dx) and (m, dy) of its two views.

    S̃ = α S_I + β S_T + λ (n(S_I) n(S_T)ᵀ + n(S_T) n(S_I)ᵀ) / 2 with S_I = 2 cos(x, x') - 1, S_T = 2 cos(y, y') - 1 and
    rows n(.) of unit length (JDSH, SIGIR 2020).
    """
    images, texts = 2 * cosines(x, x) - 1, 2 * cosines(y, y) - 1
    shared = cosines(images, texts)
    return alpha * images + beta * texts + lamb * (shared + shared.T) / 2


def clear_pair_weights(s: Tensor, bounds: Distribution, l1: float, l2: float) -> Tensor:
    """w(S̃) (m, m): w(s) = 1 + l1 e^(low - s) where s < left, 1 + l2 e^(s - high) where s > right, else 1 (JDSH)."""
    apart, together = 1 + l1 * (bounds.low - s).exp(), 1 + l2 * (s - bounds.high).exp()
    return torch.where(s < bounds.left, apart, torch.where(s > bounds.right, together, 1.0))


def distribution(s: Tensor) -> Distribution:
    """How similarities S̃ (p,) of pairs are distributed.

    low and high are the extremes, left = mode - 2 spreads, right = mode + 4 spreads: a spread is the root of the mean
    square distance to the mode on the left (a half normal), the mean distance on the right (a half Laplace).

    Raises:
        Diverged: a similarity is not finite.
    """
    low, high = s.min().item(), s.max().item()
    if not math.isfinite(low + high):
        raise Diverged("similarities of training items are not finite; look at the features")
    mode = low + (torch.histc(s.cpu(), 100, low, high).argmax().item() + 0.5) * (high - low) / 100
    below, above = mode - s[s <= mode], s[s >= mode] - mode
    return Distribution(mode - 2 * below.pow(2).mean().sqrt().item(), mode + 4 * above.mean().item(), low, high)


def reconstruction(f: Tensor, g: Tensor, s: Tensor, intra: float) -> Tensor:
    """2 |cos(F, G) - S|² - mean cos(f_i, g_i) + intra (|cos(F, F) - S|² + |cos(G, G) - S|²), means over pairs (JDSH).

    Args:
        f: (m, k) codes of one view.
        g: (m, k) codes of the other.
        s: (m, m), symmetric, so that the paper's two terms across views are one, twice.
        intra: Weight within a view.
    """
    own = nnf.cosine_similarity(f, g).mean()
    within = nnf.mse_loss(cosines(f, f), s) + nnf.mse_loss(cosines(g, g), s)
    return 2 * nnf.mse_loss(cosines(f, g), s) - own + intra * within
