"""CMFH: its objective written out, and each step the minimum over its block."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from hashbench.method import Run
from hashbench.nn import ridge_regression
from hashbench.registry import methods

from .pairs import pairs, standardised

CMFH = methods.get("cmfh")
CONFIG = replace(CMFH.config_class(), lam=0.3, mu=2.0, gamma=0.5, ridge=0.2)
WEIGHTS = (0.3, 0.7)


def _state(k: int = 3) -> tuple[list[Tensor], list[Tensor], Tensor, list[Tensor]]:
    items, stream = pairs(n=12), torch.Generator().manual_seed(0)
    x = [torch.from_numpy(standardised(items, name)) for name in ("image", "text")]
    u, p = ([torch.randn(*s, generator=stream, dtype=torch.float64) for s in shapes]
            for shapes in (((k, 7), (k, 5)), ((7, k), (5, k))))  # fmt: skip
    return x, u, torch.randn(12, k, generator=stream, dtype=torch.float64), p


def test_the_objective_is_the_paper_s() -> None:
    x, u, v, p = _state()
    expected = 0.5 * float((v**2).sum())
    for rows, f, m, weight in zip(x, u, p, WEIGHTS, strict=True):
        for i in range(12):
            expected += weight * float(sum((rows[i, d] - v[i] @ f[:, d]) ** 2 for d in range(rows.shape[1])))
            expected += weight * 2.0 * float(sum((v[i, b] - rows[i] @ m[:, b]) ** 2 for b in range(3)))
        delta = 0.2 * np.mean([float(rows[:, d] @ rows[:, d]) for d in range(rows.shape[1])])
        expected += weight * (0.5 * float((f**2).sum()) + 2.0 * delta * float((m**2).sum()))
    assert CMFH(CONFIG)._objective(x, u, v, p, WEIGHTS) == pytest.approx(expected, rel=1e-10)


def _slopes(x: list[Tensor], u: list[Tensor], v: Tensor, p: list[Tensor], block: Tensor) -> list[float]:
    """Central differences of the objective in a few entries of a block, changed in place."""
    method, slopes = CMFH(CONFIG), []
    for entry in ((0, 0), (1, 2), (2, 1)):
        found = []
        for change in (1e-4, -2e-4):
            block[entry] += change
            found.append(method._objective(x, u, v, p, WEIGHTS))
        block[entry] += 1e-4
        slopes.append((found[0] - found[1]) / 2e-4)
    return slopes


def test_every_step_is_the_minimum_over_its_block() -> None:
    x, u, v, p = _state()
    method = CMFH(CONFIG)
    start = max(map(abs, _slopes(x, u, v, p, v)))
    u[0] = method._factor(x[0], v)
    assert np.allclose(_slopes(x, u, v, p, u[0]), 0, atol=1e-5)
    v = method._latent(x, u, p, WEIGHTS)
    assert np.allclose(_slopes(x, u, v, p, v), 0, atol=1e-5) and start > 1
    p[1] = ridge_regression(x[1], v, CONFIG.ridge)
    assert np.allclose(_slopes(x, u, v, p, p[1]), 0, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"mu": 1.0}, {"ridge": 1e-7}, {"lam": 0.9}])
def test_the_objective_never_rises(settings: dict[str, float]) -> None:
    run = Run(8)
    CMFH(replace(CMFH.config_class(), **settings)).train(pairs(), run)
    objectives = [event["objective"] for event in run.events]
    assert len(objectives) == 25
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(objectives))
