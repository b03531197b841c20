"""What the tests of closed-form methods share: two views of one signal, in unequal scales and far from zero."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hashbench.method import Items, View

Matrix = NDArray[np.float64]


def pairs(n: int = 60, dx: int = 7, dy: int = 5, classes: int = 3, seed: int = 0) -> Items:
    """Items with one or two labels, which both views (n, dx) and (n, dy) show through noise."""
    rng = np.random.default_rng(seed)
    labels = np.eye(classes)[rng.integers(classes, size=n)]
    labels[np.arange(0, n, 4), rng.integers(classes, size=len(range(0, n, 4)))] = 1
    views = {}
    for name, d in (("image", dx), ("text", dy)):
        signal = labels @ rng.normal(size=(classes, d)) + rng.normal(size=(n, d))
        views[name] = View(torch.tensor(10 * rng.random(d) + signal * rng.uniform(1, 5, d), dtype=torch.float32), d)
    return Items(views, torch.tensor(labels, dtype=torch.float32))


def standardised(items: Items, name: str) -> Matrix:
    x = items.views[name].features().double().numpy()
    return (x - x.mean(0)) / x.std(0)


def up_to_sign(found: Matrix, expected: Matrix) -> Matrix:
    """``found`` with the signs of its columns turned to those of ``expected``."""
    return found * np.sign((found * expected).sum(0))
