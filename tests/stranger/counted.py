"""A method that keeps a diary of its runs, and can be told to take its time or its worker's life."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from hashbench.config import Config, hp
from hashbench.method import Hasher, Items, Method, Needs, Paper, Run


@dataclass(frozen=True, kw_only=True)
class CountedConfig(Config):
    value: int = hp(0, "tells runs apart", sweep=(0, 1, 2))
    seconds: float = hp(0.0, "how long it takes", low=0.0)
    deaths: int = hp(0, "how many workers it kills before it works", low=0)
    spoilt: bool = hp(False, "whether its codes are worth nothing")


class Counted(Method[CountedConfig]):
    paper = Paper("How often was it run?", "none", 2026, "https://example.org")
    kind = "supervised"
    needs = Needs(labels="all")
    version = 1
    config_class = CountedConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        """Random projections of the class means, so that codes are better than none; ``spoilt`` ones are constant."""
        cfg = self.config
        line = f"{cfg.value} {run.bits} {run.seed}\n"
        diary = Path(os.environ["COUNTED_DIARY"])
        begun = diary.read_text().count(line) if diary.exists() else 0
        with diary.open("a") as file:
            file.write(line)
        if begun < cfg.deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        for epoch in run.epochs(10):
            run.log(epoch=epoch, value=float(cfg.value))
            time.sleep(cfg.seconds / 10)
        labels = train.need_labels()
        common = torch.randn(labels.shape[1], run.bits, generator=run.generator("classes"))
        heads = {}
        for name, view in train.views.items():
            x = view.features()
            fitted = torch.linalg.lstsq(x.T @ x + torch.eye(x.shape[1]), x.T @ (labels @ common)).solution
            head = torch.nn.Linear(x.shape[1], run.bits, bias=False)
            head.weight.data = torch.zeros_like(fitted.T) if cfg.spoilt else fitted.T
            heads[name] = head
        return Hasher(heads)
