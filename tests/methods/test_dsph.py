"""DSPH against the terms of its loss, written out, and its table of codewords."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from hashbench.config import with_preset
from hashbench.errors import Incompatible
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

DSPH = methods.get("dsph")
DEFAULT = DSPH.config_class()
MODULE = __import__(DSPH.__module__, fromlist=["_zeta"])

Rows = list[list[float]]
# Items 1 and 2 have two labels and share none; item 3 has two and shares one with item 1; item 4 has none.
LABELS = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 0, 0]]


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _terms(f: Rows, g: Rows, proxies: Rows, zeta: float, alpha: float) -> list[float]:
    positive = negative = 0.0
    for h in (f, g):
        near = [1 - _cos(h[i], proxies[c]) for i, c in product(range(5), range(4)) if LABELS[i][c]]
        far = [max(0, _cos(h[i], proxies[c]) - zeta) for i, c in product(range(5), range(4)) if not LABELS[i][c]]
        positive, negative = positive + sum(near) / len(near), negative + sum(far) / len(far)
    irrelevant = 0.0
    for a, b in ((f, f), (g, g), (f, g)):
        found = [max(0, _cos(a[i], b[j]) - zeta) for i, j in ((1, 2), (2, 1))]
        irrelevant += alpha * sum(found) / len(found)
    return [positive, negative, irrelevant]


@pytest.mark.parametrize(("zeta", "alpha"), [(0.0, 0.8), (0.25, 2.0), (-0.5, 0.0)])
def test_the_loss_is_that_of_the_paper(zeta: float, alpha: float) -> None:
    f, g, proxies = _rows(0, 5, 3), _rows(1, 5, 3), _rows(2, 4, 3)
    found = DSPH(replace(DEFAULT, alpha=alpha))._losses(f, g, torch.tensor(LABELS).double(), proxies, zeta)
    assert found.tolist() == pytest.approx(_terms(f.tolist(), g.tolist(), proxies.tolist(), zeta, alpha), abs=1e-9)


def test_no_two_irrelevant_items_of_several_labels_cost_nothing() -> None:
    f, g, proxies = _rows(0, 5, 3), _rows(1, 5, 3), _rows(2, 4, 3)
    single = torch.eye(5, 4).double()
    assert DSPH(DEFAULT)._losses(f, g, single, proxies, 0.0)[2] == 0


@pytest.mark.parametrize(
    ("bits", "classes", "zeta"),
    [(k, c, 0.0) for k in (16, 32, 64, 128) for c in (21, 24)]
    + [(16, 80, 0.25), (32, 80, 0.125), (64, 80, 0.0), (128, 80, 0.0)],
)
def test_zeta_is_that_of_the_code_s_table(bits: int, classes: int, zeta: float) -> None:
    assert MODULE._zeta(bits, classes) == zeta


@pytest.mark.parametrize(("bits", "classes"), [(4, 4), (5, 4), (6, 4), (5, 8)])
def test_codewords_of_that_distance_exist(bits: int, classes: int) -> None:
    """Searched among all linear codes: no other even distance is as large."""
    m = int(math.log2(classes))
    words = list(product((0, 1), repeat=bits))

    def distance(generators: tuple[tuple[int, ...], ...]) -> int:
        weights = [
            sum(sum(c * g[j] for c, g in zip(choice, generators, strict=True)) % 2 for j in range(bits))
            for choice in product((0, 1), repeat=m)
            if any(choice)
        ]
        return min(weights)

    best = max(
        distance(generators) for generators in product(words[1:], repeat=m) if list(generators) == sorted(generators)
    )
    even = best - best % 2
    assert MODULE._zeta(bits, classes) == max(0.0, 1 - 2 * even / bits)


def test_too_few_bits_are_refused() -> None:
    with pytest.raises(Incompatible, match="4 bits have no room for 16 proxies"):
        MODULE._zeta(4, 16)


def test_proxies_move_and_depend_on_the_seed() -> None:
    found: list[list[float]] = []
    for seed in (0, 1):
        run = Run(8, seed=seed, max_epochs=8)
        DSPH(DEFAULT).train(toy_items(40), run)
        found.append([event["proxies"] for event in run.events])
    assert len(set(found[0])) == 8, "proxies are trained"
    assert found[0][0] != found[1][0]


def test_the_paper_s_values() -> None:
    paper = with_preset(DSPH.config_class, "paper")
    assert (paper.alpha, paper.dropout, paper.proxy_lr, paper.epochs, paper.batch_size) == (0.8, 0.2, 0.02, 100, 128)
    assert (paper.lr, paper.encoder_lr, paper.warm_up, paper.weight_decay, paper.hidden) == (1e-3, 1e-5, 0.1, 0.2, 0)


def test_dropout_belongs_to_training() -> None:
    items = toy_items(40)
    hasher = DSPH(replace(DEFAULT, dropout=0.9)).train(items, Run(8, max_epochs=1))
    outputs = [hasher.outputs("image", items.image) for _ in range(2)]
    assert torch.equal(*outputs) and bool((outputs[0] != 0).all())


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    DSPH(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
