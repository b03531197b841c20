"""CKDH's losses against the equations of its code, written out, and what each stage gets to see."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

CKDH = methods.get("ckdh")
SMALL = replace(CKDH.config_class(), teacher_hidden=12, hidden=10, class_epochs=2, teacher_epochs=2, epochs=2)
MODULE = __import__(CKDH.__module__, fromlist=["Trunk"])

LABELS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).double()
SIMILAR = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).double()


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


CODES = {"image": _rows(0, 3, 4).tanh(), "text": _rows(1, 3, 4).tanh()}
TEACHER = {"image": _rows(2, 3, 4).tanh(), "text": _rows(3, 3, 4).tanh()}
HEADS = {name: nn.Linear(4, 2).double() for name in CODES}


def _pairs(square: bool) -> float:
    """The released form: mean (S θ - log(1 + e^θ))², or the likelihood that it squares."""
    total = 0.0
    for a, b in (("image", "image"), ("text", "text"), ("image", "text")):
        for i in range(3):
            for j in range(3):
                theta = 0.5 * float(CODES[a][i] @ CODES[b][j])
                part = math.log(1 + math.exp(theta)) - float(SIMILAR[i, j]) * theta
                total += (part**2 if square else part) / 9
    return total


def _each(beta: float) -> float:
    total = 0.0
    for name, codes in CODES.items():
        for i in range(3):
            for c, odds in enumerate(HEADS[name](codes[i]).tolist()):
                p = 1 / (1 + math.exp(-odds))
                total -= math.log(p if LABELS[i, c] else 1 - p) / 6
        for bit in codes.T.tolist():
            total += (sum(bit) / 3) ** 2 / 4 + beta * sum((abs(h) - 1) ** 2 for h in bit) / 12
    return total


def _square(a: Tensor, b: Tensor) -> float:
    return sum((x - y) ** 2 for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / 12


@pytest.mark.parametrize("pair_loss", ["likelihood", "square"])
def test_the_teacher_s_loss_written_out(pair_loss: str) -> None:
    method = CKDH(replace(SMALL, alpha=3.0, beta=0.2, pair_loss=pair_loss))
    expected = 3 * _pairs(pair_loss == "square") + _each(0.2) + _square(CODES["image"], CODES["text"])
    assert method._teacher_loss(CODES, HEADS, LABELS, SIMILAR).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pair_loss", ["likelihood", "square"])
def test_the_student_s_loss_written_out(pair_loss: str) -> None:
    method = CKDH(replace(SMALL, alpha=3.0, beta=0.2, distil=0.7, pair_loss=pair_loss))
    copied = sum(_square(CODES[name], TEACHER[name]) for name in CODES)
    expected = _pairs(pair_loss == "square") + _each(0.2) + 0.7 * copied
    assert method._student_loss(CODES, TEACHER, HEADS, LABELS, SIMILAR).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pair_loss", ["likelihood", "square"])
def test_a_huge_theta_costs_what_it_should(pair_loss: str) -> None:
    one = {name: torch.full((1, 1), 100.0) for name in CODES}  # θ = 5000 in each of three pairs
    cost = 5000.0**2 if pair_loss == "square" else 5000.0
    method = CKDH(replace(SMALL, pair_loss=pair_loss))
    assert method._pairs(one, torch.zeros(1, 1)).item() == pytest.approx(3 * cost)
    assert method._pairs(one, torch.ones(1, 1)).item() == 0


def test_the_trunk_is_a_layer_over_both_views_side_by_side() -> None:
    items = toy_items(30)
    trunk = MODULE.Trunk(items.views, 6)
    z = {name: (x := view.features()).sub(x.mean(0)) / x.std(0, correction=0) for name, view in items.views.items()}
    weight = torch.cat([trunk.stems[name][1].weight for name in z], 1)
    bias = torch.stack([trunk.stems[name][1].bias for name in z]).sum(0)
    joint = (torch.cat(list(z.values()), 1) @ weight.T + bias).clamp_min(0)
    found = trunk({name: view.rows for name, view in items.views.items()})
    for name, part in found.items():
        tail = trunk.tails[name][0]
        assert torch.allclose(part, (joint @ tail.weight.T + tail.bias).clamp_min(0), atol=1e-5)


def test_the_teacher_s_code_of_a_view_needs_the_other_view_and_the_student_s_does_not() -> None:
    items, method, run = toy_items(40), CKDH(SMALL), Run(8)
    other = replace(items, views={**items.views, "text": replace(items.text, rows=items.text.rows.flip(0))})
    assert not torch.equal(method._teacher(items, Run(8))["image"], method._teacher(other, Run(8))["image"])
    hasher = method.train(items, run)
    assert set(hasher.modules) == {"image", "text"}
    assert hasher.modules["image"][1].in_features == items.image.dim


def test_the_teacher_learns_who_is_similar() -> None:
    items = toy_items(96)
    similar = items.similarity(torch.arange(96)).bool()
    teacher = CKDH(replace(SMALL, class_epochs=10, teacher_epochs=40, teacher_lr=1e-2))._teacher(items, Run(16))
    agree = teacher["image"].sign() @ teacher["text"].sign().T / 16
    assert agree[similar].mean() > agree[~similar].mean() + 0.5


def test_the_student_copies_the_teacher() -> None:
    items, goal = toy_items(96), {name: _rows(i, 96, 8).tanh().float() for i, name in enumerate(("image", "text"))}
    off = {}
    for distil in (0.0, 100.0):
        torch.manual_seed(0)
        nets = CKDH(replace(SMALL, epochs=60, distil=distil, lr=1e-2, hidden=64))._student(items, Run(8), goal)
        off[distil] = sum((net(items.views[v].rows) - goal[v]).pow(2).mean().item() for v, net in nets.items())
    assert off[100.0] < 0.3 * off[0.0]


def test_steps_and_their_rates() -> None:
    run = WatchedRun(8)
    CKDH(replace(SMALL, batch_size=20, teacher_lr=0.01, lr=0.02)).train(toy_items(40), run)
    phases = {"teacher classes": (0.01,) * 3, "teacher": (0.01,) * 3, "student": (0.02,) * 3}
    assert Counter((step.phase, step.epoch, step.rates) for step in run.steps) == {
        (phase, epoch, rates): 2 for phase, rates in phases.items() for epoch in (0, 1)
    }


def test_the_code_s_sgd_shrinks_its_step_by_five_three_times() -> None:
    run = WatchedRun(8)
    CKDH(replace(SMALL, optimiser="sgd", epochs=202, lr=0.5, pair_loss="square")).train(toy_items(40), run)
    rates = {step.epoch: step.rates for step in run.steps if step.phase == "student"}
    for epoch, rate in (
        (0, 0.5),
        (49, 0.5),
        (50, 0.1),
        (99, 0.1),
        (100, 0.02),
        (199, 0.02),
        (200, 0.004),
        (201, 0.004),
    ):
        assert rates[epoch] == pytest.approx((rate,) * 3)


def test_a_student_s_settings_share_one_teacher() -> None:
    items, run = toy_items(40), Run(8)
    CKDH(SMALL).train(items, run)
    CKDH(replace(SMALL, distil=3.0, lr=0.1, hidden=20, optimiser="sgd")).train(items, run)
    assert len(run.stages) == 1
    CKDH(replace(SMALL, class_epochs=0)).train(items, run)
    assert len(run.stages) == 2


def test_the_code_s_values() -> None:
    paper, released = (with_preset(CKDH.config_class, name) for name in ("paper", "released"))
    assert (paper.alpha, paper.beta, paper.distil, paper.batch_size) == (10, 0.01, 1, 128)
    assert (paper.optimiser, paper.lr, paper.encoder_lr, paper.epochs) == ("sgd", 1e-2, 1e-4, 250)
    assert (paper.teacher_lr, paper.class_epochs, paper.teacher_epochs) == (1e-3, 250, 250)
    assert released == replace(paper, pair_loss="square")


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=1)
    hasher = CKDH(replace(SMALL, lr=1e-2, teacher_lr=1e-2, encoder_lr=1e-3)).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    encoder = 1e-3 if pretrained else 1e-2
    assert {step.rates for step in run.steps} == {(1e-2, encoder) * 2 + (1e-2,)}
