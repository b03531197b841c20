"""A small separable multi-label set, for checks and for a method's own tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from hashbench.config import digest
from hashbench.method import Items, View

_WIDTHS = {"image": 24, "text": 20}
_LENGTH = 4


def toy_items(
    n: int = 96,
    *,
    views: Sequence[str] = ("image", "text"),
    classes: int = 4,
    seed: int = 0,
    raw: bool = False,
    lacking: str | None = None,
    tokens: bool = False,
) -> Items:
    """Items with one or two labels; every view is a noisy mixture of its labels' prototypes.

    The prototypes belong to the view's name, so that two sets of different seeds can train and test.

    Args:
        n: Items.
        views: View names; ``image`` is 24 wide, ``text`` 20, any other 18.
        classes: Labels, c.
        seed: Draws labels and noise.
        raw: Instead of cached features, (n, 3, 2, 4) uint8 pixels for ``image`` and (n, d) int64 tokens
            for the rest, each with a small encoder to train.
        lacking: A view that only every other item has.
        tokens: Instead of vectors (d,), sequences (4, d) of one and up to two tokens.

    Returns:
        Items with labels and with label prompts: ``onehot`` gives the labels themselves, any other prompt the
        mean of fixed random class vectors (32,).
    """
    rng = np.random.default_rng(seed)
    labels = np.eye(classes)[rng.integers(classes, size=n)]
    second = rng.random(n) < 0.2
    labels[second, rng.integers(classes, size=int(second.sum()))] = 1
    made: dict[str, View] = {}
    for name in views:
        width = _WIDTHS.get(name, 18)
        prototypes = np.random.default_rng(int(digest(name)[:8], 16)).normal(size=(classes, width))
        features = labels @ prototypes + 0.3 * rng.normal(size=(n, width))
        rows = torch.tensor(features, dtype=torch.float32)
        owners = torch.arange(0, n, 2) if name == lacking else None
        rows = rows if owners is None else rows[owners]
        made[name] = replace(_raw(rows, name, tokens) if raw else _cached(rows, tokens), items=owners)
    given = torch.tensor(labels, dtype=torch.float32)
    return Items(made, given, prompts=toy_prompts(given))


def toy_sequences(vectors: Tensor) -> Tensor:
    """(b, d) to (b, 4, d): each vector, then none, one or two of its turns by one and two places, then zeros."""
    turned = torch.stack([vectors.roll(places, 1) for places in range(_LENGTH)], 1)
    counts = (10 * vectors[:, 0]).long() % 3
    return turned.masked_fill((torch.arange(_LENGTH) > counts[:, None])[..., None], 0)


def toy_prompts(labels: Tensor) -> Callable[[str], View]:
    """Makes label views (n, d) from labels (n, c), for :attr:`Items.prompts`."""

    def view(prompt: str) -> View:
        if prompt == "onehot":
            return View(labels, labels.shape[1])
        stream = torch.Generator().manual_seed(int(digest(prompt)[:15], 16))
        vectors = torch.randn(labels.shape[1], 32, generator=stream)
        return View(labels @ vectors / labels.sum(1, keepdim=True).clamp_min(1), 32)

    return view


class ToyEncoder(nn.Module):
    """A trainable encoder (b, ...) to (b, d), or to sequences (b, 4, d), that remembers where it started."""

    def __init__(self, width: int, pixels: bool, tokens: bool = False) -> None:
        super().__init__()
        self.tokens = tokens
        self.inner = nn.Linear(width, width) if pixels else nn.EmbeddingBag(64, width)
        self.pixels = pixels
        self.start = [p.detach().clone() for p in self.parameters()]

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.inner(rows.flatten(1).float() / 24 - 5.3 if self.pixels else rows)
        return toy_sequences(out) if self.tokens else out

    @property
    def moved(self) -> bool:
        """Whether training has changed any parameter."""
        now = [p.detach().cpu() for p in self.parameters()]
        return not all(map(torch.equal, self.start, now))


def _cached(features: Tensor, tokens: bool) -> View:
    width = features.shape[1]
    if not tokens:
        return View(features, width)
    return View(toy_sequences(features).flatten(1), width, partial(nn.Unflatten, 1, (_LENGTH, width)), length=_LENGTH)


def _raw(features: Tensor, name: str, tokens: bool) -> View:
    width = features.shape[1]
    pixels = name == "image"
    rows = (
        (128 + 24 * features).clamp(0, 255).to(torch.uint8).reshape(-1, 3, 2, 4)
        if pixels
        else (32 + 8 * features).clamp(0, 63).long()
    )
    encoder = partial(ToyEncoder, width, pixels, tokens)
    return View(rows, width, encoder, raw=True, length=_LENGTH if tokens else 1)
