"""DCMH: deep cross-modal hashing by alternating optimisation.

Jiang, Li. *Deep Cross-Modal Hashing*. CVPR 2017. https://arxiv.org/abs/1602.02255

    J = Σ_ij [ softplus(θ_ij) - S_ij θ_ij ] + γ (||B - F||² + ||B - G||²) + η (||Fᵀ1||² + ||Gᵀ1||²)
    θ = ½ F Gᵀ,   B = sgn(F + G)                                                        (eq. 1, alg. 1)

An epoch is one pass of the image network against the stored text outputs G, one pass of the text network
against F, then B. Rows of the buffers outside the batch are constants.

More than two views (our extension; with two complete ones it is the paper's method): θ is summed over all other
views, B = sgn of the sum over the views that an item has, and an item takes part in the views that it has.

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
from hashbench.nn import code_statistics, hash_network, parameter_groups, set_falling_step


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
    needs = Needs(labels="all", more_views=True)
    version = 1
    config_class = DCMHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views = self.config, train.views
        nets = {name: hash_network(view, run.bits, cfg.hidden) for name, view in views.items()}
        optimisers = {name: self._optimiser(nets[name], view) for name, view in views.items()}
        out = {name: torch.randn(len(view), run.bits, device=run.device) for name, view in views.items()}  # F and G
        b = _codes(train, out, run.bits)

        for epoch in run.epochs(cfg.epochs):
            if cfg.optimiser == "sgd":
                for optimiser in optimisers.values():
                    set_falling_step(optimiser, epoch, cfg.epochs, last=1e-6)  # sec. 4.2
            totals: dict[str, float] = {}
            for name in views:
                totals[f"loss_{name}"] = self._pass(train, run, name, nets[name], optimisers[name], out, b, epoch)
            b = _codes(train, out, run.bits)
            run.log(epoch=epoch, **totals, **code_statistics(next(iter(out.values()))))
        return Hasher(nets)

    def _pass(
        self, train: Items, run: Run, name: str, net: nn.Module, optimiser: torch.optim.Optimizer,
        out: Mapping[str, Tensor], b: Tensor, epoch: int,
    ) -> float:  # fmt: skip
        """One pass of a network over its view with the others fixed; returns the mean loss."""
        cfg, view, own, total, steps = self.config, train.views[name], out[name], 0.0, 0
        n = len(view)
        net.train()
        for i in run.batches(n, cfg.batch_size, name, epoch):
            f, items = net(view.batch(i)).float(), view.of(i)  # (b, k), (b,)
            own[i] = f.detach()
            likelihood = f.new_zeros(())
            for other, g in out.items():
                if other != name:
                    theta = f @ g.T / 2  # (b, n)
                    likelihood = (
                        likelihood + pair_likelihood(theta, train.similarity(items, train.views[other].items)).sum()
                    )
            quantise = (b[items] - f).pow(2).sum()
            rest = own.sum(0) - own[i].sum(0)
            balance = (f.sum(0) + rest).pow(2).sum()
            loss = (likelihood + cfg.gamma * quantise + cfg.eta * balance) / (n * len(i))
            run.descend(loss, optimiser)
            total, steps = total + loss.item(), steps + 1
        return total / max(steps, 1)

    def _optimiser(self, net: nn.Module, view: View) -> torch.optim.Optimizer:
        groups = parameter_groups(net, view, self.config.lr, self.config.encoder_lr)
        return torch.optim.Adam(groups) if self.config.optimiser == "adam" else torch.optim.SGD(groups)


def _codes(train: Items, out: Mapping[str, Tensor], bits: int) -> Tensor:
    """B (n, k): the sign of the sum over the views that an item has."""
    total = next(iter(out.values())).new_zeros(len(train), bits)
    for name, f in out.items():
        items = train.views[name].items
        total = total + f if items is None else total.index_add(0, items, f)
    return sign(total)
