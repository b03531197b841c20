"""DJSRH: codes reconstruct a similarity that is joined from both modalities and sharpened by shared neighbours.

Su, Zhong, Zhang. *Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval*.
ICCV 2019. https://openaccess.thecvf.com/content_ICCV_2019/html/Su_Deep_Joint-Semantics_Reconstructing_Hashing_for_Large-Scale_Unsupervised_Cross-Modal_Retrieval_ICCV_2019_paper.html

Within a batch of m pairs, with features x, y of the encoders before training:

    S̃ = β S_I + (1 - β) S_T,   S_I = 2 cos(x, x') - 1,   S_T = 2 cos(y, y') - 1
    S = μ [ (1 - η) S̃ + η S̃ S̃ᵀ / m ]
    J = λ1 |cos(F, F) - S|² + |cos(F, G) - S|² + λ2 |cos(G, G) - S|²         (means over the m² pairs)
    F, G = tanh(α h),   α = sqrt(epoch + 1)                                    h: outputs of the image and text network

S and α belong to training. A code is the sign of its own item's output in one view.

Differs from the paper: networks have one hidden layer on standardised features of the chosen backbone (the paper: a
linear layer on a fine-tuned AlexNet for images, a hidden layer of 4096 for texts); the optimiser is Adam. Preset
``paper`` has the paper's optimiser and schedule for MIRFlickr. There its image network steps with 10^-3 as a whole;
here that is the step of a pre-trained encoder, and heads step with the text network's 10^-2.

Expect .31 / .30 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084). The mean of S
decides much: where it is below 0 (-.33 there), cosines across views can follow only with opposite bit means of images
and texts (their cosine is -.98), and the two codes of a pair then agree in 69 % of the bits alone. JDSH's S has mean 0,
and its pairs agree in 98 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor

from hashbench.config import Config, hp
from hashbench.losses import cosines
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import code_statistics, groups_of_all, hash_network, untrained_features


@dataclass(frozen=True, kw_only=True)
class DJSRHConfig(Config):
    beta: float = hp(
        0.6, "weight of the image similarity in S̃ (β; the paper: .9 MIRFlickr, .6 NUS-WIDE, .3 Wiki)",
        sweep=(0.3, 0.6, 0.9), low=0.0, high=1.0,
    )  # fmt: skip
    eta: float = hp(0.4, "weight of shared neighbours in S (η)", sweep=(0.0, 0.2, 0.4), low=0.0, high=1.0)
    mu: float = hp(1.5, "scale of S (μ)", sweep=(1.0, 1.25, 1.5), low=0.0)
    lambda1: float = hp(0.1, "weight within images (λ1; the paper: .3 on Wiki)", sweep=(0.1, 0.3, 1.0), low=0.0)
    lambda2: float = hp(0.1, "weight within texts (λ2; the paper: .3 on Wiki)", sweep=(0.1, 0.3, 1.0), low=0.0)
    epochs: int = hp(30, "passes over the pairs (the paper: 80, and 200 on Wiki)", low=1)
    batch_size: int = hp(32, "pairs a step (m)", sweep=(32, 128), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the paper's sgd with momentum .9 and decay 5e-4")
    lr: float = hp(1e-3, "step size of the heads (the paper's sgd: 10^-2)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (the paper: 10^-3)", low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the paper's text head: 4096)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the schedule for MIRFlickr."""
        return {
            "default": {},
            "paper": {"beta": 0.9, "epochs": 80, "optimiser": "sgd", "lr": 1e-2, "encoder_lr": 1e-3, "hidden": 4096},
        }


class DJSRH(Method[DJSRHConfig]):
    paper = Paper(
        "Deep Joint-Semantics Reconstructing Hashing for Large-Scale Unsupervised Cross-Modal Retrieval",
        "ICCV", 2019, "https://openaccess.thecvf.com/content_ICCV_2019/html/Su_Deep_Joint-Semantics_Reconstructing_"
        "Hashing_for_Large-Scale_Unsupervised_Cross-Modal_Retrieval_ICCV_2019_paper.html",
    )  # fmt: skip
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = DJSRHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views = self.config, {"image": train.image, "text": train.text}
        features = {name: untrained_features(view) for name, view in views.items()}  # (n, d) each
        nets = {name: hash_network(view, run.bits, cfg.hidden) for name, view in views.items()}
        optimiser = self._optimiser(groups_of_all(nets, views, cfg.lr, cfg.encoder_lr))
        for epoch in run.epochs(cfg.epochs):
            scale, losses = math.sqrt(epoch + 1), []
            for net in nets.values():
                net.train()
            for i in run.batches(len(train), cfg.batch_size, "pairs", epoch):
                s = self._similarity(features["image"][i], features["text"][i])  # (m, m)
                f, g = (torch.tanh(scale * nets[name](view.batch(i)).float()) for name, view in views.items())  # (m, k)
                parts = self._losses(f, g, s)
                run.descend(cfg.lambda1 * parts[0] + parts[1] + cfg.lambda2 * parts[2], optimiser)
                losses.append(parts.detach())
            within_images, across, within_texts = torch.stack(losses).mean(0).tolist()
            run.log(
                epoch=epoch, across=across, within_images=within_images, within_texts=within_texts,
                **code_statistics(f.detach()),
            )  # fmt: skip
        return Hasher(nets)

    def _similarity(self, x: Tensor, y: Tensor) -> Tensor:
        """S (m, m) of a batch, from features (m, dx) and (m, dy)."""
        cfg = self.config
        joint = cfg.beta * (2 * cosines(x, x) - 1) + (1 - cfg.beta) * (2 * cosines(y, y) - 1)
        return cfg.mu * ((1 - cfg.eta) * joint + cfg.eta * joint @ joint.T / len(x))

    def _losses(self, f: Tensor, g: Tensor, s: Tensor) -> Tensor:
        """(3,): how far cosines of codes (m, k) are from S, within images, across, and within texts."""
        return torch.stack([nnf.mse_loss(cosines(a, b), s) for a, b in ((f, f), (f, g), (g, g))])

    def _optimiser(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        if self.config.optimiser == "adam":
            return torch.optim.Adam(groups)
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
