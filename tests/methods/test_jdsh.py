"""JDSH against the equations of its paper, written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from hashbench.config import with_preset
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun

JDSH = methods.get("jdsh")
DEFAULT = JDSH.config_class()
Distribution = __import__(JDSH.__module__, fromlist=["Distribution"]).Distribution

Rows = list[list[float]]


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _rows(seed: int, m: int, d: int) -> Rows:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def test_the_joint_similarity_mixes_both_views_and_the_pairs_that_they_share() -> None:
    x, y, m = _rows(0, 5, 3), _rows(1, 5, 4), 5
    images, texts = ([[2 * _cos(rows[i], rows[j]) - 1 for j in range(m)] for i in range(m)] for rows in (x, y))
    expected = [
        [
            0.5 * images[i][j] + 0.2 * texts[i][j]
            + 0.3 * (_cos(images[i], texts[j]) + _cos(images[j], texts[i])) / 2
            for j in range(m)
        ]
        for i in range(m)
    ]  # fmt: skip
    method = JDSH(replace(DEFAULT, alpha=0.5, beta=0.2, lamb=0.3))
    found = method._joint(torch.tensor(x).double(), torch.tensor(y).double())
    assert torch.allclose(found, torch.tensor(expected).double(), atol=1e-6)


@pytest.mark.parametrize(
    ("s", "factor"),
    [
        (-0.5, 1 + 0.1 * math.exp(0.0)),
        (-0.4, 1 + 0.1 * math.exp(-0.1)),
        (-0.2, 1.0),
        (0.1, 1.0),
        (0.4, 1 + 0.2 * math.exp(-0.3)),
        (0.7, 1 + 0.2),
    ],
)
def test_clear_pairs_are_weighted_by_how_clear_they_are(s: float, factor: float) -> None:
    bounds = Distribution(left=-0.3, right=0.2, low=-0.5, high=0.7)
    method = JDSH(replace(DEFAULT, l1=0.1, l2=0.2, mu=1.4))
    found = method._weighted(torch.tensor([[s]], dtype=torch.float64), bounds)
    assert found.item() == pytest.approx(1.4 * factor * s, rel=1e-9)


def test_the_loss_is_the_sum_over_the_pairs_of_a_batch() -> None:
    f, g, m = _rows(2, 4, 3), _rows(3, 4, 3), 4
    s = torch.randn(m, m, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    s = s + s.T
    expected = -sum(_cos(f[i], g[i]) for i in range(m)) / m
    for weight, a, b in ((1.0, f, g), (1.0, g, f), (0.3, f, f), (0.3, g, g)):
        expected += weight * sum((_cos(a[i], b[j]) - s[i, j].item()) ** 2 for i in range(m) for j in range(m)) / m**2
    found = JDSH(replace(DEFAULT, intra=0.3))._loss(torch.tensor(f).double(), torch.tensor(g).double(), s)
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_the_distribution_is_measured_on_pairs_of_different_items() -> None:
    """A half normal of spread .02 left of the mode, a half Laplace of spread .08 right of it."""
    stream = torch.Generator().manual_seed(0)
    uniform = torch.rand(400, 400, generator=stream)
    right = -0.08 * uniform.log()
    left = -(torch.randn(400, 400, generator=stream).abs()) * 0.02
    s = -0.5 + torch.where(torch.rand(400, 400, generator=stream) < 0.2, left, right)
    s.fill_diagonal_(100.0)

    class Given(JDSH):
        def _joint(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return s

    config = replace(DEFAULT, batch_size=400)
    found = Given(config)._distribution(torch.zeros(400, 1), torch.zeros(400, 1), Run(4))
    different = s[~torch.eye(400, dtype=torch.bool)]
    assert (found.low, found.high) == (different.min().item(), different.max().item())
    assert found.left == pytest.approx(-0.54, abs=0.015)
    assert found.right == pytest.approx(-0.5 + 4 * 0.08, abs=0.03)
    kept = Given(replace(config, left=-0.9, high=0.6))._distribution(torch.zeros(400, 1), torch.zeros(400, 1), Run(4))
    assert kept == found._replace(left=-0.9, high=0.6), "what is set is not measured"


def test_the_paper_s_schedule() -> None:
    paper = with_preset(JDSH.config_class, "paper")
    assert (paper.alpha, paper.beta, paper.lamb, paper.mu, paper.intra) == (0.5, 0.1, 0.4, 1.4, 0.1)
    assert paper.left == pytest.approx(-0.49 - 2 * 0.019)
    assert paper.right == pytest.approx(-0.49 + 4 * 0.088)
    assert (paper.low, paper.high, paper.l1, paper.l2) == (-0.52, 0.68, 0.1, 0.2)
    assert (paper.epochs, paper.batch_size, paper.optimiser) == (300, 32, "sgd")
    run = WatchedRun(4, max_epochs=1)
    JDSH(replace(paper, hidden=8)).train(toy_items(64), run)
    assert {step.rates for step in run.steps} == {(1e-2, 1e-2)}


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    JDSH(DEFAULT).train(toy_items(40), run)
    assert [event.get("epoch") for event in run.events] == [None, 0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
