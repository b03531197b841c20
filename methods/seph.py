"""SePH: codes whose Hamming distances follow the label affinities, then kernel logistic regression onto each bit.

Lin, Ding, Hu, Wang. *Semantics-Preserving Hashing for Cross-View Retrieval*. CVPR 2015.
https://www.cv-foundation.org/openaccess/content_cvpr_2015/html/Lin_Semantics-Preserving_Hashing_for_2015_CVPR_paper.html

    min_H  KL(P || Q) + α/(kn) || |H| - 1 ||²,   codes B = sgn(H)
    p_ij ∝ cosine of the labels of i and j,   q_ij ∝ n_ij = 1 / (1 + ¼ ||h_i - h_j||²),   i ≠ j, both of sum 1
    gradient  Σ_j (p_ij - q_ij) n_ij (h_i - h_j) + 2α/(kn) (|h_i| - 1) sgn(h_i)

    per view and bit   min_w  Σ_i softplus(-b_i φ(x_i)·w) + C wᵀKw,   code sgn(φ(x)·w)

φ: radial basis functions around 500 anchors, which are k-means centres (SePH_km) or training items (SePH_rnd); K:
those of the anchors themselves. Both steps are as in the released code: gradient descent with momentum and gains as in
t-SNE, keeping the best H. P and Q are made in blocks of rows and never stand in memory as a whole.

Differs from the paper: it joins both views of an unseen item by their probabilities, Π_v p(b | x_v) / p(b); here a code
is made from one view, as cross-modal search asks, and then the sign above is what is left of it. The step grows with
n, as the gradient shrinks with it, and is the released 500 at n = 5,000. The logistic regressions of all bits are
solved together by Newton steps whose curvature is bounded by ¼φᵀφ (Böhning), which never rise; the code takes a
quasi-Newton method. Time and work of the first step grow with n².

Expect, image to text / text to image, seed 0: .548 / .537 on pictograms (lite, 32 bits), .278 / .385 on Wikipedia's
vectors (16 bits).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import AnchorKernel, linear, standardised_encoder

_BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class SePHConfig(Config):
    alpha: float = hp(0.01, "weight of the quantisation (α)", sweep=(1e-3, 0.01, 0.1), low=0.0)
    iterations: int = hp(100, "descent steps on H (as in the released code)", sweep=(50, 100, 200), low=1)
    lr: float = hp(500.0, "step on H for 5,000 items; it grows with their number", sweep=(100.0, 500.0), low=0.0)
    momentum: float = hp(0.5, "of the descent on H", low=0.0, high=0.99)
    anchors: int = hp(500, "kernel anchors a view, at most one an item", sweep=(200, 500, 1000), low=1)
    sampling: Literal["kmeans", "random"] = hp("kmeans", "anchors: SePH_km or SePH_rnd", sweep=("kmeans", "random"))
    c: float = hp(0.01, "weight of the regressions' ridge (C)", sweep=(1e-3, 0.01, 0.1, 1.0), low=1e-6)
    newton_steps: int = hp(50, "steps of the regressions (ours)", low=1)


class SePH(Method[SePHConfig]):
    paper = Paper(
        "Semantics-Preserving Hashing for Cross-View Retrieval", "CVPR", 2015,
        "https://www.cv-foundation.org/openaccess/content_cvpr_2015/html/"
        "Lin_Semantics-Preserving_Hashing_for_2015_CVPR_paper.html",
    )  # fmt: skip
    kind = "shallow"
    needs = Needs(labels="all", cached=True)
    version = 1
    config_class = SePHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        features = {name: train.views[name].features() for name in ("image", "text")}
        encoders = {name: standardised_encoder(train.views[name]) for name in features}
        codes = sign(self._codes(train.need_labels(), run)).double()  # (n, k)
        hashers: dict[str, nn.Module] = {}
        for name in features:
            x = encoders[name](features[name])
            kernel = AnchorKernel(x, self._anchors(x, run.generator(f"anchors/{name}")))
            w = self._regress(kernel(x).double(), kernel(kernel.anchors).double(), codes)
            hashers[name] = nn.Sequential(encoders[name], kernel, linear(w))
        return Hasher(hashers)

    def _codes(self, labels: Tensor, run: Run) -> Tensor:
        """H (n, k) of the least objective on the way."""
        cfg, n = self.config, len(labels)
        affinity = nn.functional.normalize(labels)
        h = 1e-4 * torch.randn(n, run.bits, generator=run.generator("codes")).to(labels)
        best, least = h, float("inf")
        change, gains = torch.zeros_like(h), torch.ones_like(h)
        for step in run.epochs(cfg.iterations):
            divergence, gradient = _divergence(h, affinity)
            weight = cfg.alpha / (run.bits * n)
            objective = divergence + weight * (h.abs() - 1).pow(2).sum().item()
            if objective < least:
                best, least = h, objective
            gradient = gradient + 2 * weight * (h.abs() - 1) * h.sign()
            gains = torch.where(gradient.sign() == change.sign(), 0.8 * gains, gains + 0.2).clamp_min(0.01)
            change = cfg.momentum * change - cfg.lr * n / 5000 * gains * gradient
            h = h + change
            h = h - h.mean(0)
            run.log(step=step, divergence=divergence, objective=objective)
        return best

    def _anchors(self, x: Tensor, stream: torch.Generator) -> Tensor:
        """(m, d) anchors: training items drawn at random, which k-means then moves."""
        centres = x[torch.randperm(len(x), generator=stream)[: self.config.anchors].to(x.device)]
        if self.config.sampling == "kmeans":
            for _ in range(10):
                nearest = torch.cdist(x, centres).argmin(1)
                sums = torch.zeros_like(centres).index_add_(0, nearest, x)
                counts = torch.bincount(nearest, minlength=len(centres))[:, None]
                centres = torch.where(counts > 0, sums / counts.clamp_min(1), centres)  # an empty one stays
        return centres

    def _regress(self, phi: Tensor, k: Tensor, codes: Tensor) -> Tensor:
        """W (m, k): kernel logistic regression onto every column of codes (n, k)."""
        ridge = 2 * self.config.c * k
        bound = phi.T @ phi / 4 + ridge
        bound.diagonal().add_(1e-9 * bound.diagonal().mean())
        factor = torch.linalg.cholesky(bound)
        targets, w = (codes + 1) / 2, phi.new_zeros(phi.shape[1], codes.shape[1])
        for _ in range(self.config.newton_steps):
            gradient = phi.T @ (torch.sigmoid(phi @ w) - targets) + ridge @ w
            w = w - torch.cholesky_solve(gradient, factor)
        return w


def _divergence(h: Tensor, affinity: Tensor) -> tuple[float, Tensor]:
    """KL(P || Q) and its gradient with respect to H (n, k).

    With n_ij as above and Z = Σ n_ij, KL = Σ p log p - Σ p log n + log Z, so that one pass over the rows is enough: the
    gradient is Σ_j p_ij n_ij (h_i - h_j) - 1/Z Σ_j n_ij² (h_i - h_j).

    Args:
        h: (n, k).
        affinity: (n, c), labels of norm 1.
    """
    total = affinity.sum(0).double().pow(2).sum() - affinity.double().pow(2).sum()  # Σ_{i≠j} of the cosines
    attraction, repulsion = torch.empty_like(h), torch.empty_like(h)
    entropy, cross, z = 0.0, 0.0, 0.0
    for i, p, kernel in _blocks(h, affinity, 1 / max(total.item(), 1e-12)):
        entropy += torch.xlogy(p, p).sum().item()
        cross += torch.xlogy(p, kernel).sum().item()  # p and n are 0 together where i = j
        z += kernel.sum().item()
        for out, weights in ((attraction, p * kernel), (repulsion, kernel * kernel)):
            out[i] = weights.sum(1, keepdim=True) * h[i] - weights @ h
    return entropy - cross + float(torch.tensor(z).log()), attraction - repulsion / z


def _blocks(h: Tensor, affinity: Tensor, scale: float) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows i, and p_ij and n_ij for all j (b, n)."""
    squares = h.pow(2).sum(1)
    for i in torch.arange(len(h), device=h.device).split(_BLOCK):
        kernel = 1 / (1 + (squares[i, None] + squares - 2 * h[i] @ h.T).clamp_min(0) / 4)
        p = affinity[i] @ affinity.T * scale
        for block in (kernel, p):
            block[torch.arange(len(i), device=h.device), i] = 0
        yield i, p, kernel
