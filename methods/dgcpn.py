"""DGCPN: codes keep the similarity of pairs, that of their neighbours on a graph, and agree between modalities.

Yu, Zhou, Zhan, Tao. *Deep Graph-neighbor Coherence Preserving Network for Unsupervised Cross-modal Hashing*.
AAAI 2021. https://ojs.aaai.org/index.php/AAAI/article/view/16592

Over the training pairs, once, with features x, y of the encoders before training:

    C = a1 cos(y, y') + (1 - a1) cos(x, x')
    P_ij = C_ij / Σ_j' C_ij'   over the K items j that are nearest to i, without i itself; else 0
    S = 2 [ (1 - a2) C + a2 · 2K P Pᵀ ] - 1

and within a batch, with II, IT, TT the cosines of codes F, G = tanh(outputs):

    J = |diag IT - 1.5|² + dw (|II - S|² + |IT - S|² + |TT - S|², off the diagonal)
        + cw (|IT - II|² + |IT - TT|² + |II - TT|² + |IT - ITᵀ|²)

|.|² are means. A batch makes three steps: both networks on real codes, then the image network against the signs of
the texts' codes, and the text network against the signs of the images' ("half real, half binary"). The graph belongs
to training; a code is the sign of its own item's output in one view.

The paper's graph has 5,000 training pairs, K = 2,000 and the factor 4,000: read here as K = .4 n and 2K [inferred],
with which two random items have 2K PPᵀ = .8 whatever n is. Beyond 5,000 training items the neighbours are taken
from 5,000 of them, drawn once, so that memory grows with n and not with n². Also [inferred]: rows of P sum to 1 after
far items are left out, negative cosines count as 0 there, and the tanh.

Differs from the paper: networks have one hidden layer on standardised features of the chosen backbone (the paper: a
VGG-19's 4096-d features and layers of its own); the optimiser is Adam; the number of epochs is fixed (the paper stops
early on labelled validation items, which a method without labels has no right to).

Expect .40 / .40 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084).
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
from hashbench.losses import cosines, sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import code_statistics, hash_network, parameter_groups, untrained_features


@dataclass(frozen=True, kw_only=True)
class DGCPNConfig(Config):
    a1: float = hp(0.01, "weight of the texts' cosines in C (a1)", sweep=(0.01, 0.1, 0.3), low=0.0, high=1.0)
    a2: float = hp(0.3, "weight of shared neighbours in S (a2)", sweep=(0.0, 0.3, 0.6), low=0.0, high=1.0)
    neighbours: float = hp(
        0.4, "K as a share of the graph's items (the paper: 2,000 of 5,000)", sweep=(0.01, 0.1, 0.4), low=0.0, high=1.0
    )
    dw: float = hp(1.0, "weight of S (dw)", sweep=(0.1, 1.0, 10.0), low=0.0)
    cw: float = hp(1.0, "weight of the agreement between modalities (cw)", sweep=(0.1, 1.0, 10.0), low=0.0)
    own: float = hp(1.5, "cosine that the two codes of an item are drawn to", sweep=(1.0, 1.5), low=0.0)
    epochs: int = hp(15, "passes over the pairs, three steps a batch (the paper: up to 100)", low=1)
    batch_size: int = hp(32, "pairs a step", sweep=(32, 128), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or the paper's sgd with momentum .9 and decay 5e-4")
    lr: float = hp(1e-3, "step size of the heads (the paper's sgd: .005)", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)
    hidden: int = hp(512, "width of the hidden layer of both heads (the paper: 4096)", low=1)
    dropout: float = hp(0.5, "share of hidden units left out in training", sweep=(0.0, 0.5), low=0.0, high=0.9)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {"default": {}, "paper": {"epochs": 100, "optimiser": "sgd", "lr": 0.005, "hidden": 4096}}


class DGCPN(Method[DGCPNConfig]):
    paper = Paper(
        "Deep Graph-neighbor Coherence Preserving Network for Unsupervised Cross-modal Hashing",
        "AAAI", 2021, "https://ojs.aaai.org/index.php/AAAI/article/view/16592",
    )  # fmt: skip
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = DGCPNConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg = self.config
        x, y = (untrained_features(view) for view in (train.image, train.text))  # (n, dx), (n, dy)
        graph = self._graph(x, y, run)  # (n, nodes)
        image, text = (hash_network(view, run.bits, cfg.hidden, cfg.dropout) for view in (train.image, train.text))
        steps = [
            self._optimiser(list(parameter_groups(net, view, cfg.lr, cfg.encoder_lr)))
            for net, view in ((image, train.image), (text, train.text))
        ]

        def codes(net: nn.Module, rows: Tensor) -> Tensor:
            return torch.tanh(net(rows).float())

        for epoch in run.epochs(cfg.epochs):
            image.train(), text.train()
            losses = []
            for i in run.batches(len(train), cfg.batch_size, "pairs", epoch):
                s = self._similarity(x[i], y[i], graph[i])  # (b, b)
                v, t = train.image.batch(i), train.text.batch(i)
                f, g = codes(image, v), codes(text, t)  # (b, k) each
                real = self._loss(f, g, s)
                run.descend(real, *steps)
                run.descend(self._loss(codes(image, v), sign(g), s), steps[0])
                run.descend(self._loss(sign(f), codes(text, t), s), steps[1])
                losses.append(real.detach())
            run.log(epoch=epoch, loss=torch.stack(losses).mean().item(), **code_statistics(f.detach()))
        return Hasher({"image": image, "text": text})

    def _close(self, x: Tensor, y: Tensor, to_x: Tensor, to_y: Tensor) -> Tensor:
        """C between items (b, dx), (b, dy) and others (m, dx), (m, dy): (b, m)."""
        return self.config.a1 * cosines(y, to_y) + (1 - self.config.a1) * cosines(x, to_x)

    def _graph(self, x: Tensor, y: Tensor, run: Run, most: int = 5000, rows: int = 512) -> Tensor:
        """sqrt(2K) P (n, nodes): how near each item is to its K nearest nodes."""
        n = len(x)
        nodes = torch.arange(n) if n <= most else torch.randperm(n, generator=run.generator("graph"))[:most]
        k = max(1, min(round(self.config.neighbours * len(nodes)), len(nodes) - 1))
        nodes = nodes.to(x.device)
        graph = x.new_zeros(n, len(nodes))
        for i in torch.arange(n, device=x.device).split(rows):
            close = self._close(x[i], y[i], x[nodes], y[nodes]).clamp_min(0)
            close[i[:, None] == nodes] = 0  # an item is no neighbour of itself
            near, at = close.topk(k)
            graph[i] = torch.zeros_like(close).scatter_(1, at, math.sqrt(2 * k) * nnf.normalize(near, p=1))
        return graph

    def _similarity(self, x: Tensor, y: Tensor, graph: Tensor) -> Tensor:
        """S (b, b) of a batch, from features (b, dx), (b, dy) and rows of the graph (b, nodes)."""
        return 2 * ((1 - self.config.a2) * self._close(x, y, x, y) + self.config.a2 * graph @ graph.T) - 1

    def _loss(self, f: Tensor, g: Tensor, s: Tensor) -> Tensor:
        """J of codes (b, k)."""
        cfg, mse = self.config, nnf.mse_loss
        ii, it, tt = cosines(f, f), cosines(f, g), cosines(g, g)
        others = ~torch.eye(len(f), dtype=torch.bool, device=f.device)
        own = (it.diagonal() - cfg.own).pow(2).mean()
        kept = torch.stack([mse(c[others], s[others]) for c in (ii, it, tt)]).sum()
        agreed = mse(it, ii) + mse(it, tt) + mse(ii, tt) + mse(it, it.T)
        return own + cfg.dw * kept + cfg.cw * agreed

    def _optimiser(self, groups: list[dict[str, object]]) -> torch.optim.Optimizer:
        if self.config.optimiser == "adam":
            return torch.optim.Adam(groups)
        return torch.optim.SGD(groups, momentum=0.9, weight_decay=5e-4)
