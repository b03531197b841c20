"""BATCH: balanced factors, and codes that exhaustive search cannot better."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from hashbench.method import Run
from hashbench.registry import methods

from .pairs import pairs

BATCH = methods.get("batch")
DEFAULT = BATCH.config_class()
MODULE = __import__(BATCH.__module__, fromlist=["_balanced"])


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _random_balanced(n: int, k: int, seed: int) -> Tensor:
    """Some V with VᵀV = nI and Vᵀ1 = 0."""
    draw = _normal(n, k, seed=seed)
    return n**0.5 * torch.linalg.qr(draw - draw.mean(0))[0]


def test_factors_are_balanced_uncorrelated_and_best() -> None:
    z = _normal(20, 4) + 3
    v = MODULE._balanced(z)
    assert torch.allclose(v.T @ v, 20 * torch.eye(4, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(v.sum(0), torch.zeros(4, dtype=torch.float64), atol=1e-9)
    best = (v * z).sum()
    assert all((_random_balanced(20, 4, seed) * z).sum() < best for seed in range(50))
    for seed in range(20):  # and no small turn of V betters it
        turn = _normal(4, 4, seed=seed)
        assert (v @ torch.linalg.matrix_exp(0.1 * (turn - turn.T)) * z).sum() < best


def _similarity(labels: Tensor) -> Tensor:
    """S = GGᵀ, one pair at a time."""
    rows = labels.tolist()
    return torch.tensor(
        [[np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for b in rows] for a in rows], dtype=torch.float64
    )


def test_codes_are_the_best_of_all() -> None:
    """Exhaustive search over all 256 codes of four items, with the similarities written out."""
    n, k, omega = 4, 2, 0.3
    labels = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1]], dtype=torch.float64)
    s, v = _similarity(labels), _random_balanced(n, k, seed=3)
    g = torch.nn.functional.normalize(labels)
    found = torch.where(k * g @ (g.T @ v) + omega * v >= 0, 1.0, -1.0).double()  # as in _codes

    def objective(b: Tensor) -> float:
        return float((k * s - v @ b.T).pow(2).sum() + omega * (b - v).pow(2).sum())

    every = (torch.tensor(b, dtype=torch.float64).reshape(n, k) for b in product((-1.0, 1.0), repeat=n * k))
    assert objective(found) == pytest.approx(min(map(objective, every)), rel=1e-12)


def test_one_iteration_is_the_paper_s_with_the_similarities_written_out() -> None:
    items, k = pairs(n=30), 5
    labels = items.need_labels().double()
    x = [_normal(30, 6), _normal(30, 8, seed=1)]
    config = replace(DEFAULT, iterations=1, eta_0=0.7, eta_1=0.2, eta_2=0.4, omega=0.3)
    found = BATCH(config)._codes(labels, x, Run(k))
    run = Run(k)
    v = torch.randn(30, k, generator=run.generator("latent"), dtype=torch.float64)
    b = torch.where(torch.randn(30, k, generator=run.generator("codes"), dtype=torch.float64) >= 0, 1.0, -1.0).double()
    s, z = _similarity(labels), 0.3 * b
    z = z + k * s @ b
    for weight, matrix in ((0.7, labels), (0.2, x[0]), (0.4, x[1])):
        u = torch.linalg.solve(v.T @ v + 1e-3 * torch.eye(k, dtype=torch.float64), v.T @ matrix)
        z = z + weight * matrix @ u.T
    p, _, qt = torch.linalg.svd(z - z.mean(0), full_matrices=False)
    v = 30**0.5 * p @ qt
    assert torch.equal(found, torch.where(k * s @ v + 0.3 * v >= 0, 1.0, -1.0).double())


def test_codes_follow_the_labels() -> None:
    items = pairs(n=200, classes=4)
    labels = items.need_labels().double()
    b = BATCH(DEFAULT)._codes(labels, [_normal(200, 6), _normal(200, 8, seed=1)], Run(16))
    likeness, same = b @ b.T / 16, (labels @ labels.T > 0).double()
    share = (likeness * same).sum() / same.sum() - (likeness * (1 - same)).sum() / (1 - same).sum()
    assert share > 0.5
