"""DSPH: every class has a learned proxy; codes turn to the proxies of their labels and away from the others.

Huo, Qin, Dai, Wang, Zhang, Huang, Wang. *Deep Semantic-Aware Proxy Hashing for Multi-Label Cross-Modal Retrieval*.
IEEE TCSVT 34, 2024. https://doi.org/10.1109/TCSVT.2023.3285266   Equations from the authors' code (QinLab-WFU/DSPH).

Proxies P (c, k) and outputs h = tanh(dropout(linear)) of a batch, for each of the two views:

    positive    mean of 1 - cos(h_i, P_c)          over the (i, c) with label c
    negative    mean of [cos(h_i, P_c) - ζ]_+      over the (i, c) without it
    irrelevant  α · mean of [cos(h_i, h'_j) - ζ]_+ over items i, j with two labels or more that share none:
                image to image, text to text and image to text

The loss is the sum of all seven terms. ζ is the cosine that c proxies in k bits cannot all stay below. The code reads
it from a table whose row is k and whose column is m = ⌈log2 c⌉; here it is 1 - 2 d / k, d being the largest even
minimum distance that Griesmer's bound allows 2^m codewords, Σ_i<m ⌈d / 2^i⌉ <= k [inferred: it gives every value of the
table that is known to us: 0 for 21 and 24 classes, .25, .125, 0, 0 for 80 classes at 16, 32, 64, 128 bits].

The networks stand on any backbone's vectors. Differs from the code: features are standardised; a hidden layer comes
before the bits; fewer epochs, and proxies that step ten times as far; AdamW without gradient clipping in place of
BertAdam, same constants and schedule. The code sets PyTorch's global seed to 0 when it makes the proxies, and so makes
all its runs alike; here they are drawn from the run's seed. Preset ``paper`` has the code's linear head and schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import cosines
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run
from hashbench.nn import bert_adam, code_statistics, hash_network, set_warm_up_cosine


@dataclass(frozen=True, kw_only=True)
class DSPHConfig(Config):
    alpha: float = hp(0.8, "weight of the irrelevant pairs (α)", sweep=(0.0, 0.4, 0.8, 1.6), low=0.0)
    zeta: float | Literal["codes"] = hp(
        "codes",
        "cosine up to which others may come (ζ); codes: by the distance of codewords",
        sweep=("codes", 0.0, 0.2),
    )
    dropout: float = hp(0.2, "dropout of the outputs", sweep=(0.0, 0.2), low=0.0, high=1.0)
    proxy_lr: float = hp(
        0.2, "step of the proxies' sgd, momentum .9 and decay 5e-4 (the code: .02)", sweep=(0.02, 0.2), low=0.0
    )
    epochs: int = hp(40, "passes over the pairs (the code: 100)", low=1)
    batch_size: int = hp(128, "pairs a step (the code: 64, its README: 128)", sweep=(64, 128, 256), low=2)
    lr: float = hp(1e-3, "largest step of the heads", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "largest step of a pre-trained encoder under --tuning full", low=0.0)
    warm_up: float = hp(0.1, "share of the steps in which the step size rises", low=0.0, high=1.0)
    weight_decay: float = hp(0.2, "decoupled weight decay of the networks", sweep=(0.0, 0.2), low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads; 0: none, as in the code", sweep=(0, 512), low=0)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {"default": {}, "paper": {"proxy_lr": 0.02, "epochs": 100, "hidden": 0}}


class DSPH(Method[DSPHConfig]):
    paper = Paper(
        "Deep Semantic-Aware Proxy Hashing for Multi-Label Cross-Modal Retrieval",
        "IEEE TCSVT", 2024, "https://doi.org/10.1109/TCSVT.2023.3285266",
    )  # fmt: skip
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = DSPHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views, labels = self.config, {"image": train.image, "text": train.text}, train.need_labels()
        zeta = _zeta(run.bits, labels.shape[1]) if cfg.zeta == "codes" else float(cfg.zeta)
        nets = {name: hash_network(view, run.bits, cfg.hidden) for name, view in views.items()}
        proxies = nn.Parameter(torch.empty(labels.shape[1], run.bits, device=run.device))
        nn.init.kaiming_normal_(proxies, mode="fan_out")
        optimiser = bert_adam(nets, views, cfg.lr, cfg.encoder_lr, cfg.weight_decay)
        proxy_optimiser = torch.optim.SGD([proxies], lr=cfg.proxy_lr, momentum=0.9, weight_decay=5e-4)
        steps = math.ceil(len(train) / cfg.batch_size)
        for epoch in run.epochs(cfg.epochs):
            losses = []
            for net in nets.values():
                net.train()
            for step, i in enumerate(run.batches(len(train), cfg.batch_size, "pairs", epoch)):
                set_warm_up_cosine(optimiser, (epoch + (step + 0.5) / steps) / cfg.epochs, cfg.warm_up)
                f, g = (
                    torch.tanh(nnf.dropout(nets[name](view.batch(i)).float(), cfg.dropout))
                    for name, view in views.items()
                )  # (b, k) each
                parts = self._losses(f, g, labels[i], proxies, zeta)
                run.descend(parts.sum(), optimiser, proxy_optimiser)
                losses.append(parts.detach())
            positive, negative, irrelevant = torch.stack(losses).mean(0).tolist()
            run.log(
                epoch=epoch, positive=positive, negative=negative, irrelevant=irrelevant,
                proxies=_closest(proxies.detach()), **code_statistics(f.detach()),
            )  # fmt: skip
        return Hasher(nets)

    def _losses(self, f: Tensor, g: Tensor, labels: Tensor, proxies: Tensor, zeta: float) -> Tensor:
        """(3,): the positive, the negative and the irrelevant terms of codes (b, k) with labels (b, c)."""
        to_proxies = [cosines(h, proxies) for h in (f, g)]  # (b, c) each
        positive = torch.stack([_mean(1 - cos, labels > 0) for cos in to_proxies]).sum()
        negative = torch.stack([_mean((cos - zeta).relu(), labels == 0) for cos in to_proxies]).sum()
        several = labels.sum(1) > 1
        f, g, labels = f[several], g[several], labels[several]
        irrelevant = torch.stack(
            [_mean((cosines(a, b) - zeta).relu(), labels @ labels.T == 0) for a, b in ((f, f), (g, g), (f, g))]
        ).sum()
        return torch.stack([positive, negative, self.config.alpha * irrelevant])


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of the values where a condition holds; 0 where it holds nowhere."""
    return (values * where).sum() / where.sum().clamp_min(1)


def _closest(proxies: Tensor) -> float:
    """The largest cosine between two proxies; -1 where there is one."""
    return (cosines(proxies, proxies) - 2 * torch.eye(len(proxies), device=proxies.device)).max().item()


def _zeta(bits: int, classes: int) -> float:
    """1 - 2 d / k for the largest even d that Griesmer's bound allows a linear code of at least c words; at least 0."""
    m = math.ceil(math.log2(classes))
    allowed = [d for d in range(2, bits + 1, 2) if sum(math.ceil(d / 2**i) for i in range(m)) <= bits]
    if not allowed:
        raise Incompatible(f"{bits} bits have no room for {classes} proxies that differ in two bits; set zeta")
    return max(0.0, 1 - 2 * allowed[-1] / bits)
