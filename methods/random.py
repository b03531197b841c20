"""Random: sign of an untrained random projection of each view, the floor under every method.

Charikar. *Similarity Estimation Techniques from Rounding Algorithms*. STOC 2002. https://doi.org/10.1145/509907.509965

    code(x) = sgn(x R),   R (d, k) of standard normal entries, drawn for each view on its own

Inside one view, the expected share of differing bits is the angle between two items over π, so that image to image
works a little. Between views the projections know nothing of each other, and MAP is chance, the mean share of
relevant items, as long as the items searched are spread evenly. Where their codes gather by label, whole groups move
up or down a ranking together, and since precision is worth most at the top, the mean lies above chance: with 8 bits
on Wikipedia's topics, .12 to .15 for image to text over six seeds (validation, chance .11). What a method reaches
above this row, it has learned. Codes drawn without looking at the rows would be no function of rows, and no floor
either: kept for each item, they would find an item's own other view exactly.

Differs from the paper: features are standardised first.

Expect, image to text / text to image, seed 0: .086 / .087 on pictograms (lite, 32 bits, chance .084), .148 / .113 on
Wikipedia's vectors (8 bits, chance .108).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from hashbench.config import Config
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run
from hashbench.nn import linear, standardised_encoder


@dataclass(frozen=True, kw_only=True)
class RandomConfig(Config):
    """There is nothing to set."""


class Random(Method[RandomConfig]):
    paper = Paper(
        "Similarity Estimation Techniques from Rounding Algorithms", "STOC", 2002,
        "https://doi.org/10.1145/509907.509965",
    )  # fmt: skip
    kind = "shallow"
    needs = Needs(labels="none", cached=True, more_views=True)
    version = 1
    config_class = RandomConfig
    exceptions: ClassVar = {"check_learns": "it is the floor, and learns nothing"}

    def fit(self, train: Items, run: Run) -> Hasher:
        hashers: dict[str, nn.Module] = {}
        for name, view in train.views.items():
            view.features()  # refuses raw views
            planes = torch.randn(view.dim, run.bits, generator=run.generator(f"planes/{name}")).to(run.device)
            hashers[name] = nn.Sequential(standardised_encoder(view), linear(planes))
        return Hasher(hashers)
