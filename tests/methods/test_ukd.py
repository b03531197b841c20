"""UKD's graph, losses and distilled similarity, written out."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

UKD = methods.get("ukd")
DEFAULT = UKD.config_class()
MODULE = __import__(UKD.__module__, fromlist=["nearest", "similarity"])
QUICK = replace(
    DEFAULT, teacher_bits=16, teacher_hidden=16, hidden=16, teacher_epochs=2, adversarial_epochs=1, epochs=2
)


def _stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _d(a: Tensor, b: Tensor) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def test_neighbours_by_brute_force() -> None:
    points = torch.rand(30, 3, generator=_stream())
    found = MODULE.nearest(points, 4)
    for i in range(30):
        expected = sorted(range(30), key=lambda j: _d(points[i], points[j]))[:4]
        assert expected[0] == i and set(found[i].tolist()) == set(expected)


def test_similarity_is_the_union_of_the_neighbours() -> None:
    near = {"image": torch.tensor([[0, 2], [1, 0], [2, 1]]), "text": torch.tensor([[0, 1], [1, 0], [2, 0]])}
    assert MODULE.similarity(near, torch.tensor([2, 0, 1]), 3).tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("pair_loss", ["likelihood", "square"])
def test_the_student_s_loss_written_out(pair_loss: str) -> None:
    f, bank = torch.randn(3, 4, generator=_stream(1)), torch.randn(5, 4, generator=_stream(2))
    similar = (torch.rand(3, 5, generator=_stream(3)) < 0.5).float()
    pairs = 0.0
    for i in range(3):
        for j in range(5):
            theta, s = 0.5 * float(f[i] @ bank[j]), float(similar[i, j])
            # the released form, mean (S θ - log(1 + e^θ))², or the likelihood that it squares
            part = math.log(1 + math.exp(theta)) - s * theta
            pairs += part**2 if pair_loss == "square" else part
    quantise = sum((math.copysign(1, x) - x) ** 2 for x in f.flatten().tolist())
    loss = UKD(replace(DEFAULT, pair_loss=pair_loss, quantisation=0.3))._student_loss(f, bank, similar)
    assert loss.item() == pytest.approx(pairs / 15 + 0.3 * quantise / 12, rel=1e-5)


def test_the_teacher_s_first_loss_written_out() -> None:
    codes = {name: torch.rand(6, 8, generator=_stream(i)) for i, name in enumerate(("image", "text"))}
    margin, gamma, expected = 0.25, 0.4, 0.0
    for a in codes:
        for c in codes:
            hinges = [
                max(0.0, 8 * margin + _d(codes[a][t], codes[c][2 + t]) - _d(codes[a][t], codes[c][4 + t]))
                for t in (0, 1)
            ]
            expected += sum(hinges) / 2 * (gamma if a == c else 1)
    assert UKD(replace(DEFAULT, margin=margin, gamma=gamma))._first_loss(codes).item() == pytest.approx(
        expected, rel=1e-5
    )


def _net(outputs: Tensor) -> nn.Sequential:
    net = nn.Linear(*outputs.shape, bias=False)
    with torch.no_grad():
        net.weight.copy_(outputs.T)
    return nn.Sequential(net)


def test_a_duel_written_out() -> None:
    """Three items, each its own positive; item 2 alone can be drawn, so the draws are known."""
    items = Items({"image": View(torch.eye(3), 3), "text": View(torch.eye(3), 3)})
    u, g = ({v: torch.rand(3, 4, generator=_stream(seed + i)) for i, v in enumerate(items.views)} for seed in (0, 5))
    nets, generator = ({v: _net(x) for v, x in codes.items()} for codes in (u, g))
    graph, pool = torch.tensor([[0], [1], [2]]), torch.tensor([2, 2, 2])
    method = UKD(replace(DEFAULT, margin=0.1, draws=3))
    rewards, teacher = [], 0.0
    for a, c in permutations(u, 2):
        hinges = [max(0.0, 0.4 + _d(u[a][q], u[c][q]) - _d(u[a][q], u[c][2])) for q in (0, 1)]
        teacher += sum(hinges) / 2
        rewards.append(sum(1 / (1 + math.exp(-hinge)) for hinge in hinges) / 2)
    step = (items, nets, generator, graph, torch.arange(3), pool, _stream())
    assert method._duel(*step, True).item() == pytest.approx(teacher, rel=1e-5)
    # P of each of three equal candidates is a third
    assert method._duel(*step, False).item() == pytest.approx(sum(r * math.log(3) for r in rewards), rel=1e-5)
    assert method._duel(*step[:4], torch.tensor([2]), pool, _stream(), True) is None, "nothing but a positive to draw"


def test_only_one_side_moves_in_a_turn() -> None:
    items, method = toy_items(24), UKD(QUICK)
    teacher, generator = ({v: method._network(view) for v, view in items.views.items()} for _ in range(2))
    graph = torch.arange(24)[:, None]
    for turn in (True, False):
        method._duel(items, teacher, generator, graph, torch.arange(24), torch.arange(24), _stream(), turn).backward()
        moved, still = (teacher, generator) if turn else (generator, teacher)
        assert all(p.grad is not None and bool(p.grad.any()) for net in moved.values() for p in net.parameters())
        assert all(p.grad is None for net in still.values() for p in net.parameters())
        for net in moved.values():
            net.zero_grad()


def test_steps_and_their_rates() -> None:
    run = WatchedRun(8)
    UKD(replace(QUICK, teacher_lr=0.01, fine_lr=0.002, lr=0.03)).train(toy_items(48), run)
    rates = {
        phase: {r for s in run.steps if s.phase == phase for r in s.rates} for phase in {s.phase for s in run.steps}
    }
    assert rates == {"teacher": {0.01}, "teacher adversarial": {0.01, 0.002}, "student": {0.03}}


def test_a_student_s_settings_share_one_teacher() -> None:
    items, run = toy_items(48), Run(8)
    UKD(QUICK).train(items, run)
    UKD(replace(QUICK, neighbours=0.2, pair_loss="square", quantisation=0.3)).train(items, run)
    assert len(run.stages) == 1


def test_the_teacher_says_mostly_what_is_true() -> None:
    run = Run(16, validation=toy_items(100, seed=2))
    UKD(replace(QUICK, teacher_epochs=10)).train(toy_items(200), run)
    chance = float(run.validation.similarity(torch.arange(100)).mean())
    measured = [event for event in run.events if event.get("measured") == "validation"]
    assert [event["phase"] for event in measured] == ["teacher", "teacher adversarial"]
    assert all(event["neighbours_similar"] > chance + 0.3 for event in measured)


def test_the_paper_s_values() -> None:
    paper = with_preset(UKD.config_class, "paper")
    assert (paper.teacher_bits, paper.margin * paper.teacher_bits, paper.gamma, paper.graph) == (128, 16, 0.1, 5)
    assert round(paper.neighbours * 18_015, -2) == 10_000
    assert (paper.pair_loss, paper.quantisation, paper.lr) == ("square", 1.0, 1e-4)


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    hasher = UKD(QUICK).train(raw_items(pretrained), Run(8))
    assert all(encoder_moved(net) for net in hasher.modules.values())
