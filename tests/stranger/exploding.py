"""Methods that end badly, on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from hashbench.config import Config, hp
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run


@dataclass(frozen=True, kw_only=True)
class ExplodingConfig(Config):
    how: Literal["diverge", "refuse", "crash", "lengthen", "forget", "mumble"] = hp("crash", "the way it ends")
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
            if self.config.how == "mumble":
                run.log(loss=torch.zeros(1))
            if self.config.how == "diverge":
                run.descend(torch.tensor(float("nan"), requires_grad=True))
            if self.config.how == "lengthen":
                return self._heads(train, run.bits + 1)
            if self.config.how == "forget":
                return Hasher({"image": torch.nn.Linear(train.image.dim, run.bits)})
        return self._heads(train, run.bits)

    def _heads(self, train: Items, bits: int) -> Hasher:
        return Hasher({name: torch.nn.Linear(view.dim, bits) for name, view in train.views.items()})
