"""JDSH: codes reconstruct a joint-modal similarity whose clear pairs are pulled further apart or together.

Liu, Qian, Guan, Zhan, Ying. *Joint-modal Distribution-based Similarity Hashing for Large-scale Unsupervised Deep
Cross-modal Retrieval*. SIGIR 2020. https://doi.org/10.1145/3397271.3401086

Within a batch of m pairs, with features x, y of the encoders before training and n(.) for rows of unit length:

    S_I = 2 cos(x, x') - 1,   S_T = 2 cos(y, y') - 1
    S̃ = α S_I + β S_T + λ (n(S_I) n(S_T)ᵀ + n(S_T) n(S_I)ᵀ) / 2
    S = μ w(S̃) S̃        w(s) = 1 + l1 e^(low - s)   where s < left,   1 + l2 e^(s - high)   where s > right,   else 1
    J = 2 |cos(F, G) - S|² - mean cos(f_i, g_i) + intra (|cos(F, F) - S|² + |cos(G, G) - S|²)
    F, G = tanh(a h),   a = sqrt(epoch + 1)                                    h: outputs of the image and text network

|.|² are means over the m² pairs. S and a belong to training; a code is the sign of its own item's output in one view.

``left``, ``right``, ``low`` and ``high`` describe how S̃ is distributed, so they belong to data and features. The
released code has numbers for MIRFlickr and NUS-WIDE with AlexNet (preset ``paper``). By default they are measured on
pairs of training items: low and high are the extremes, left = mode - 2 spreads, right = mode + 4 spreads. How the
authors measure a spread is [inferred] from the names and sizes of their numbers: on the left the root of the mean
square distance to the mode (a half normal), on the right the mean distance (a half Laplace). MIRFlickr's left of
-.528 lies below its low of -.52, so that weight hardly ever applies there.

Differs from the paper: networks have one hidden layer on standardised features of the chosen backbone (the paper:
AlexNet with a linear layer, and a hidden layer of 4096 for texts), and the optimiser is Adam. Fixed: the released
code takes S from the image network that it trains, with dropout and without stopping the gradient, so that the
target moves and can be learned away; here S comes from the encoders as they are before training.

Expect .41 / .40 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hashbench.config import Config, hp
from hashbench.losses import Distribution, clear_pair_weights, distribution, joint_similarity, reconstruction
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import code_statistics, groups_of_all, hash_network, untrained_features


@dataclass(frozen=True, kw_only=True)
class JDSHConfig(Config):
    alpha: float = hp(0.5, "weight of S_I (α; .4 on NUS-WIDE)", sweep=(0.3, 0.4, 0.5), low=0.0)
    beta: float = hp(0.1, "weight of S_T (β; .3 on NUS-WIDE)", sweep=(0.1, 0.3, 0.5), low=0.0)
    lamb: float = hp(0.4, "weight of shared neighbours (λ; .3 on NUS-WIDE)", sweep=(0.0, 0.3, 0.4), low=0.0)
    mu: float = hp(1.4, "scale of S (μ)", sweep=(1.0, 1.4), low=0.0)
    intra: float = hp(0.1, "weight within images and within texts", sweep=(0.1, 0.3, 1.0), low=0.0)
    l1: float = hp(
        0.1, "how much clearly dissimilar pairs weigh more (l1; .2 on NUS-WIDE)", sweep=(0.0, 0.1, 0.2), low=0.0
    )
    l2: float = hp(0.2, "how much clearly similar pairs weigh more (l2)", sweep=(0.0, 0.2, 0.5), low=0.0)
    left: float | None = hp(None, "pairs below it are clearly dissimilar; none: mode - 2 spreads of training pairs")
    right: float | None = hp(None, "pairs above it are clearly similar; none: mode + 4 spreads of training pairs")
    low: float | None = hp(None, "smallest S̃; none: that of training pairs")
    high: float | None = hp(None, "largest S̃; none: that of training pairs")
    epochs: int = hp(30, "passes over the pairs (the paper: 300)", low=1)
    batch_size: int = hp(32, "pairs a step (m)", sweep=(32, 128), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the paper's sgd with momentum .9 and decay 5e-4")
    lr: float = hp(1e-3, "step size of the heads (the paper's sgd: 10^-2)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (the paper: 10^-2)", low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the paper's text head: 4096)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the schedule and the distribution for MIRFlickr."""
        return {
            "default": {},
            "paper": {
                "left": -0.528, "right": -0.138, "low": -0.52, "high": 0.68,
                "epochs": 300, "optimiser": "sgd", "lr": 1e-2, "encoder_lr": 1e-2, "hidden": 4096,
            },
        }  # fmt: skip


class JDSH(Method[JDSHConfig]):
    paper = Paper(
        "Joint-modal Distribution-based Similarity Hashing for Large-scale Unsupervised Deep Cross-modal Retrieval",
        "SIGIR", 2020, "https://doi.org/10.1145/3397271.3401086",
    )  # fmt: skip
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = JDSHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views = self.config, {"image": train.image, "text": train.text}
        x, y = (untrained_features(view) for view in views.values())  # (n, dx), (n, dy)
        bounds = self._distribution(x, y, run)
        run.log(**bounds._asdict())
        nets = {name: hash_network(view, run.bits, cfg.hidden) for name, view in views.items()}
        optimiser = self._optimiser(groups_of_all(nets, views, cfg.lr, cfg.encoder_lr))
        for epoch in run.epochs(cfg.epochs):
            scale, losses = math.sqrt(epoch + 1), []
            for net in nets.values():
                net.train()
            for i in run.batches(len(train), cfg.batch_size, "pairs", epoch):
                s = self._weighted(self._joint(x[i], y[i]), bounds)  # (m, m)
                f, g = (torch.tanh(scale * nets[name](view.batch(i)).float()) for name, view in views.items())  # (m, k)
                loss = self._loss(f, g, s)
                run.descend(loss, optimiser)
                losses.append(loss.detach())
            run.log(epoch=epoch, loss=torch.stack(losses).mean().item(), **code_statistics(f.detach()))
        return Hasher(nets)

    def _joint(self, x: Tensor, y: Tensor) -> Tensor:
        """S̃ (m, m) of a batch, from features (m, dx) and (m, dy)."""
        return joint_similarity(x, y, self.config.alpha, self.config.beta, self.config.lamb)

    def _weighted(self, s: Tensor, bounds: Distribution) -> Tensor:
        """S (m, m): S̃ with clear pairs weighted."""
        return self.config.mu * clear_pair_weights(s, bounds, self.config.l1, self.config.l2) * s

    def _loss(self, f: Tensor, g: Tensor, s: Tensor) -> Tensor:
        """J of codes (m, k)."""
        return reconstruction(f, g, s, self.config.intra)

    def _distribution(self, x: Tensor, y: Tensor, run: Run, batches: int = 100) -> Distribution:
        """The settings, and measured on pairs of different items in shuffled batches where they say nothing.

        Raises:
            Diverged: a similarity is not finite.
        """
        cfg, pairs = self.config, []
        for i, _ in zip(run.batches(len(x), cfg.batch_size, "distribution", 0), range(batches), strict=False):
            s = self._joint(x[i], y[i])
            pairs.append(s[~torch.eye(len(s), dtype=torch.bool, device=s.device)])
        measured, given = distribution(torch.cat(pairs)), (cfg.left, cfg.right, cfg.low, cfg.high)
        return Distribution(*(m if own is None else own for own, m in zip(given, measured, strict=True)))

    def _optimiser(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        if self.config.optimiser == "adam":
            return torch.optim.Adam(groups)
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
