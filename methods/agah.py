"""AGAH: attention to class features, a binary code for every class, and critics that make both views' features alike.

Gu, Gu, Gu, Li, Xiong, Wang. *Adversary Guided Asymmetric Hashing for Cross-Modal Retrieval*. ICMR 2019.
https://doi.org/10.1145/3323873.3325045   Equations from the authors' code (WendellGul/AGAH).

Of an item, a network gives features f of length 1; they attend to the class features M (c, w), whose rows are the mean
features of each class over images and texts, scaled to length 1 and renewed once an epoch:

    a = sigmoid(5 M f)      f' = λ f + (1 - λ) Mᵀa / Σa      h = tanh(P f')      ŷ = sigmoid(Q f')

With codes h of a batch of both views, labels L and class codes C in {-1, +1}^(c × k), both networks minimise sums

    T(h_I, h_T) + T(h_T, h_I) + α Σ 1 / (1 + exp cos(|h|, 1)) + β BCE(ŷ, L) + γ ||h Cᵀ - k (2L - 1)||²
    + η ||h - sgn h||² - μ (mean D_T(f_I) + mean D_I(f_T))

T: Σ [d_ip - d_in + .3]_+ over an anchor i of one view and every p that shares a label with it and n that does not of
the other, d = max(1 - cos, 0). Critic D_T learns to tell text features (high) from image features, D_I the other way
round, as in WGAN-GP with penalty 10. Once an epoch each bit of C in turn is set to its minimiser, M' being C as it was:

    || U Cᵀ - k Y ||² + || V Cᵀ - k Y ||² + || M' Cᵀ - k (2I - 1) ||²,   U, V: signs of all h_I, h_T;   Y = L

Y is the code's, though its loss above has 2L - 1. ``class_target`` = signed has 2L - 1 in the step, too, and is worse:
a code cannot be the opposite of all the classes that an item lacks, and bits lean to one side (on pictograms their mean
is .56 in place of .16). γ = 0 does no harm.

Faults of the code that are not followed: it divides f by the norm of the whole batch, so that codes depend on the batch
(no setting brings that back, for here codes must not), and M starts as noise; its step size falls after the first
epoch, too, which preset ``released`` has.

Differs from the code: features are standardised; the networks stand on any backbone's vectors; narrower first layers of
the text network; both views' layers step alike; P and Q see √w f', whose entries are of the size that their first
weights suppose, or |h| stays at .03; M starts as the class features of the untrained networks; M' does not change while
the bits of C are set; the class feature of a class without items is 0; fewer epochs, and more drops of the step size.
β = 0 as in the code, so ŷ learns only where it is set. Expect .566 / .591 MAP (image -> text / text -> image,
pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import cosines, gradient_penalty, sign, triplets
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import code_statistics, parameter_groups, perceptron, set_dropping_step, standardised_encoder


@dataclass(frozen=True, kw_only=True)
class AGAHConfig(Config):
    margin: float = hp(0.3, "margin of the triplets", sweep=(0.1, 0.3, 0.5), low=0.0)
    lambd: float = hp(
        0.8, "share of an item's own features after attention (λ)", sweep=(0.5, 0.8, 1.0), low=0.0, high=1.0
    )
    alpha: float = hp(1.0, "weight of the cosine quantisation (α)", sweep=(0.0, 1.0), low=0.0)
    beta: float = hp(0.0, "weight of the label predictions (β)", sweep=(0.0, 1.0), low=0.0)
    gamma: float = hp(1e-3, "weight of the class codes (γ)", sweep=(0.0, 1e-3, 1e-2), low=0.0)
    eta: float = hp(1.0, "weight of the quantisation (η)", sweep=(0.1, 1.0, 10.0), low=0.0)
    mu: float = hp(1.0, "weight of fooling the critics (μ)", sweep=(0.0, 1.0, 10.0), low=0.0)
    class_target: Literal["binary", "signed"] = hp("binary", "Y of the class codes' step; binary: L, signed: 2L - 1")
    epochs: int = hp(15, "passes over the pairs (the code: 300)", low=1)
    batch_size: int = hp(128, "pairs a step", sweep=(64, 128), low=2)
    lr: float = hp(1e-3, "first step size of Adamax", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "the same of a pre-trained encoder under --tuning full (the code: 1e-4)", low=0.0)
    critic_lr: float = hp(1e-3, "step size of the critics' Adamax", sweep=(1e-4, 1e-3), low=0.0)
    decay_every: int = hp(5, "epochs after which the step sizes fall to .6 (the code: 100)", low=1)
    decay_at_once: bool = hp(False, "whether they fall after the first epoch, too: the code's fault")
    weight_decay: float = hp(5e-4, "weight decay of the networks", low=0.0)
    width: int = hp(512, "width of the features (w)", low=1)
    hidden: int = hp(1024, "width of the text's first layer, its second has half (the code: 8192)", low=2)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``paper`` is the code's schedule and width, ``released`` its fault on ours."""
        return {
            "default": {},
            "paper": {"epochs": 300, "decay_every": 100, "hidden": 8192},
            "released": {"decay_at_once": True},
        }


class Outputs(NamedTuple):
    """Of a batch, or stored for all items."""

    features: Tensor
    """f (b, w), of length 1."""
    codes: Tensor
    """h (b, k), in (-1, 1)."""
    labels: Tensor
    """Log odds of the labels (b, c)."""


class AGAH(Method[AGAHConfig]):
    paper = Paper(
        "Adversary Guided Asymmetric Hashing for Cross-Modal Retrieval",
        "ICMR", 2019, "https://doi.org/10.1145/3323873.3325045",
    )  # fmt: skip
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = AGAHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, labels, views = self.config, train.need_labels(), {"image": train.image, "text": train.text}
        attention = _Attention(labels.shape[1], cfg.width, cfg.lambd).to(run.device)
        widths = {"image": [cfg.width], "text": [cfg.hidden, cfg.hidden // 2, cfg.width]}
        nets = {
            name: _Network(view, widths[name], attention, run.bits, labels.shape[1]) for name, view in views.items()
        }
        critics = {name: perceptron(cfg.width, 512, 256, 1).to(run.device) for name in views}
        groups = [group for name, net in nets.items() for group in net.groups(views[name], cfg.lr, cfg.encoder_lr)]
        optimiser = torch.optim.Adamax(groups, weight_decay=cfg.weight_decay)
        judges = [p for critic in critics.values() for p in critic.parameters()]
        critic_optimiser = torch.optim.Adamax(judges, lr=cfg.critic_lr, betas=(0.5, 0.9), weight_decay=1e-4)
        features = {name: _features(nets[name], view) for name, view in views.items()}
        codes = {name: torch.zeros(len(train), run.bits, device=run.device) for name in views}
        attention.renew(labels, *features.values())
        class_codes = sign(torch.randn(labels.shape[1], run.bits, device=run.device))

        for epoch in run.epochs(cfg.epochs):
            set_dropping_step(optimiser, epoch, cfg.decay_every, 0.6, cfg.decay_at_once)
            for net in nets.values():
                net.train()
            losses = []
            for i in run.batches(len(train), cfg.batch_size, "pairs", epoch):
                out = {name: nets[name](view.batch(i)) for name, view in views.items()}
                critic = self._critic_loss(critics, out["image"].features.detach(), out["text"].features.detach())
                run.descend(critic, critic_optimiser)
                parts = self._losses(out["image"], out["text"], critics, labels[i], class_codes)
                run.descend(parts.sum(), optimiser)
                losses.append(torch.cat([parts.detach(), critic.detach()[None]]))
                for name, one in out.items():
                    features[name][i], codes[name][i] = one.features.detach(), one.codes.detach()
            class_codes = self._class_codes(class_codes, [sign(h) for h in codes.values()], labels)
            attention.renew(labels, *features.values())
            names = ("triplets", "cosine", "labels", "classes", "quantise", "fooling", "critic")
            terms = dict(zip(names, torch.stack(losses).mean(0).tolist(), strict=True))
            run.log(epoch=epoch, **terms, **code_statistics(codes["image"]))
        return Hasher({name: net.hasher() for name, net in nets.items()})

    def _losses(
        self, image: Outputs, text: Outputs, critics: Mapping[str, nn.Module], labels: Tensor, class_codes: Tensor
    ) -> Tensor:
        """(6,): the weighed triplets, cosine quantisation, label predictions, class codes, quantisation and fooling.

        Args:
            image: Of a batch.
            text: Of the same pairs.
            critics: By the view whose features they rate high.
            labels: (b, c) of the batch.
            class_codes: C (c, k).
        """
        cfg, bits = self.config, class_codes.shape[1]
        similar, both = (labels @ labels.T).clamp(max=1), (image, text)
        distances = (1 - cosines(image.codes, text.codes)).clamp_min(0)  # (b, b)
        ranking = triplets(distances, similar, cfg.margin) + triplets(distances.T, similar, cfg.margin)
        cosine = sum(_to_corners(out.codes) for out in both)
        predict = sum(nnf.binary_cross_entropy_with_logits(out.labels, labels, reduction="sum") for out in both)
        classes = sum((out.codes @ class_codes.T - bits * (2 * labels - 1)).pow(2).sum() for out in both)
        quantise = sum((out.codes - sign(out.codes)).pow(2).sum() for out in both)
        fooling = -critics["text"](image.features).mean() - critics["image"](text.features).mean()
        weighed = (cosine, cfg.alpha), (predict, cfg.beta), (classes, cfg.gamma), (quantise, cfg.eta), (fooling, cfg.mu)
        return torch.stack([ranking, *(weight * torch.as_tensor(term) for term, weight in weighed)])

    @staticmethod
    def _critic_loss(critics: Mapping[str, nn.Module], image: Tensor, text: Tensor) -> Tensor:
        """WGAN-GP of both critics, of the views' features (b, w)."""
        loss = image.new_zeros(())
        for critic, real, fake in ((critics["image"], image, text), (critics["text"], text, image)):
            loss = loss + critic(fake).mean() - critic(real).mean() + 10 * gradient_penalty(critic, real, fake)
        return loss

    def _class_codes(self, c: Tensor, codes: list[Tensor], labels: Tensor) -> Tensor:
        """C (c, k) with every bit in turn at its minimiser, from C before, the signs (n, k) and the labels (n, c)."""
        bits, factor, c = c.shape[1], c, c.clone()
        signed = 2 * labels - 1 if self.config.class_target == "signed" else labels
        against = 2 * torch.eye(len(c)).to(c) - 1
        pairs = [*((u, signed) for u in codes), (factor, against)]  # U Cᵀ should be k Y
        target = bits * torch.stack([y.T @ u for u, y in pairs]).sum(0)  # (c, k)
        gram = torch.stack([u.T @ u for u, _ in pairs]).sum(0).fill_diagonal_(0)  # (k, k): of other bits
        for k in range(bits):
            c[:, k] = sign(target[:, k] - c @ gram[:, k])
        return c


class _Attention(nn.Module):
    """f (b, w) to √w f', with f' = λ f + (1 - λ) Mᵀa / Σa and a = sigmoid(5 M f)."""

    classes: Tensor

    def __init__(self, classes: int, width: int, lambd: float) -> None:
        super().__init__()
        self.register_buffer("classes", torch.zeros(classes, width))
        self.lambd = lambd

    def forward(self, features: Tensor) -> Tensor:
        a = torch.sigmoid(5 * features @ self.classes.T)  # (b, c)
        attended = self.lambd * features + (1 - self.lambd) * (a @ self.classes) / a.sum(1, keepdim=True)
        return math.sqrt(features.shape[1]) * attended

    def renew(self, labels: Tensor, *features: Tensor) -> None:
        """M from the labels (n, c) and the views' features (n, w)."""
        self.classes.copy_(nnf.normalize(labels.T @ torch.stack(features).mean(0)))


class _Normalise(nn.Module):
    """(b, w) to the same of length 1; 0 stays."""

    def forward(self, features: Tensor) -> Tensor:
        return nnf.normalize(features.float())


class _Network(nn.Module):
    """Rows of a view (b, ...) to outputs."""

    def __init__(self, view: View, widths: list[int], attention: _Attention, bits: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            standardised_encoder(view), perceptron(view.dim, *widths), nn.ReLU(), _Normalise()
        ).to(view.device)
        self.attention = attention
        self.codes = nn.Sequential(nn.Linear(widths[-1], bits), nn.Tanh()).to(view.device)
        self.labels = nn.Linear(widths[-1], classes).to(view.device)

    def forward(self, rows: Tensor) -> Outputs:
        features = self.features(rows)
        attended = self.attention(features)
        return Outputs(features, self.codes(attended), self.labels(attended))

    def groups(self, view: View, lr: float, encoder_lr: float) -> list[dict[str, object]]:
        heads = [*self.codes.parameters(), *self.labels.parameters()]
        return [*parameter_groups(self.features, view, lr, encoder_lr), {"params": heads, "lr": lr}]

    def hasher(self) -> nn.Sequential:
        return nn.Sequential(self.features, self.attention, self.codes)


def _to_corners(codes: Tensor) -> Tensor:
    """Sum over codes (b, k) of 1 / (1 + exp cos(|h|, 1)): least where all bits are equally sure."""
    return torch.sigmoid(-nnf.cosine_similarity(codes.abs(), torch.ones_like(codes))).sum()


@torch.no_grad()
def _features(net: _Network, view: View, batch_size: int = 512) -> Tensor:
    """f (n, w) of every row of a view, in evaluation mode."""
    net.eval()
    return torch.cat([net.features(view.batch(i)) for i in torch.arange(len(view)).split(batch_size)])
