"""Losses that several methods share. Each is a mean over its entries unless it says otherwise."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor


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
