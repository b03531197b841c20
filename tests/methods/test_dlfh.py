"""DLFH: a bound below its likelihood, steps that exhaustive search cannot better, and a likelihood that never falls."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from hashbench.losses import sign
from hashbench.method import Run
from hashbench.nn import ridge_regression
from hashbench.registry import methods

from .pairs import pairs, standardised

DLFH = methods.get("dlfh")
DEFAULT = DLFH.config_class()


def _codes(n: int, k: int, seed: int) -> Tensor:
    return sign(torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def _likelihood(u: Tensor, v: Tensor, s: Tensor, lam: float) -> float:
    """L, one pair at a time."""
    total = 0.0
    for i in range(len(u)):
        for j in range(len(v)):
            theta = lam / u.shape[1] * u[i] @ v[j]
            total += float(s[i, j] * theta - torch.log1p(theta.exp()))
    return total


def _similarity(n: int, m: int) -> Tensor:
    return pairs(n=n).similarity(torch.arange(n), torch.arange(m)).double()


@pytest.mark.parametrize("lam", [1.0, 8.0, 16.0])
@pytest.mark.parametrize("seed", range(3))
def test_no_round_lowers_the_likelihood_of_the_sampled_pairs(lam: float, seed: int) -> None:
    u, v, s = _codes(12, 4, seed), _codes(5, 4, seed + 50), _similarity(12, 5)
    method = DLFH(replace(DEFAULT, lam=lam))
    for _ in range(3):
        after = method._update(u, v, s)
        assert _likelihood(after, v, s, lam) >= _likelihood(u, v, s, lam) - 1e-9
        u = after


def test_a_bit_is_the_best_of_all_under_the_quadratic_bound() -> None:
    """Exhaustive search over the 32 columns of five items, one bit each, so that a round is a single step."""
    lam, n, m = 3.0, 5, 4
    u, v, s = _codes(n, 1, 0), _codes(m, 1, 1), _similarity(n, m)
    theta = lam * u @ v.T

    def bound(new: Tensor) -> float:
        """L at u, its slope, and the least curvature that softplus can have: -1/4 in θ."""
        change = lam * (new - u) @ v.T
        slope = ((s - theta.sigmoid()) * change).sum()
        return _likelihood(u, v, s, lam) + float(slope - change.pow(2).sum() / 8)

    every = [torch.tensor(column, dtype=torch.float64)[:, None] for column in product((-1.0, 1.0), repeat=n)]
    assert all(bound(column) <= _likelihood(column, v, s, lam) + 1e-9 for column in every)
    found = DLFH(replace(DEFAULT, lam=lam))._update(u, v, s)
    assert bound(found) == pytest.approx(max(map(bound, every)), rel=1e-12)


def test_codes_come_to_follow_the_labels() -> None:
    items = pairs(n=150, classes=4)
    run = Run(16)
    u, v = DLFH(DEFAULT)._codes(items, run)
    everything = torch.arange(150)
    same = items.similarity(everything, everything)
    likeness = u @ v.T / 16
    assert (likeness * same).sum() / same.sum() > (likeness * (1 - same)).sum() / (1 - same).sum() + 0.5
    losses = [event["loss"] for event in run.events]
    assert len(losses) == 30 and losses[-1] < losses[0]


def test_hash_functions_are_ridge_regressions_onto_each_side_s_codes() -> None:
    items = pairs()
    with torch.random.fork_rng():
        codes = DLFH(DEFAULT)._codes(items, Run(6))
    hasher = DLFH(DEFAULT).train(items, Run(6))
    for name, target in zip(("image", "text"), codes, strict=True):
        x = torch.from_numpy(standardised(items, name))
        expected = x @ ridge_regression(x, target.double(), DEFAULT.ridge)
        assert torch.allclose(hasher.modules[name](items.views[name].features()).double(), expected, atol=1e-4)


def test_as_many_items_are_sampled_as_there_are_bits_or_as_is_set() -> None:
    items, seen = pairs(n=40), []

    class Watched(DLFH):
        def _update(self, u: Tensor, v: Tensor, similarity: Tensor) -> Tensor:
            seen.append(similarity.shape)
            return super()._update(u, v, similarity)

    Watched(DEFAULT).train(items, Run(6, max_epochs=1))
    Watched(replace(DEFAULT, samples=11)).train(items, Run(6, max_epochs=1))
    Watched(replace(DEFAULT, samples=99)).train(items, Run(6, max_epochs=1))
    assert seen == [(40, 6)] * 2 + [(40, 11)] * 2 + [(40, 40)] * 2
