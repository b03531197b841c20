"""SePH: its divergence written out, its gradient by finite differences, its regression against SciPy."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor

from hashbench.method import Run
from hashbench.registry import methods

from .pairs import pairs

SePH = methods.get("seph")
DEFAULT = SePH.config_class()
MODULE = __import__(SePH.__module__, fromlist=["_divergence"])


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _affinity(n: int) -> Tensor:
    return torch.nn.functional.normalize(pairs(n=n).need_labels().double())


def _written_out(h: Tensor, affinity: Tensor) -> float:
    n = len(h)
    off = [(i, j) for i in range(n) for j in range(n) if i != j]
    p = {(i, j): float(affinity[i] @ affinity[j]) for i, j in off}
    q = {(i, j): 1 / (1 + 0.25 * float((h[i] - h[j]).pow(2).sum())) for i, j in off}
    p_sum, q_sum = sum(p.values()), sum(q.values())
    return sum(p[e] / p_sum * math.log(p[e] / p_sum / (q[e] / q_sum)) for e in off if p[e] > 0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 5.0])
def test_the_divergence_is_kullback_and_leibler_s(scale: float) -> None:
    h, affinity = scale * _normal(11, 3), _affinity(11)
    assert MODULE._divergence(h, affinity)[0] == pytest.approx(_written_out(h, affinity), rel=1e-6, abs=1e-9)


def test_the_gradient_is_that_of_the_divergence() -> None:
    h, affinity = _normal(9, 3), _affinity(9)
    gradient = MODULE._divergence(h, affinity)[1]
    for i in range(9):
        for b in range(3):
            step = torch.zeros_like(h)
            step[i, b] = 1e-5
            slope = (_written_out(h + step, affinity) - _written_out(h - step, affinity)) / 2e-5
            assert gradient[i, b].item() == pytest.approx(slope, abs=1e-8)


def test_blocks_of_rows_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    h, affinity = _normal(30, 4), _affinity(30)
    whole = MODULE._divergence(h, affinity)
    monkeypatch.setattr(MODULE, "_BLOCK", 7)
    parts = MODULE._divergence(h, affinity)
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    assert torch.allclose(parts[1], whole[1], atol=1e-15)


@pytest.mark.parametrize("n", [60, 300])
def test_codes_come_nearer_to_the_affinities(n: int) -> None:
    run, items = Run(16), pairs(n=n)
    h = SePH(DEFAULT)._codes(items.need_labels(), run)
    objectives = [event["objective"] for event in run.events]
    assert min(objectives) < 0.5 * objectives[0]
    weight = DEFAULT.alpha / (16 * n)
    kept = MODULE._divergence(h, torch.nn.functional.normalize(items.need_labels()))[0]
    assert kept + weight * (h.abs() - 1).pow(2).sum().item() == pytest.approx(min(objectives), rel=1e-5)


def test_the_regression_of_every_bit_is_the_one_that_scipy_finds() -> None:
    items, stream = pairs(n=50), torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(items.image.features().double())
    phi = torch.exp(-torch.cdist(x, x[:6]).pow(2))
    k, codes = phi[:6], torch.where(torch.rand(50, 2, generator=stream) < 0.5, -1.0, 1.0).double()
    found = SePH(replace(DEFAULT, newton_steps=2000, c=0.1))._regress(phi, k, codes)
    for bit in range(2):

        def loss(w: np.ndarray, b: int = bit) -> float:
            margins = codes[:, b].numpy() * (phi.numpy() @ w)
            return float(np.logaddexp(0, -margins).sum() + 0.1 * w @ k.numpy() @ w)

        best = scipy.optimize.minimize(loss, np.zeros(6), tol=1e-12)
        assert loss(found[:, bit].numpy()) == pytest.approx(best.fun, rel=1e-6)


def test_no_step_of_the_regression_raises_its_loss() -> None:
    phi = torch.rand(40, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    k, codes = torch.eye(5, dtype=torch.float64), torch.where(phi[:, :3] > 0.5, 1.0, -1.0).double()
    losses = []
    for steps in range(1, 8):
        w = SePH(replace(DEFAULT, newton_steps=steps))._regress(phi, k, codes)
        losses.append(torch.nn.functional.softplus(-codes * (phi @ w)).sum() + DEFAULT.c * (w * (k @ w)).sum())
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(losses))


def test_k_means_centres_are_nearer_to_the_items_than_the_items_they_started_from() -> None:
    x = pairs(n=200).image.features()
    spread = {}
    for sampling in ("kmeans", "random"):
        method = SePH(replace(DEFAULT, anchors=8, sampling=sampling))
        anchors = method._anchors(x, torch.Generator().manual_seed(0))
        assert anchors.shape == (8, 7)
        spread[sampling] = torch.cdist(x, anchors).amin(1).pow(2).mean().item()
    assert spread["kmeans"] < spread["random"]
    assert {tuple(row) for row in anchors.tolist()} <= {tuple(row) for row in x.tolist()}, "random anchors are items"
