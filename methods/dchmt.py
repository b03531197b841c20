"""DCHMT: every bit is a choice between two, made by a softmax in training and by the larger one at encoding.

Tu, Liu, Lin, Hong, Wang. *Differentiable Cross-modal Hashing via Multimodal Transformers*. ACM MM 2022.
https://doi.org/10.1145/3503161.3548187   Equations from the authors' code (kalenforn/DCHMT).

A hash layer gives k pairs of reals, p_j = softmax of the j-th pair ("selecting mechanism"), and an item is the vector
u = [p_1, ..., p_k] in [0, 1]^2k. For a batch of m items, S = 1 where a label is shared:

    L(X, Y) = mean S d² + mean (1 - S) (τ - min(d, τ))²        d = ||u_x - u_y||,   τ = √(2 k θ)
    J       = L(I, T) + L(I, I) + L(T, T)
    code    + 1 where the second of a pair is larger, else -1

A two-way softmax is (1 - p, p) with p = σ(z_1 - z_0), so d = √2 ||p_x - p_y||: √2 times the square root of the Hamming
distance once all p are 0 or 1. θ is thus the share of bits by which dissimilar items should differ. More than half is
out of reach for many classes at once (Plotkin's bound): it suits data in which most pairs are similar, as in the
paper's. On pictograms, where 9 % are, θ of .25, .5 and .75 gives .61, .58 and .32 (32 bits, image to text, validation
items against training items).

The networks stand on any backbone's vectors. Differs from the code: features are standardised; the hidden layer has
512 units, not 128; fewer epochs; AdamW without gradient clipping in place of BertAdam, same constants and schedule.
Preset ``paper`` is the command of the README (θ .75, lr 1e-4); the code's defaults are θ .5 and lr 1e-3, as here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import LogOdds, bert_adam, code_statistics, hash_network, set_warm_up_cosine


@dataclass(frozen=True, kw_only=True)
class DCHMTConfig(Config):
    theta: float = hp(
        0.5, "share of bits by which dissimilar items should differ (ϑ)", sweep=(0.25, 0.5, 0.75), low=0.0, high=1.0
    )
    epochs: int = hp(40, "passes over the pairs (the code: 100)", low=1)
    batch_size: int = hp(128, "pairs a step (m; the code: 64, its README: 256)", sweep=(64, 128, 256), low=2)
    lr: float = hp(1e-3, "largest step of the heads", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "largest step of a pre-trained encoder under --tuning full", low=0.0)
    warm_up: float = hp(0.1, "share of the steps in which the step size rises", low=0.0, high=1.0)
    weight_decay: float = hp(0.2, "decoupled weight decay", sweep=(0.0, 0.2), low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the code: 128); 0: none", sweep=(128, 512), low=0)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the command in the code's README."""
        return {"default": {}, "paper": {"theta": 0.75, "epochs": 100, "batch_size": 256, "lr": 1e-4, "hidden": 128}}


class DCHMT(Method[DCHMTConfig]):
    paper = Paper(
        "Differentiable Cross-modal Hashing via Multimodal Transformers",
        "ACM MM", 2022, "https://doi.org/10.1145/3503161.3548187",
    )  # fmt: skip
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = DCHMTConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views = self.config, {"image": train.image, "text": train.text}
        train.need_labels()
        nets = {name: _network(view, run.bits, cfg.hidden) for name, view in views.items()}
        optimiser = bert_adam(nets, views, cfg.lr, cfg.encoder_lr, cfg.weight_decay)
        steps = math.ceil(len(train) / cfg.batch_size)
        for epoch in run.epochs(cfg.epochs):
            losses = []
            for net in nets.values():
                net.train()
            for step, i in enumerate(run.batches(len(train), cfg.batch_size, "pairs", epoch)):
                set_warm_up_cosine(optimiser, (epoch + (step + 0.5) / steps) / cfg.epochs, cfg.warm_up)
                odds = {name: nets[name](view.batch(i)).float() for name, view in views.items()}  # (m, k) each
                f, g = (torch.sigmoid(z) for z in odds.values())
                s = train.similarity(i, i)
                parts = torch.stack([self._loss(a, b, s) for a, b in ((f, g), (f, f), (g, g))])
                run.descend(parts.sum(), optimiser)
                losses.append(parts.detach())
            across, within_images, within_texts = torch.stack(losses).mean(0).tolist()
            run.log(
                epoch=epoch, across=across, within_images=within_images, within_texts=within_texts,
                **code_statistics(torch.tanh(odds["image"].detach() / 2)),
            )  # fmt: skip
        return Hasher(nets)

    def _loss(self, p: Tensor, q: Tensor, s: Tensor) -> Tensor:
        """L(X, Y) from the probabilities of +1 (m, k) of two sets, and S (m, m)."""
        tau = math.sqrt(2 * p.shape[1] * self.config.theta)
        d = math.sqrt(2) * torch.cdist(p, q)
        return (s * d.pow(2)).mean() + ((1 - s) * (tau - d.clamp_max(tau)).pow(2)).mean()


def _network(view: View, bits: int, hidden: int) -> nn.Sequential:
    """Rows (b, ...) to the log odds of +1, (b, k)."""
    return nn.Sequential(*hash_network(view, 2 * bits, hidden), LogOdds())
