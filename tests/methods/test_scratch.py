"""SCRATCH: its objective written out, and alternation that never raises it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from hashbench.method import Run
from hashbench.registry import methods

from .pairs import pairs, standardised

SCRATCH = methods.get("scratch")
DEFAULT = SCRATCH.config_class()


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_objective_is_the_paper_s() -> None:
    config = replace(DEFAULT, lambda_x=0.3, alpha=2.0, mu=3.0, gamma=0.5)
    x, labels = [_normal(6, 4), _normal(6, 5, seed=1)], pairs(n=6).need_labels().double()
    u, w = [_normal(2, 4, seed=2), _normal(2, 5, seed=3)], [_normal(4, 2, seed=4), _normal(5, 2, seed=5)]
    g, v = _normal(2, 3, seed=6), _normal(6, 2, seed=7)
    r = torch.linalg.qr(_normal(2, 2, seed=8))[0]
    b = np.where((v @ r).numpy() >= 0, 1, -1)

    def square(m: torch.Tensor) -> float:
        return float(sum(value**2 for value in m.flatten().tolist()))

    expected = 2.0 * square(labels - v @ g) + square(torch.from_numpy(b) - v @ r) + 0.5 * (square(v) + square(g))
    for f, u_t, w_t, weight in zip(x, u, w, (0.3, 0.7), strict=True):
        expected += weight * square(f - v @ u_t) + 3.0 * square(v - f @ w_t) + 0.5 * (square(u_t) + square(w_t))
    assert SCRATCH(config)._objective(x, labels, u, g, w, v, r) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("settings", [{}, {"alpha": 5.0, "mu": 1.0}, {"gamma": 50.0}, {"lambda_x": 0.0}])
def test_the_objective_never_rises(settings: dict[str, float]) -> None:
    run = Run(8)
    SCRATCH(replace(DEFAULT, **settings)).train(pairs(), run)
    objectives = [event["objective"] for event in run.events]
    assert len(objectives) == 20
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(objectives))


def test_hash_functions_are_the_regressions_of_the_centred_kernel() -> None:
    items = pairs()
    config = replace(DEFAULT, anchors=9)
    hasher = SCRATCH(config).train(items, Run(4))
    for name in ("image", "text"):
        x = standardised(items, name)
        chosen = torch.randperm(60, generator=Run(4).generator(f"anchors/{name}"))[:9].numpy()
        squares = ((x[:, None] - x[None, chosen]) ** 2).sum(2)
        phi = np.exp(-squares / (2 * squares.mean()))
        out = hasher.modules[name](items.views[name].features()).numpy()
        centred = phi - phi.mean(0)
        fitted = centred @ np.linalg.lstsq(centred, out, rcond=None)[0]
        assert np.allclose(out, fitted, atol=1e-4 * np.abs(out).max()), "linear in the centred kernel, no offset"
