"""STMH: its objective written out, every step the minimum over its block, codes with half of their bits set."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from hashbench.method import Run
from hashbench.registry import methods

from .pairs import pairs, standardised

STMH = methods.get("stmh")
DEFAULT = STMH.config_class()
CONFIG = replace(DEFAULT, r=0.3, lam=0.7, gamma=0.2)
MODULE = __import__(STMH.__module__, fromlist=["_largest"])
K = 4


def _state(n: int = 9) -> dict[str, Tensor]:
    items, stream = pairs(n=n), torch.Generator().manual_seed(0)
    x, y = (torch.from_numpy(standardised(items, name)) for name in ("image", "text"))
    shapes = {"f1": (K, 7), "f2": (K, 5), "g": (n, K), "r": (K, K)}
    state = {name: torch.randn(*s, generator=stream, dtype=torch.float64) for name, s in shapes.items()}
    t = MODULE._largest(torch.rand(n, K, generator=stream, dtype=torch.float64), 2)
    return {"x": x, "y": y, **state, "t": t}


def _objective(s: dict[str, Tensor]) -> float:
    return STMH(CONFIG)._objective(s["x"], s["y"], s["f1"], s["f2"], s["g"], s["t"], s["r"])


def test_the_objective_is_the_paper_s() -> None:
    s = _state()
    expected = 0.0
    for i in range(9):
        expected += 0.3 * float((s["x"][i] - s["g"][i] @ s["f1"]).pow(2).sum().sqrt())
        for j in range(K):
            if s["t"][i, j]:
                expected += 0.7 * float((s["y"][i] - s["f2"][j]).pow(2).sum())
            expected += 0.7 * float((s["t"][i, j] - s["g"][i] @ s["r"][:, j]) ** 2)
    expected += 0.2 * sum(float(s[name].pow(2).sum()) for name in ("r", "g", "f1", "f2"))
    assert _objective(s) == pytest.approx(expected, rel=1e-10)


def _slopes(s: dict[str, Tensor], name: str) -> list[float]:
    """Central differences of the objective in every entry of a block."""
    slopes = []
    for entry in np.ndindex(*s[name].shape):
        found = []
        for change in (1e-5, -1e-5):
            moved = s[name].clone()
            moved[entry] += change
            found.append(_objective({**s, name: moved}))
        slopes.append((found[0] - found[1]) / 2e-5)
    return slopes


def test_topics_are_the_minimum_over_their_block() -> None:
    s = _state()
    s["f2"] = STMH(CONFIG)._topics(s["y"], s["t"])
    assert np.allclose(_slopes(s, "f2"), 0, atol=1e-5)
    s["f2"] = STMH(replace(CONFIG, topics="factorisation"))._topics(s["y"], s["t"])
    assert np.abs(_slopes(s, "f2")).max() > 0.1, "the released update is that of another objective"


def test_concepts_solve_the_reweighted_squares_of_every_item() -> None:
    s = _state()
    d = torch.rand(9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    found = STMH(CONFIG)._concepts(s["x"], s["f1"], s["t"], s["r"], d)
    for i in range(9):
        left = 0.3 * d[i] * (s["f1"] @ s["x"][i]) + 0.7 * s["r"] @ s["t"][i]
        right = 0.3 * d[i] * s["f1"] @ s["f1"].T + 0.7 * s["r"] @ s["r"].T + 0.2 * torch.eye(K, dtype=torch.float64)
        assert torch.allclose(found[i], torch.linalg.solve(right, left), atol=1e-10)


def test_a_text_s_topics_are_the_best_of_all_choices() -> None:
    """Exhaustive search over all ways to set two of four bits."""
    s = _state()
    distances = s["f2"].pow(2).sum(1) - 2 * s["y"] @ s["f2"].T
    s["t"] = MODULE._largest(2 * CONFIG.lam * s["g"] @ s["r"] - (1 - CONFIG.r) * distances, 2)
    best = _objective(s)
    for i in range(9):
        for chosen in combinations(range(K), 2):
            t = s["t"].clone()
            t[i] = 0
            t[i, list(chosen)] = 1
            assert _objective({**s, "t": t}) >= best - 1e-10


@pytest.mark.parametrize("settings", [{}, {"gamma": 1e-4}, {"lam": 5.0}, {"r": 0.9}])
def test_the_objective_never_rises(settings: dict[str, float]) -> None:
    run = Run(8)
    STMH(replace(DEFAULT, iterations=20, **settings)).train(pairs(n=80), run)
    objectives = [event["objective"] for event in run.events]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(objectives[1:]))
    assert objectives[-1] < objectives[0]


@pytest.mark.parametrize("bits", [7, 8])
def test_half_of_the_bits_of_a_text_are_set_and_they_are_its_nearest_topics(bits: int) -> None:
    items = pairs(n=40)
    hasher = STMH(DEFAULT).train(items, Run(bits))
    codes = hasher.encode("text", items.text)
    assert set((codes == 1).sum(1).tolist()) == {(bits + 1) // 2}
    y = torch.from_numpy(standardised(items, "text"))
    x = torch.from_numpy(standardised(items, "image"))
    x, y = (rows / rows.pow(2).sum(1).mean().sqrt() for rows in (x, y))
    _, topics = STMH(DEFAULT)._solve(x, y, Run(bits))
    order = torch.cdist(y, topics).argsort(1)[:, : (bits + 1) // 2]
    for code, nearest in zip(codes, order.tolist(), strict=True):
        assert set(np.flatnonzero(code == 1)) == set(nearest)
