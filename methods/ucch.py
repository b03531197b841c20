"""UCCH: every pair is a class of its own; networks learn to tell its binary code from the codes of others.

Hu, Zhu, Lin, Peng, Zhao, Peng. *Unsupervised Contrastive Cross-Modal Hashing*. TPAMI 45, 2023.
https://doi.org/10.1109/TPAMI.2022.3177356

F, G (b, k) are tanh of the networks' outputs, of unit length; M (n, k) remembers a pair's code, b_i = sgn(m_i):

    m_i <- unit( ρ m_i + (1 - ρ) unit((f_i + g_i) / 2) )                            after every step
    L_c = - log softmax_j( f_i·b_j / (T sqrt(k)) ) at j = i, and the same for g_i     j: the batch, and K others
    L_r = mean_i [ log Σ_j e^c_ij - c_ii + δ ]  and the same over columns
          c_ij = f_i·g_j   where it is at least f_i·g_i - δ (over columns: f_j·g_j - δ),   else f_i·g_j - s
    L = α L_c + (1 - α) L_r

so that negatives which lie far enough away weigh less, and no single one of them decides. In the first epoch j runs
over the batch, whose codes are sgn((f + g) / 2), and ρ = 0. The memory belongs to training; a code is the sign of its
own item's output in one view.

Differs from the paper: networks have one hidden layer on standardised features of the chosen backbone (the paper: two
for images and one for texts, of 8192 units; preset ``paper`` has that width and the paper's step), and one draw of K
others, beside the batch, serves all of its items (the paper: K of its own for each). Fixed: others are never the item
itself (the released code may draw it), and the last epoch is kept (the released code keeps the one with the best MAP
of 2,000 database items by their *labels*).

Expect .35 / .35 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from hashbench.config import Config, hp
from hashbench.losses import sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import code_statistics, groups_of_all, hash_network


@dataclass(frozen=True, kw_only=True)
class UCCHConfig(Config):
    alpha: float = hp(0.7, "weight of L_c against L_r (α)", sweep=(0.3, 0.5, 0.7, 0.9), low=0.0, high=1.0)
    temperature: float = hp(0.9, "temperature (T)", sweep=(0.2, 0.5, 0.9), low=0.01)
    momentum: float = hp(0.4, "weight of the past in the memory (ρ)", sweep=(0.2, 0.4, 0.8), low=0.0, high=1.0)
    others: int = hp(4096, "remembered codes that an item is told from (K)", sweep=(512, 4096), low=1)
    margin: float = hp(0.2, "distance from which on a negative weighs less (δ)", sweep=(0.1, 0.2, 0.5), low=0.0)
    shift: float = hp(0.1, "how much less (s)", sweep=(0.1, 0.5, 1.0), low=0.0)
    warm_up: int = hp(1, "epochs that tell items of a batch apart, before the memory is of use", low=0)
    epochs: int = hp(20, "passes over the pairs", low=1)
    batch_size: int = hp(256, "pairs a step", sweep=(128, 256), low=2)
    lr: float = hp(1e-3, "step size of the heads (the paper: 10^-4)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (the paper: 10^-4)", low=0.0)
    weight_decay: float = hp(1e-6, "weight decay", low=0.0)
    clip: float = hp(1.0, "longest gradient of all parameters together", low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the paper: 8192)", low=1)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {"default": {}, "paper": {"lr": 1e-4, "encoder_lr": 1e-4, "hidden": 8192}}


class UCCH(Method[UCCHConfig]):
    paper = Paper(
        "Unsupervised Contrastive Cross-Modal Hashing", "TPAMI", 2023, "https://doi.org/10.1109/TPAMI.2022.3177356"
    )
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = UCCHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views, n = self.config, {"image": train.image, "text": train.text}, len(train)
        nets = {name: hash_network(view, run.bits, cfg.hidden) for name, view in views.items()}
        groups = groups_of_all(nets, views, cfg.lr, cfg.encoder_lr)
        optimiser = torch.optim.Adam(groups, weight_decay=cfg.weight_decay)
        parameters = [p for net in nets.values() for p in net.parameters()]

        def clip(*_: object) -> None:
            torch.nn.utils.clip_grad_norm_(parameters, cfg.clip)

        optimiser.register_step_pre_hook(clip)
        stream = run.generator("others")
        memory = nnf.normalize(torch.randn(n, run.bits, generator=run.generator("memory"))).to(run.device)
        for epoch in run.epochs(cfg.epochs):
            losses, warm = [], epoch < cfg.warm_up
            for net in nets.values():
                net.train()
            for i in run.batches(n, cfg.batch_size, "pairs", epoch):
                f, g = (
                    nnf.normalize(torch.tanh(nets[name](v.batch(i)).float())) for name, v in views.items()
                )  # (b, k)
                joint = nnf.normalize((f + g).detach() / 2)
                if warm:
                    owners, codes = i, sign(joint)
                else:
                    others = torch.randint(n, (cfg.others,), generator=stream)
                    owners = torch.cat([i, others])
                    codes = sign(memory[owners])
                contrast = self._contrast(f, codes, i, owners) + self._contrast(g, codes, i, owners)
                ranking = self._ranking(f @ g.T) + self._ranking(g @ f.T)
                run.descend(cfg.alpha * contrast + (1 - cfg.alpha) * ranking, optimiser)
                kept = 0.0 if warm else cfg.momentum
                memory[i] = nnf.normalize(kept * memory[i] + (1 - kept) * joint)
                losses.append(torch.stack([contrast, ranking]).detach())
            contrasts, rankings = torch.stack(losses).mean(0).tolist()
            run.log(
                epoch=epoch, contrast=contrasts, ranking=rankings, **code_statistics(f.detach() * math.sqrt(run.bits))
            )
        return Hasher(nets)

    def _contrast(self, f: Tensor, codes: Tensor, items: Tensor, owners: Tensor) -> Tensor:
        """L_c of codes (b, k) of ``items`` (b,), against binary codes (m, k) whose first b are the items' own."""
        logits = f @ codes.T / (self.config.temperature * math.sqrt(f.shape[1]))  # (b, m)
        again = owners == items[:, None]
        again.fill_diagonal_(False)
        return nnf.cross_entropy(
            logits.masked_fill(again.to(f.device), -math.inf), torch.arange(len(f), device=f.device)
        )

    def _ranking(self, scores: Tensor) -> Tensor:
        """L_r over rows of scores (b, b), whose diagonal holds the pairs."""
        cfg, own = self.config, scores.diagonal()
        near = scores >= own[:, None] - cfg.margin
        cost = torch.where(near, scores, scores - cfg.shift)
        return (cost.logsumexp(1) - own + cfg.margin).mean()
