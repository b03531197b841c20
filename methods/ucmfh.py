"""UCMFH: a transformer and a hash layer on features of a pre-trained backbone, both taught by contrast of pairs.

Xia, Dong, Li, Zhu, Ying. *When CLIP meets cross-modal hashing retrieval: A new strong baseline*. Information Fusion
100, 2023. https://doi.org/10.1016/j.inffus.2023.101968

    u = unit(transformer(features)),   h = unit(tanh(W2 relu(W1 u)))              for each of image and text
    J = C(u_image, u_text) + w C(h_image, h_text)
    C(a, b) = - mean over the 2b vectors z of a and b of  log ( e^(cos(z, z+) / τ) / Σ_{z' ≠ z} e^(cos(z, z') / τ) )

where z+ is the other vector of the pair (NT-Xent). A code is the sign of h.

What replaces the paper's fusion. The released code joins an item's two features to one vector of 2 x 512, sends that
through the transformer and cuts the result in two, so an image's code depends on its text, also for a query (its
author confirms that pairs are needed); exchanging only the text turns 10.9 % of the image's bits. Worse, in training
each item is a sequence of one, but at test time the batch is the sequence, and attention mixes its items: 21.5 % of the
bits differ. A hash function here sees one item in one modality, so neither can be had, and there is no preset
``released``. Each view has a transformer of its own instead: a linear layer to ``width`` and the same number of layers
on a sequence of one, in training as at test time. With one token attention is a linear map, so that a layer is two
residual blocks with normalisation, as in the paper's training. Modalities meet in C alone. Numbers printed for UCMFH
have the pair's other side as a hint, and are not to be compared.

Differs further: features are standardised, of any backbone and any width (the paper: CLIP ViT-B/32, 512 each), and
layers are narrower. In the released code the schedule that multiplies the hash layer's step by 1.2 at epochs 30 and 80
is advanced at every *batch*, so that the step is 1.44 times as long from the 80th batch on; preset ``paper`` has it so
throughout.

Expect .36 / .38 MAP (image -> text / text -> image, pictograms, lite, 32 bits, seed 0; chance .084).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import cosines
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run, View
from hashbench.nn import code_statistics, parameter_groups, standardised_encoder


@dataclass(frozen=True, kw_only=True)
class UCMFHConfig(Config):
    temperature: float = hp(0.5, "temperature of the contrast (τ)", sweep=(0.1, 0.2, 0.5), low=0.01)
    w: float = hp(0.5, "weight of the contrast of codes", sweep=(0.5, 1.0, 2.0), low=0.0)
    width: int = hp(256, "width of a view's transformer (the paper: 1024 for both)", sweep=(128, 256, 512), low=1)
    layers: int = hp(2, "transformer layers", sweep=(0, 1, 2), low=0)
    hidden: int = hp(512, "width of the hash layer's hidden layer (the paper: 4096)", low=1)
    dropout: float = hp(0.3, "share of hidden units left out in training", sweep=(0.0, 0.3), low=0.0, high=0.9)
    epochs: int = hp(30, "passes over the pairs (the paper: 50 to 100)", low=1)
    batch_size: int = hp(128, "pairs a step", sweep=(64, 128, 256), low=2)
    lr: float = hp(1e-3, "step size of the hash layer", sweep=(1e-4, 1e-3), low=0.0)
    fusion_lr: float = hp(1e-4, "step size of the transformer", sweep=(1e-5, 1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full (ours)", low=0.0)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        return {"default": {}, "paper": {"width": 512, "hidden": 4096, "epochs": 50, "lr": 1.44e-3}}


class UCMFH(Method[UCMFHConfig]):
    paper = Paper(
        "When CLIP meets cross-modal hashing retrieval: A new strong baseline",
        "Information Fusion", 2023, "https://doi.org/10.1016/j.inffus.2023.101968",
    )  # fmt: skip
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = UCMFHConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg, views = self.config, {"image": train.image, "text": train.text}
        embed = {name: self._transformer(view) for name, view in views.items()}
        hashing = {name: self._hash_layer(run.bits).to(view.device) for name, view in views.items()}
        groups: list[dict[str, object]] = []
        for name, view in views.items():
            groups += parameter_groups(embed[name], view, cfg.fusion_lr, cfg.encoder_lr)
            groups.append({"params": list(hashing[name].parameters()), "lr": cfg.lr})
        optimiser = torch.optim.Adam(groups, betas=(0.5, 0.999))
        for epoch in run.epochs(cfg.epochs):
            losses = []
            for net in (*embed.values(), *hashing.values()):
                net.train()
            for i in run.batches(len(train), cfg.batch_size, "pairs", epoch):
                u, v = (embed[name](view.batch(i)).float() for name, view in views.items())  # (b, width) each
                f, g = hashing["image"](u), hashing["text"](v)  # (b, k) each
                features, codes = self._contrast(u, v), self._contrast(f, g)
                run.descend(features + cfg.w * codes, optimiser)
                losses.append(torch.stack([features, codes]).detach())
            of_features, of_codes = torch.stack(losses).mean(0).tolist()
            run.log(epoch=epoch, contrast_features=of_features, contrast_codes=of_codes, **code_statistics(f.detach()))
        return Hasher({name: nn.Sequential(embed[name], hashing[name]) for name in views})

    def _contrast(self, a: Tensor, b: Tensor) -> Tensor:
        """C of paired rows (b, d)."""
        z, n = torch.cat([a, b]), len(a)
        logits = cosines(z, z) / self.config.temperature  # (2b, 2b)
        logits = logits.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
        return nnf.cross_entropy(logits, torch.arange(2 * n, device=z.device).roll(n))

    def _transformer(self, view: View) -> nn.Sequential:
        """Rows (b, ...) to vectors (b, width) of unit length."""
        cfg = self.config
        layers = [nn.TransformerEncoderLayer(cfg.width, 1, 2 * cfg.width, batch_first=True) for _ in range(cfg.layers)]
        return nn.Sequential(
            standardised_encoder(view), nn.Linear(view.dim, cfg.width), nn.Unflatten(1, (1, cfg.width)),
            *layers, nn.Flatten(), Unit(),
        ).to(view.device)  # fmt: skip

    def _hash_layer(self, bits: int) -> nn.Sequential:
        """Vectors (b, width) to codes (b, k), before their length is taken away."""
        cfg = self.config
        return nn.Sequential(
            nn.Linear(cfg.width, cfg.hidden), nn.ReLU(), nn.Dropout(cfg.dropout), nn.Linear(cfg.hidden, bits), nn.Tanh()
        )


class Unit(nn.Module):
    """Rows at unit length; zero rows stay."""

    def forward(self, rows: Tensor) -> Tensor:
        return nnf.normalize(rows)
