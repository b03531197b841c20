"""What the tests of single methods share: a run that remembers its steps, and pictures with a small encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hashbench.method import Items, Run, View, isolated
from hashbench.testing.toy import toy_prompts


class Step(NamedTuple):
    phase: str
    epoch: int
    loss: float
    rates: tuple[float, ...]
    """Step size of every parameter group that moves."""


@dataclass
class WatchedRun(Run):
    """Remembers every step of descent, and starts each stage where ``isolated(seed)`` does, so that a second writing
    of a method can build the same networks."""

    steps: list[Step] = field(default_factory=list)
    _now: tuple[str, int] = ("", 0)

    def epochs(self, count: int, phase: str = "train") -> Iterator[int]:
        for epoch in super().epochs(count, phase):
            self._now = (phase, epoch)
            yield epoch

    def descend(self, loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
        rates = tuple(group["lr"] for optimiser in optimisers for group in optimiser.param_groups)
        self.steps.append(Step(*self._now, loss.item(), rates))
        super().descend(loss, *optimisers)

    def stage(self, name: str, settings: Mapping[str, Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        with isolated(self.seed):
            return make()


class Pictures(nn.Module):
    """(b, 3, 8, 8) uint8 pixels to (b, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3)
        self.start = self.convolution.weight.detach().clone()

    def forward(self, pixels: Tensor) -> Tensor:
        return self.convolution(pixels.float() / 255).relu().mean((2, 3))


class Words(nn.Module):
    """(b, 5) int64 tokens to (b, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(20, 7)
        self.start = self.embedding.weight.detach().clone()

    def forward(self, tokens: Tensor) -> Tensor:
        return self.embedding(tokens)


def raw_items(pretrained: bool, n: int = 24) -> Items:
    """Random pixels and tokens under random labels; ``pretrained`` is what the views say of their encoders."""
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (n, 3, 8, 8), dtype=torch.uint8, generator=stream)
    tokens = torch.randint(20, (n, 5), generator=stream)
    labels = torch.eye(3)[torch.randint(3, (n,), generator=stream)]
    views = {
        "image": View(pixels, 6, Pictures, raw=True, pretrained=pretrained),
        "text": View(tokens, 7, Words, raw=True, pretrained=pretrained),
    }
    return Items(views, labels, prompts=toy_prompts(labels))


def encoder_moved(net: nn.Module) -> bool:
    """Whether training has changed the encoder inside a hash function."""
    (encoder,) = (module for module in net.modules() if isinstance(module, Pictures | Words))
    return not torch.equal(next(encoder.parameters()), encoder.start)
