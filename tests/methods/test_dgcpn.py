"""DGCPN against the equations of its paper, written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hashbench.config import with_preset
from hashbench.errors import Diverged
from hashbench.losses import sign
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

DGCPN = methods.get("dgcpn")
DEFAULT = DGCPN.config_class()

Rows = list[list[float]]


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _rows(seed: int, m: int, d: int) -> Rows:
    return torch.rand(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def _s(x: Rows, y: Rows, a1: float, a2: float, k: int) -> Rows:
    n = len(x)
    close = [[a1 * _cos(y[i], y[j]) + (1 - a1) * _cos(x[i], x[j]) for j in range(n)] for i in range(n)]
    p = []
    for i in range(n):
        near = sorted((j for j in range(n) if j != i), key=lambda j: -close[i][j])[:k]
        total = sum(close[i][j] for j in near)
        p.append([close[i][j] / total if j in near else 0.0 for j in range(n)])
    shared = [[sum(p[i][m] * p[j][m] for m in range(n)) for j in range(n)] for i in range(n)]
    return [[2 * ((1 - a2) * close[i][j] + a2 * 2 * k * shared[i][j]) - 1 for j in range(n)] for i in range(n)]


@pytest.mark.parametrize(("a1", "a2", "k"), [(0.01, 0.3, 4), (0.5, 0.9, 2), (0.3, 0.0, 7)])
def test_the_similarity_is_that_of_pairs_and_of_their_neighbours(a1: float, a2: float, k: int) -> None:
    x, y = _rows(0, 10, 3), _rows(1, 10, 4)
    method = DGCPN(replace(DEFAULT, a1=a1, a2=a2, neighbours=k / 10))
    features = torch.tensor(x).double(), torch.tensor(y).double()
    found = method._similarity(*features, method._graph(*features, Run(4)))
    assert torch.allclose(found, torch.tensor(_s(x, y, a1, a2, k)).double(), atol=1e-6)


def test_a_large_graph_has_its_neighbours_among_some_items() -> None:
    x, y = torch.tensor(_rows(5, 40, 3)).float(), torch.tensor(_rows(6, 40, 4)).float()
    method = DGCPN(replace(DEFAULT, neighbours=0.25, a2=1.0))
    whole, some = method._graph(x, y, Run(4)), method._graph(x, y, Run(4), most=20)
    assert (whole.shape, some.shape) == ((40, 40), (40, 20))
    assert torch.allclose(some.sum(1), torch.full((40,), math.sqrt(2 * 5)), atol=1e-5)
    assert bool(((some > 0).sum(1) == 5).all())
    nodes = torch.randperm(40, generator=Run(4).generator("graph"))[:20]
    assert bool((some[nodes, torch.arange(20)] == 0).all()), "an item is no neighbour of itself"


def test_the_loss_is_the_sum_over_the_pairs_of_a_batch() -> None:
    f, g, s, m = _rows(2, 4, 3), _rows(3, 4, 3), _rows(4, 4, 4), 4
    pairs = [(i, j) for i in range(m) for j in range(m)]
    ii, it, tt, ti = (
        {(i, j): _cos(a[i], b[j]) for i, j in pairs} for a, b in ((f, f), (f, g), (g, g), (g, f))
    )  # fmt: skip
    expected = sum((it[i, i] - 1.5) ** 2 for i in range(m)) / m
    for c in (ii, it, tt):
        expected += 0.7 * sum((c[i, j] - s[i][j]) ** 2 for i, j in pairs if i != j) / (m * (m - 1))
    for c, d in ((it, ii), (it, tt), (ii, tt), (it, ti)):
        expected += 0.2 * sum((c[pair] - d[pair]) ** 2 for pair in pairs) / m**2
    method = DGCPN(replace(DEFAULT, dw=0.7, cw=0.2))
    found = method._loss(*(torch.tensor(rows).double() for rows in (f, g, s)))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_batch_makes_a_real_step_and_one_against_the_signs_of_each_view() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watched(DGCPN):
        def _loss(self, f: Tensor, g: Tensor, s: Tensor) -> Tensor:
            seen.append((f, g))
            return super()._loss(f, g, s)

    Watched(replace(DEFAULT, dropout=0.0)).train(toy_items(32), Run(8, max_epochs=1))
    (f, g), (f2, g2), (f3, g3) = seen
    assert f.requires_grad and g.requires_grad and f2.requires_grad and g3.requires_grad
    assert torch.equal(g2, sign(g)) and torch.equal(f3, sign(f)), "codes are those of the real step"
    assert not torch.equal(f2, f) and not torch.equal(g3, g), "the networks have moved"


def test_the_paper_s_schedule() -> None:
    paper = with_preset(DGCPN.config_class, "paper")
    assert (paper.a1, paper.a2, paper.dw, paper.cw, paper.own, paper.neighbours) == (0.01, 0.3, 1.0, 1.0, 1.5, 0.4)
    assert (paper.epochs, paper.batch_size, paper.optimiser, paper.dropout) == (100, 32, "sgd", 0.5)
    run = WatchedRun(4, max_epochs=1)
    DGCPN(replace(paper, hidden=8)).train(toy_items(64), run)
    assert [step.rates for step in run.steps] == [(0.005, 0.005), (0.005,), (0.005,)] * 2


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=2)
    hasher = DGCPN(replace(DEFAULT, lr=1e-2, encoder_lr=1e-3)).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    assert {step.rates[:2] for step in run.steps} == {(1e-2, 1e-3 if pretrained else 1e-2)}


def test_two_items_are_enough() -> None:
    items = Items({"image": View(torch.eye(2), 2), "text": View(torch.eye(2), 2)})
    hasher = DGCPN(DEFAULT).train(items, Run(4, max_epochs=2))
    assert hasher.encode("image", items.image).shape == (2, 4)


def test_nan_diverges() -> None:
    items = toy_items(40)
    items.image.rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        DGCPN(DEFAULT).train(items, Run(8, max_epochs=2))


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    DGCPN(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
