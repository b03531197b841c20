"""DCHMT against the loss of its paper, written out over pairs of two-way softmaxes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from hashbench.config import with_preset
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun

DCHMT = methods.get("dchmt")
DEFAULT = DCHMT.config_class()

Rows = list[list[float]]
LABELS = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]


def _rows(seed: int, m: int, d: int) -> Rows:
    return (2 * torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).tolist()


def _u(pairs: list[float]) -> list[float]:
    """Softmax of each two neighbours, one after the other."""
    u = []
    for a, b in zip(pairs[::2], pairs[1::2], strict=True):
        total = math.exp(a) + math.exp(b)
        u += [math.exp(a) / total, math.exp(b) / total]
    return u


def _loss(x: Rows, y: Rows, theta: float) -> float:
    """L(X, Y) of vectors u."""
    m, tau, total = len(x), math.sqrt(len(x[0]) * theta), 0.0
    for i in range(m):
        for j in range(m):
            d = math.dist(x[i], y[j])
            similar = any(a and b for a, b in zip(LABELS[i], LABELS[j], strict=True))
            total += d**2 if similar else (tau - min(d, tau)) ** 2
    return total / m**2


@pytest.mark.parametrize("theta", [0.05, 0.5, 0.75])
def test_the_first_loss_is_the_sum_over_pairs_of_softmaxes(theta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks whose last layer but one gives these pairs for the four items of a batch."""
    image, text = _rows(0, 4, 6), _rows(1, 4, 6)
    items = Items({"image": View(torch.eye(4), 4), "text": View(torch.eye(4), 4)}, torch.tensor(LABELS))
    of = {id(items.image): image, id(items.text): text}

    def network(view: View, pairs: int, hidden: int) -> nn.Sequential:
        assert pairs == 6, "two outputs a bit"
        layer = nn.Linear(4, pairs, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(of[id(view)]).T)
        return nn.Sequential(nn.Identity(), layer)

    monkeypatch.setattr(__import__(DCHMT.__module__, fromlist=["hash_network"]), "hash_network", network)
    run = WatchedRun(3, max_epochs=1)
    hasher = DCHMT(replace(DEFAULT, theta=theta, lr=0.0)).fit(items, run)
    x, y = [_u(row) for row in image], [_u(row) for row in text]
    assert run.steps[0].loss == pytest.approx(_loss(x, y, theta) + _loss(x, x, theta) + _loss(y, y, theta), rel=1e-5)
    argmax = [[1 if u[2 * j + 1] > u[2 * j] else -1 for j in range(3)] for u in x]
    assert hasher.encode("image", items.image).tolist() == argmax


def test_the_gradient_is_finite_where_two_items_are_the_same() -> None:
    p = torch.full((4, 3), 0.5, requires_grad=True)
    DCHMT(DEFAULT)._loss(p, p, torch.zeros(4, 4)).backward()
    assert p.grad is not None and bool(torch.isfinite(p.grad).all())


def test_the_paper_s_values() -> None:
    paper = with_preset(DCHMT.config_class, "paper")
    assert (paper.theta, paper.epochs, paper.batch_size, paper.lr) == (0.75, 100, 256, 1e-4)
    assert (paper.encoder_lr, paper.warm_up, paper.weight_decay, paper.hidden) == (1e-5, 0.1, 0.2, 128)


def test_the_step_rises_and_falls_over_the_whole_training() -> None:
    run = WatchedRun(4)
    DCHMT(replace(DEFAULT, epochs=5, batch_size=16, lr=2.0, warm_up=0.3, hidden=4)).train(toy_items(32), run)
    expected = []
    for step in range(10):
        x = (step + 0.5) / 10
        expected.append(2.0 * (x / 0.3 if x < 0.3 else 0.5 + 0.5 * math.cos(math.pi * x)))
    assert [step.rates for step in run.steps] == [pytest.approx((rate, rate)) for rate in expected]


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    DCHMT(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
