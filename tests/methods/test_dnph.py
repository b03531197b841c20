"""DNPH against the terms of its loss, written out, and its matching against all others."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from hashbench.config import with_preset
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

DNPH = methods.get("dnph")
DEFAULT = DNPH.config_class()
MODULE = __import__(DNPH.__module__, fromlist=["_matched"])

LABELS = [[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1]]


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def _unit(a: list[float]) -> list[float]:
    return [value / math.hypot(*a) for value in a]


def _proxy(h: list[list[float]], proxies: list[list[float]], margin: float) -> float:
    total = 0.0
    for row, labels in zip(h, LABELS, strict=True):
        distances = [
            math.dist(_unit(row), _unit(proxy)) ** 2 + margin * own for proxy, own in zip(proxies, labels, strict=True)
        ]
        normaliser = sum(math.exp(-d) for d in distances)
        total -= sum(own * math.log(math.exp(-d) / normaliser) for d, own in zip(distances, labels, strict=True))
    return total / len(h)


@pytest.mark.parametrize(("margin", "uniform"), [(0.0, 0.5), (1.0, 0.1)])
def test_a_view_s_terms(margin: float, uniform: float) -> None:
    h, scores, proxies, corners = _rows(0, 4, 5), _rows(1, 4, 3), _rows(2, 3, 5), _rows(3, 4, 5).sign()
    method = DNPH(replace(DEFAULT, margin=margin, uniform=uniform))
    found = method._losses(h, scores, torch.tensor(LABELS).float(), proxies, corners)
    classes = 0.0
    for row, labels in zip(scores.tolist(), LABELS, strict=True):
        normaliser = math.log(sum(math.exp(score) for score in row))
        classes += sum(own * (normaliser - score) for own, score in zip(labels, row, strict=True)) / sum(labels)
    nearest = min(
        permutations(corners.tolist()),
        key=lambda order: sum(math.dist(a, b) for a, b in zip(h.tolist(), order, strict=True)),
    )
    spread = sum(
        x * z for row, corner in zip(h.tolist(), nearest, strict=True) for x, z in zip(row, corner, strict=True)
    )
    expected = [_proxy(h.tolist(), proxies.tolist(), margin) / 2, classes / 4, -uniform * spread / 4]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_corners_are_matched_as_no_other_order_does_better() -> None:
    h, corners = _rows(0, 6, 4).tanh(), _rows(1, 6, 4).sign()
    found = MODULE._matched(h, corners)
    assert sorted(found.tolist()) == sorted(corners.tolist())
    best = min(
        sum(math.dist(a, b) for a, b in zip(h.tolist(), order, strict=True)) for order in permutations(corners.tolist())
    )
    assert sum(math.dist(a, b) for a, b in zip(h.tolist(), found.tolist(), strict=True)) == pytest.approx(
        best, rel=1e-6
    )


def test_the_classes_are_trained_on_all_labels_or_on_the_first() -> None:
    labels = torch.tensor([*LABELS, [0, 0, 0]]).float()
    halves = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 0.5, 0.5], [0, 0, 0]]
    assert DNPH(DEFAULT)._target(labels).tolist() == halves
    first = DNPH(replace(DEFAULT, class_target="first"))._target(labels)
    assert first[:4].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize(("preset", "moves"), [("default", True), ("released", False)])
def test_proxies_move_but_not_in_the_released_code(preset: str, moves: bool) -> None:
    seen: list[Tensor] = []

    class Watched(DNPH):
        def _losses(self, h: Tensor, scores: Tensor, labels: Tensor, proxies: Tensor, corners: Tensor) -> Tensor:
            seen.append(proxies.detach().clone())
            return super()._losses(h, scores, labels, proxies, corners)

    Watched(with_preset(DNPH.config_class, preset)).train(toy_items(40), Run(8, max_epochs=3))
    assert torch.equal(seen[0], seen[-1]) != moves


def test_the_class_loss_reaches_the_hidden_layer_of_cached_features() -> None:
    """With nothing else to learn from, the hidden layer moves all the same."""
    items = toy_items(40)

    class ClassesOnly(DNPH):
        def _losses(self, h: Tensor, scores: Tensor, labels: Tensor, proxies: Tensor, corners: Tensor) -> Tensor:
            return super()._losses(h, scores, labels, proxies, corners) * torch.tensor([0, 1, 0])

    hidden = []
    for epochs in (1, 4):
        config = replace(DEFAULT, weight_decay=0.0)
        hasher = ClassesOnly(config).train(items, Run(8, max_epochs=epochs))
        hidden.append(hasher.modules["image"][1].weight.detach())
    assert not torch.equal(*hidden)


def test_the_paper_s_values() -> None:
    paper = with_preset(DNPH.config_class, "paper")
    assert (paper.margin, paper.uniform, paper.dropout, paper.epochs, paper.batch_size) == (1.0, 0.1, 0.2, 100, 64)
    assert (paper.lr, paper.encoder_lr, paper.warm_up, paper.weight_decay, paper.hidden) == (1e-3, 1e-5, 0.1, 0.2, 0)
    released = with_preset(DNPH.config_class, "released")
    assert replace(released, proxy_lr=1e-4, class_target="labels") == paper


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    DNPH(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
