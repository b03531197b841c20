"""DCMH: deep cross-modal hashing by alternating optimisation.

Jiang, Li. *Deep Cross-Modal Hashing*. CVPR 2017. https://arxiv.org/abs/1602.02255

    J = Σ_ij [ softplus(θ_ij) - S_ij θ_ij ] + γ (||B - F||² + ||B - G||²) + η (||Fᵀ1||² + ||Gᵀ1||²)
    θ = ½ F Gᵀ,   B = sgn(F + G)                                                        (eq. 1, alg. 1)

An epoch is one pass of the image network against the stored text outputs G, one pass of the text network
against F, then B. Rows of the buffers outside the batch are constants.

Differs from the paper: features are standardised; the image head stands on the chosen backbone, not on CNN-F;
the default is 60 epochs of Adam and η = 0. Preset ``paper`` has the paper's values. η: a zero bit mean
contradicts the likelihood where few pairs are similar (9 % on pictograms, 55 % on the paper's MIRFLICKR), and
the stored rows of the balance term lag behind by an epoch: with η = 1 and Adam the *training* loss on pictograms
grows from 10 to 8·10⁴ in eight epochs. The sums are divided by n·b, as in the released code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import pair_likelihood, sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import code_statistics, parameter_groups, set_falling_step, standardised_encoder


@dataclass(frozen=True, kw_only=True)
class DCMHConfig(Config):
    gamma: float = hp(1.0, "quantisation weight (γ, eq. 1)", sweep=(0.1, 1.0, 10.0), low=0.0)
    eta: float = hp(0.0, "bit balance weight (η, eq. 1; the paper: 1)", sweep=(0.0, 0.01, 1.0), low=0.0)
    epochs: int = hp(60, "outer alternations (alg. 1; the paper: 500)", low=1)
    batch_size: int = hp(128, "items a step", sweep=(64, 128, 256), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the paper's sgd with a linearly falling step")
    lr: float = hp(1e-3, "first step size (the paper: 10^-1.5, falling to 10^-6)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the paper's text head: 8192)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {
            "default": {},
            "paper": {"eta": 1.0, "optimiser": "sgd", "lr": 10**-1.5, "epochs": 500, "hidden": 8192},
        }


class DCMH(Method[DCMHConfig]):
    paper = Paper("Deep Cross-Modal Hashing", "CVPR", 2017, "https://arxiv.org/abs/1602.02255")
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = DCMHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, n = self.config, len(train)
        views = {"image": train.image, "text": train.text}
        nets = {name: _network(view, run.bits, cfg.hidden) for name, view in views.items()}
        optimisers = {name: self._optimiser(nets[name], views[name]) for name in views}
        out = {name: torch.randn(n, run.bits, device=run.device) for name in views}  # F and G
        b = sign(out["image"] + out["text"])

        for epoch in run.epochs(cfg.epochs):
            if cfg.optimiser == "sgd":
                for optimiser in optimisers.values():
                    set_falling_step(optimiser, epoch, cfg.epochs, last=1e-6)  # sec. 4.2
            totals: dict[str, float] = {}
            for name, other in (("image", "text"), ("text", "image")):
                loss = self._pass(train, run, name, nets[name], optimisers[name], out[name], out[other], b, epoch)
                totals[f"loss_{name}"] = loss
            b = sign(out["image"] + out["text"])
            run.log(epoch=epoch, **totals, **code_statistics(out["image"]))
        return Hasher(nets)

    def _pass(
        self, train: Items, run: Run, name: str, net: nn.Module, optimiser: torch.optim.Optimizer,
        own: Tensor, other: Tensor, b: Tensor, epoch: int,
    ) -> float:  # fmt: skip
        """One pass of a network over the data with the other modality fixed; returns the mean loss."""
        cfg, n, total, steps = self.config, len(train), 0.0, 0
        view = train.views[name]
        net.train()
        for i in run.batches(n, cfg.batch_size, name, epoch):
            f = net(view.batch(i)).float()  # (b, k)
            own[i] = f.detach()
            theta = f @ other.T / 2  # (b, n)
            likelihood = pair_likelihood(theta, train.similarity(i)).sum()
            quantise = (b[i] - f).pow(2).sum()
            rest = own.sum(0) - own[i].sum(0)
            balance = (f.sum(0) + rest).pow(2).sum()
            loss = (likelihood + cfg.gamma * quantise + cfg.eta * balance) / (n * len(i))
            run.descend(loss, optimiser)
            total, steps = total + loss.item(), steps + 1
        return total / max(steps, 1)

    def _optimiser(self, net: nn.Module, view: View) -> torch.optim.Optimizer:
        groups = parameter_groups(net, view, self.config.lr, self.config.encoder_lr)
        return torch.optim.Adam(groups) if self.config.optimiser == "adam" else torch.optim.SGD(groups)


def _network(view: View, bits: int, hidden: int) -> nn.Sequential:
    """Encoder, one hidden layer, and bits without an output non-linearity, as in the paper."""
    return nn.Sequential(
        standardised_encoder(view), nn.Linear(view.dim, hidden), nn.ReLU(), nn.Linear(hidden, bits)
    ).to(view.device)
