"""DJSRH against the equations of its paper, written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

DJSRH = methods.get("djsrh")
DEFAULT = DJSRH.config_class()

Rows = list[list[float]]


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _s(x: Rows, y: Rows, beta: float, eta: float, mu: float) -> Rows:
    m = len(x)
    joint = [
        [beta * (2 * _cos(x[i], x[j]) - 1) + (1 - beta) * (2 * _cos(y[i], y[j]) - 1) for j in range(m)]
        for i in range(m)
    ]
    shared = [[sum(joint[i][k] * joint[j][k] for k in range(m)) / m for j in range(m)] for i in range(m)]
    return [[mu * ((1 - eta) * joint[i][j] + eta * shared[i][j]) for j in range(m)] for i in range(m)]


def _rows(seed: int, m: int, d: int) -> Rows:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


@pytest.mark.parametrize(("beta", "eta", "mu"), [(0.9, 0.4, 1.5), (0.3, 0.0, 1.0), (1.0, 1.0, 2.0)])
def test_the_similarity_is_joined_and_sharpened(beta: float, eta: float, mu: float) -> None:
    x, y = _rows(0, 5, 3), _rows(1, 5, 4)
    method = DJSRH(replace(DEFAULT, beta=beta, eta=eta, mu=mu))
    found = method._similarity(torch.tensor(x).double(), torch.tensor(y).double())
    assert torch.allclose(found, torch.tensor(_s(x, y, beta, eta, mu)).double(), atol=1e-6)


def _linear(outputs: Rows) -> nn.Linear:
    net = nn.Linear(len(outputs), len(outputs[0]), bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(outputs).T)
    return net


def test_the_first_loss_is_the_sum_over_the_pairs_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch of four items whose networks' outputs are given; α is 1 in the first epoch and √2 in the second."""
    h, z = _rows(2, 4, 3), _rows(3, 4, 3)
    items = Items({"image": View(torch.eye(4), 4), "text": View(torch.eye(4), 4)})
    x, y = _rows(4, 4, 5), _rows(5, 4, 6)
    of = {id(items.image): (h, x), id(items.text): (z, y)}
    module = __import__(DJSRH.__module__, fromlist=["hash_network"])
    monkeypatch.setattr(
        module, "hash_network", lambda view, bits, hidden: nn.Sequential(nn.Identity(), _linear(of[id(view)][0]))
    )
    monkeypatch.setattr(module, "untrained_features", lambda view: torch.tensor(of[id(view)][1]))
    config = replace(DEFAULT, beta=0.6, eta=0.3, mu=1.2, lambda1=0.2, lambda2=0.7, epochs=2, lr=0.0)
    run = WatchedRun(3)
    DJSRH(config).fit(items, run)
    s = _s(x, y, 0.6, 0.3, 1.2)
    for step, alpha in zip(run.steps, (1.0, math.sqrt(2)), strict=True):
        f, g = ([[math.tanh(alpha * value) for value in row] for row in rows] for rows in (h, z))
        expected = 0.0
        for weight, a, b in ((0.2, f, f), (1.0, f, g), (0.7, g, g)):
            expected += weight * sum((_cos(a[i], b[j]) - s[i][j]) ** 2 for i in range(4) for j in range(4)) / 16
        assert step.loss == pytest.approx(expected, rel=1e-5)


def test_the_paper_s_schedule() -> None:
    paper = with_preset(DJSRH.config_class, "paper")
    assert (paper.beta, paper.eta, paper.mu, paper.lambda1, paper.lambda2) == (0.9, 0.4, 1.5, 0.1, 0.1)
    assert (paper.epochs, paper.batch_size, paper.optimiser) == (80, 32, "sgd")
    run = WatchedRun(4, max_epochs=2)
    DJSRH(replace(paper, hidden=8)).train(toy_items(64), run)
    assert {step.rates for step in run.steps} == {(1e-2, 1e-2)}
    assert len(run.steps) == 2 * 2, "two batches of 32 an epoch"


@pytest.mark.parametrize("pretrained", [True, False])
def test_the_similarity_of_raw_views_is_that_of_encoders_before_training(pretrained: bool) -> None:
    seen: list[Tensor] = []

    class Watched(DJSRH):
        def _similarity(self, x: Tensor, y: Tensor) -> Any:
            seen.append(x)
            return super()._similarity(x, y)

    run = WatchedRun(8, max_epochs=3)
    hasher = Watched(replace(DEFAULT, lr=1e-2, encoder_lr=1e-3)).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    assert {step.rates for step in run.steps} == {(1e-2, 1e-3 if pretrained else 1e-2) * 2}
    first, *_, last = (x[x[:, 0].argsort()] for x in seen)
    assert torch.equal(first, last), "the target stays while the encoder moves"


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    DJSRH(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
