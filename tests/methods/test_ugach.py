"""UGACH against the equations of its paper, written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.errors import Diverged
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

UGACH = methods.get("ugach")
DEFAULT = replace(UGACH.config_class(), hidden=16)
_module = __import__(UGACH.__module__, fromlist=["Game", "Batch"])

Rows = list[list[float]]


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _rows(seed: int, m: int, d: int) -> Rows:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed)).tolist()


def _u(row: list[float]) -> list[float]:
    return [1 / (1 + math.exp(-value)) for value in row]


def _d(a: list[float], b: list[float]) -> float:
    return sum((p - q) ** 2 for p, q in zip(_u(a), _u(b), strict=True))


def test_positives_are_the_item_and_its_neighbours_by_either_view() -> None:
    x, y = _rows(0, 12, 4), _rows(1, 12, 3)
    found = UGACH(replace(DEFAULT, neighbours=3))._positives(torch.tensor(x), torch.tensor(y), rows=5)
    assert found.shape == (12, 7)
    for i in range(12):
        expected = [i]
        for z in (x, y):
            expected += sorted((j for j in range(12) if j != i), key=lambda j, z=z: -_cos(z[i], z[j]))[:3]
        assert found[i].tolist() == expected


def test_some_item_is_left_for_a_negative() -> None:
    for n in range(2, 14):
        found = UGACH(DEFAULT)._positives(torch.tensor(_rows(2, n, 4)), torch.tensor(_rows(3, n, 3)))
        assert all(len(set(row)) < n for row in found.tolist())


def _linear(outputs: Rows) -> nn.Linear:
    net = nn.Linear(len(outputs), len(outputs[0]), bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(outputs).T)
    return net


# Six items, three bits: outputs of the critic F, G and of the generator V, W; each item is its only positive.
F, G, V, W = (_rows(seed, 6, 3) for seed in (4, 5, 6, 7))


def _game(run: Run, lr: float = 0.0) -> Any:
    rows = torch.eye(6)
    views = {"image": View(rows, 6), "text": View(rows, 6)}
    critic = {"image": nn.Sequential(_linear(F)), "text": nn.Sequential(_linear(G))}
    generator = {"image": nn.Sequential(_linear(V)), "text": nn.Sequential(_linear(W))}
    steps = [
        torch.optim.SGD([p for net in nets.values() for p in net.parameters()], lr=lr) for nets in (critic, generator)
    ]
    features = {"image": rows, "text": rows}
    return _module.Game(
        run, views, features, torch.arange(6)[:, None], critic, generator, *steps, run.generator("draws")
    )


class Watched(UGACH):
    """Remembers the batches and what was drawn for them."""

    def _batches(self, game: Any, stream: str) -> Any:
        for batch in super()._batches(game, stream):
            self.drawn.append([batch, None])
            yield batch

    def _draw(self, game: Any, scores: Tensor) -> Tensor:
        at = super()._draw(game, scores)
        self.drawn[-1][1] = at
        return at


def _watched(**settings: Any) -> Watched:
    method = Watched(replace(DEFAULT, batch_size=6, pool=4, triplets=3, **settings))
    method.drawn = []
    return method


def _hinge(batch: Any, a: int, at: int, beta: float) -> float:
    queries, others = (F, G) if batch.query == "image" else (G, F)
    q, c = int(batch.items[a]), int(batch.pool[at])
    return max(0.0, beta + _d(queries[q], others[q]) - _d(queries[q], others[c]))


@pytest.mark.parametrize(("beta", "margin"), [("bits/8", 3 / 8), (0.9, 0.9)])
@pytest.mark.parametrize("informed", [True, False])
def test_the_critic_s_loss_is_the_hinge_of_its_triplets(beta: Any, margin: float, informed: bool) -> None:
    run, method = WatchedRun(3), _watched(beta=beta)
    method._critic_pass(_game(run), "test", informed)
    assert [batch.query for batch, _ in method.drawn] == ["image", "text"]
    for step, (batch, at) in zip(run.steps, method.drawn, strict=True):
        hinges = [_hinge(batch, a, int(at[a, m]), margin) for a in range(len(at)) for m in range(3)]
        assert step.loss == pytest.approx(sum(hinges) / len(hinges), rel=1e-5)


@pytest.mark.parametrize("norm", ["pool", "sample"])
def test_the_generator_s_loss_is_the_policy_gradient_s(norm: Any) -> None:
    run, method = WatchedRun(3), _watched(norm=norm, beta=0.5)
    method._generator_pass(_game(run), "test")
    for step, (batch, at) in zip(run.steps, method.drawn, strict=True):
        queries, others = (V, W) if batch.query == "image" else (W, V)
        terms = []
        for a in range(len(at)):
            q = int(batch.items[a])
            pool = [int(batch.pool[m]) for m in at[a]] if norm == "sample" else batch.pool.tolist()
            total = sum(math.exp(-_d(queries[q], others[c])) for c in pool if c != q)
            for m in range(3):
                c = int(batch.pool[at[a, m]])
                log_p = -_d(queries[q], others[c]) - math.log(total)
                terms.append(-log_p / (1 + math.exp(-_hinge(batch, a, int(at[a, m]), 0.5))))
        assert step.loss == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_each_player_moves_alone() -> None:
    for play, moves in (("critic", "critic"), ("generator", "generator")):
        game = _game(Run(3), lr=0.1)
        before = {
            side: [p.clone() for p in getattr(game, side)["text"].parameters()] for side in ("critic", "generator")
        }
        method = _watched(beta=2.0)
        if play == "critic":
            method._critic_pass(game, "test", True)
        else:
            method._generator_pass(game, "test")
        for side, start in before.items():
            now = list(getattr(game, side)["text"].parameters())
            assert all(torch.equal(p, q) for p, q in zip(start, now, strict=True)) == (side != moves)


def test_negatives_are_drawn_by_the_generator_and_are_never_positives() -> None:
    game, method = _game(Run(3)), UGACH(replace(DEFAULT, batch_size=6, pool=6, triplets=4000))
    batch = next(iter(method._batches(game, "test")))
    scores = method._scores(game, batch)
    counts = torch.zeros(6, 6)
    for a, at in enumerate(method._draw(game, scores)):
        counts[int(batch.items[a])] = torch.bincount(batch.pool[at], minlength=6) / 4000
    expected = torch.tensor([[0.0 if c == q else math.exp(-_d(V[q], W[c])) for c in range(6)] for q in range(6)])
    expected /= expected.sum(1, keepdim=True)
    assert bool((counts.diagonal() == 0).all())
    assert torch.allclose(counts, expected, atol=0.04)


def test_the_paper_s_schedule() -> None:
    paper, released = (with_preset(UGACH.config_class, name) for name in ("paper", "released"))
    assert (paper.neighbours, paper.beta, paper.triplets, paper.generator_passes) == (5, "bits/8", 2, 2)
    assert replace(released, norm="pool") == paper
    run = WatchedRun(4, max_epochs=1)
    UGACH(replace(paper, hidden=8, batch_size=64)).train(toy_items(64), run)
    rates = [(step.phase, step.rates) for step in run.steps]
    assert rates[:2] == [("warm-up", (1e-2, 1e-2))] * 2
    assert rates[2:4] == [("rounds", (pytest.approx(1e-3), pytest.approx(1e-3)))] * 2
    assert rates[4:] == [("rounds", (1e-2, 1e-2))] * 4


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_the_critic_s_encoders(pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=2)
    config = replace(DEFAULT, lr=1e-2, encoder_lr=1e-3, epochs=0)
    hasher = UGACH(config).train(raw_items(pretrained, n=40), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    assert {step.rates for step in run.steps} == {(1e-2, 1e-3 if pretrained else 1e-2) * 2}


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_items_are_enough(n: int) -> None:
    items = Items({"image": View(torch.eye(n), n), "text": View(torch.eye(n), n)})
    hasher = UGACH(DEFAULT).train(items, Run(4, max_epochs=2))
    assert hasher.encode("image", items.image).shape == (n, 4)


def test_nan_diverges() -> None:
    items = toy_items(40)
    items.image.rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        UGACH(DEFAULT).train(items, Run(8, max_epochs=2))


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    UGACH(DEFAULT).train(toy_items(40), run)
    assert [(event["phase"], event["epoch"]) for event in run.events] == [
        ("warm-up", 0), ("warm-up", 1), ("rounds", 0), ("rounds", 1),
    ]  # fmt: skip
    numbers = [value for event in run.events for value in event.values() if not isinstance(value, str)]
    assert all(math.isfinite(value) for value in numbers)
