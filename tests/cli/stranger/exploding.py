"""Methods that end badly, on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from hashbench.config import Config, hp
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run


@dataclass(frozen=True, kw_only=True)
class ExplodingConfig(Config):
    how: Literal["diverge", "refuse", "crash"] = hp("crash", "the way it ends")
    only_bits: int = hp(0, "ends badly at this code length alone; 0: at every one", low=0)


class Exploding(Method[ExplodingConfig]):
    paper = Paper("How runs end", "none", 2026, "https://example.org")
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = ExplodingConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        if self.config.only_bits in (0, run.bits):
            if self.config.how == "refuse":
                raise Incompatible("it would rather not")
            if self.config.how == "crash":
                raise RuntimeError("a defect\nin two lines")
            run.descend(torch.tensor(float("nan"), requires_grad=True))
        views = train.views.items()
        return Hasher({name: torch.nn.Linear(view.dim, run.bits) for name, view in views})
