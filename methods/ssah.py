"""SSAH: a label network supervises the image and the text network, and critics make their features look like its own.

Li, Deng, Li, Liu, Gao, Tao. *Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval*. CVPR 2018.
https://arxiv.org/abs/1804.01223   Equations from the authors' code (lelan-li/SSAH).

Three networks v give semantic features X_v, codes H_v in (-1, 1) and label predictions Ŷ_v: of the labels themselves
(L), of images (I) and of texts (T). Each minimises, B and the label network's stored X_L, H_L being constants,

    α J(½ X_L X_vᵀ) + γ J(½ H_L H_vᵀ) + η ||B - H_v||² + β ||Y - Ŷ_v||² + δ A_v,      J(θ) = softplus(θ) - S θ
    B = sgn(H_L + H_I + H_T)

A_v, for images and texts only: critic D_v learns to tell X_L (1) from X_v (0) by cross-entropy, and A_v is the
cross-entropy of D_v(X_v) with 1. An epoch is one pass of each network, in the order L, I, T, and then B. Every term is
the mean of its entries (ours). Codes of new items are sgn(H_I) and sgn(H_T).

Two faults of the code are not followed; preset ``released`` has both. Its J is (softplus(θ) - .999 S θ)², the square of
a likelihood. And the features reach its critics through a placeholder, so that no gradient of A_v reaches a network:
its δ is 0 in effect.

Differs from the paper and the code: features are standardised; the networks stand on any backbone's vectors, so the
text has no multi-scale pooling, which smooths a vector of tags; no local response normalisation; narrower first layers
of the label and the text network; one step size that falls linearly in place of one a network that falls by √10; one
pass a network in turn in place of up to 15, 27 and 27 with early stopping; critics step beside their network, not in a
pass of their own; B starts as sgn(H_L), not at random.

The code's weights are all 1, but its squares are half sums over a batch and A_v is a mean, so its δ counts 2 δ / (n b)
of one in means, its η and β count k / n and c / n. In means, δ = 1 with critics of step 10⁻³ drives all else out: on
pictograms at 32 bits with α = 1 the loss of the image network without A_v does not fall in 30 epochs (2.7 in the first
and in the last), and MAP is at chance. With δ = 0 it falls to 1.5 in eight epochs.
Hence a small δ and slower critics by default, and a smaller α. Whether the critics help then was not measured. Expect
.603 / .662 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import cross_entropy_with, pair_likelihood, sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import code_statistics, parameter_groups, perceptron, set_falling_step, standardised_encoder

SIMILAR = 0.999  # what the code multiplies S by


@dataclass(frozen=True, kw_only=True)
class SSAHConfig(Config):
    alpha: float = hp(0.1, "weight of pairs of semantic features (α)", sweep=(0.0, 0.1, 1.0), low=0.0)
    gamma: float = hp(1.0, "weight of pairs of codes (γ)", sweep=(1.0, 10.0), low=0.0)
    eta: float = hp(1.0, "quantisation weight (η)", sweep=(0.1, 1.0), low=0.0)
    beta: float = hp(1.0, "weight of the label predictions (β)", sweep=(0.0, 1.0, 10.0), low=0.0)
    delta: float = hp(0.01, "weight of fooling the critics (δ)", sweep=(0.0, 0.01, 0.1), low=0.0)
    pair_loss: Literal["nll", "squared"] = hp("nll", "J: the paper's likelihood, or the code's square of it")
    epochs: int = hp(20, "passes of every network", low=1)
    batch_size: int = hp(128, "items a step", sweep=(64, 128, 256), low=2)
    lr: float = hp(1e-3, "first step size of Adam, falling linearly to 1e-6", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "the same of a pre-trained encoder under --tuning full (ours)", low=0.0)
    critic_lr: float = hp(1e-4, "step of the critics' Adam (the code: 1e-3)", sweep=(1e-4, 1e-3), low=0.0)
    width: int = hp(512, "width of the semantic features", low=1)
    hidden: int = hp(1024, "width of the label's and the text's first layer (the code: 4096)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {"default": {}, "released": {"delta": 0.0, "pair_loss": "squared"}}


class Outputs(NamedTuple):
    """Of a batch, or stored for all items."""

    features: Tensor
    """X (b, w)."""
    codes: Tensor
    """H (b, k), in (-1, 1)."""
    labels: Tensor
    """Ŷ (b, c), in (0, 1)."""


class SSAH(Method[SSAHConfig]):
    paper = Paper(
        "Self-Supervised Adversarial Hashing Networks for Cross-Modal Retrieval",
        "CVPR", 2018, "https://arxiv.org/abs/1804.01223",
    )  # fmt: skip
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = SSAHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, labels = self.config, train.need_labels()
        views = {"label": View(labels, labels.shape[1], device=run.device), "image": train.image, "text": train.text}
        nets = {
            name: _Network(view, [cfg.width] if name == "image" else [cfg.hidden, cfg.width], run.bits, labels.shape[1])
            for name, view in views.items()
        }
        critics = {name: perceptron(cfg.width, 512, 256, 1).to(run.device) for name in ("image", "text")}
        optimisers = {
            name: torch.optim.Adam(net.groups(views[name], cfg.lr, cfg.encoder_lr)) for name, net in nets.items()
        }
        critic_optimisers = {
            name: torch.optim.Adam(critic.parameters(), lr=cfg.critic_lr) for name, critic in critics.items()
        }
        bank = _outputs(nets["label"], views["label"])  # X_L and H_L
        codes = {name: torch.zeros_like(bank.codes) for name in views}  # H_L, H_I and H_T, as last seen
        b = sign(bank.codes)

        for epoch in run.epochs(cfg.epochs):
            logged: dict[str, float] = {}
            for name, view in views.items():
                set_falling_step(optimisers[name], epoch, cfg.epochs, last=1e-6)
                nets[name].train()
                losses = []
                for i in run.batches(len(train), cfg.batch_size, name, epoch):
                    out = nets[name](view.batch(i))
                    if name == "label":
                        bank.features[i], bank.codes[i] = out.features.detach(), out.codes.detach()
                    loss = self._loss(out, bank, b[i], labels[i], train.similarity(i))
                    if name in critics:
                        critic = self._critic_loss(critics[name], out.features.detach(), bank.features[i])
                        run.descend(critic, critic_optimisers[name])
                        fooling = cross_entropy_with(critics[name](out.features), 1.0)
                        losses.append(torch.stack([loss, critic, fooling]).detach())
                        loss = loss + cfg.delta * fooling
                    else:
                        losses.append(loss.detach()[None])
                    run.descend(loss, optimisers[name])
                    codes[name][i] = out.codes.detach()
                parts = zip(("loss", "critic", "fooling"), torch.stack(losses).mean(0).tolist(), strict=False)
                logged |= {f"{part}_{name}": mean for part, mean in parts}  # the label network has no critic
            b = sign(torch.stack(list(codes.values())).sum(0))
            run.log(epoch=epoch, **logged, **code_statistics(codes["image"]))
        return Hasher({name: nets[name].hasher() for name in ("image", "text")})

    def _loss(self, out: Outputs, bank: Outputs, b: Tensor, labels: Tensor, similarity: Tensor) -> Tensor:
        """A network's loss without A.

        Args:
            out: Of a batch.
            bank: The label network's, of all items.
            b: (b, k) codes of the batch.
            labels: (b, c) of the batch.
            similarity: (b, n), of the batch with all items.
        """
        cfg = self.config
        features = self._pairs(out.features @ bank.features.T / 2, similarity)
        codes = self._pairs(out.codes @ bank.codes.T / 2, similarity)
        quantise, predict = nnf.mse_loss(out.codes, b), nnf.mse_loss(out.labels, labels)
        return cfg.alpha * features + cfg.gamma * codes + cfg.eta * quantise + cfg.beta * predict

    def _pairs(self, theta: Tensor, similarity: Tensor) -> Tensor:
        """Mean J of θ and S, (b, n) each."""
        if self.config.pair_loss == "nll":
            return pair_likelihood(theta, similarity).mean()
        return pair_likelihood(theta, SIMILAR * similarity).pow(2).mean()

    @staticmethod
    def _critic_loss(critic: nn.Module, features: Tensor, label_features: Tensor) -> Tensor:
        """Mean cross-entropy of telling a view's features (b, w) from the label network's (b, w)."""
        return (cross_entropy_with(critic(features), 0.0) + cross_entropy_with(critic(label_features), 1.0)) / 2


class _Network(nn.Module):
    """Rows of a view (b, ...) to outputs: encoder, rectified layers ending in the features, and two heads on them."""

    def __init__(self, view: View, widths: list[int], bits: int, classes: int) -> None:
        super().__init__()
        sizes = [view.dim, *widths]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.features = nn.Sequential(standardised_encoder(view), *layers).to(view.device)
        self.codes = nn.Sequential(nn.Linear(widths[-1], bits), nn.Tanh()).to(view.device)
        self.labels = nn.Sequential(nn.Linear(widths[-1], classes), nn.Sigmoid()).to(view.device)

    def forward(self, rows: Tensor) -> Outputs:
        features = self.features(rows).float()
        return Outputs(features, self.codes(features), self.labels(features))

    def groups(self, view: View, lr: float, encoder_lr: float) -> list[dict[str, object]]:
        heads = [*self.codes.parameters(), *self.labels.parameters()]
        return [*parameter_groups(self.features, view, lr, encoder_lr), {"params": heads, "lr": lr}]

    def hasher(self) -> nn.Sequential:
        return nn.Sequential(self.features, self.codes)


@torch.no_grad()
def _outputs(net: nn.Module, view: View, batch_size: int = 512) -> Outputs:
    """Of every row of a view, in evaluation mode."""
    net.eval()
    parts = [net(view.batch(i)) for i in torch.arange(len(view)).split(batch_size)]
    return Outputs(*map(torch.cat, zip(*parts, strict=True)))
