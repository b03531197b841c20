"""HMAH's graph, messages and losses against their equations, written out, and what the student gets to see."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.method import Incompatible, Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

HMAH = methods.get("hmah")
SMALL = replace(HMAH.config_class(), hidden=12, common=10)
MODULE = __import__(HMAH.__module__, fromlist=["MessagePassing", "affinity"])


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _relation(a: Tensor, b: Tensor, goal: list[list[float]]) -> float:
    """Mean squared distance of the cosines of all pairs from ``goal``."""
    m, a_rows, b_rows = len(a), a.tolist(), b.tolist()
    return sum((_cos(a_rows[i], b_rows[j]) - goal[i][j]) ** 2 for i in range(m) for j in range(m)) / m**2


def _cosines(a: Tensor) -> list[list[float]]:
    return [[_cos(p, q) for q in a.tolist()] for p in a.tolist()]


def test_the_graph_s_weights() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    shared = [[2, 2, 0, 0], [2, 3, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    expected = torch.tensor([[2 / (1 + math.exp(-n)) - 1 for n in row] for row in shared])
    assert torch.allclose(MODULE.affinity(labels, labels), expected, atol=1e-6)


def test_messages_are_those_of_the_graph_over_both_views() -> None:
    """The block matrix of 2n items, its rows normalised; item 3 has no labels, and gets its own messages alone."""
    n, graph = 4, MODULE.MessagePassing(5, 8, 0.5).double().eval()
    x, y = _rows(0, n, 5).tanh(), _rows(1, n, 5).tanh()
    labels = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]).double()
    a = MODULE.affinity(labels, labels)
    within = torch.stack([row / (row.sum() or 1) for row in a])
    block = torch.cat([torch.cat([torch.eye(n).double(), a], 1), torch.cat([a, torch.eye(n).double()], 1)])
    across = torch.cat([x, y]) @ graph.cross.weight.T
    across = (block / block.sum(1, keepdim=True)) @ across
    messages = [within @ (x @ graph.image.weight.T), across[:n], within @ (y @ graph.text.weight.T), across[n:]]
    expected = torch.cat([(z @ h[0].weight.T + h[0].bias).tanh() for z, h in zip(messages, graph.hash, strict=True)], 1)
    assert torch.allclose(graph(x, y, torch.arange(n), a), expected)
    some = torch.tensor([3, 1])
    assert torch.allclose(graph(x, y, some, a[some]), expected[some]), "an item's T is its own on the whole graph"
    assert expected.isfinite().all()


def test_the_teacher_s_losses_written_out() -> None:
    codes, a, critic = (
        _rows(2, 3, 8).tanh(),
        MODULE.affinity(_rows(3, 3, 2).abs(), _rows(4, 3, 2).abs()),
        nn.Linear(8, 1),
    )
    critic = critic.double()
    expected = (
        _relation(codes, codes, a.tolist()),
        sum((t - math.copysign(1, t)) ** 2 for t in codes.flatten().tolist()) / 24,
        sum((critic(row).item() - 1) ** 2 for row in codes) / 3,
    )
    assert HMAH(SMALL)._teacher_losses(codes, a, critic).tolist() == pytest.approx(expected, rel=1e-6)


def test_the_student_s_losses_written_out() -> None:
    f, g, teacher = (_rows(seed, 3, 8).tanh() for seed in (5, 6, 7))
    w = torch.rand(8, generator=torch.Generator().manual_seed(8)).double()
    u = torch.tensor(
        [[w[b].item() * f[i, b].item() + (1 - w[b].item()) * g[i, b].item() for b in range(8)] for i in range(3)]
    ).double()
    codes = sum(
        (h[i, b].item() - math.copysign(1, teacher[i, b].item())) ** 2 / 24
        for h in (f, g, u) for i in range(3) for b in range(8)
    )  # fmt: skip
    joint = _cosines(teacher)
    relations = (
        _relation(f, f, _cosines(teacher[:, :4])) + _relation(g, g, _cosines(teacher[:, 4:]))
        + _relation(u, u, joint) + _relation(f, g, joint)
    )  # fmt: skip
    assert HMAH(SMALL)._student_losses(f, g, w, teacher).tolist() == pytest.approx([codes, relations], rel=1e-6)


def test_the_student_sees_no_labels_but_through_the_teacher() -> None:
    items = toy_items(40)
    method, teacher = HMAH(SMALL), torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    found = []
    for labels in (items.labels, None):
        torch.manual_seed(0)
        nets = method._student(replace(items, labels=labels), Run(8, max_epochs=1), teacher)
        found.append(nets["image"].eval()(items.image.rows))
    assert torch.equal(*found)


def test_teachers_know_who_is_similar() -> None:
    items = toy_items(96)
    teacher = HMAH(replace(SMALL, lr=1e-2))._teacher(items, Run(16, max_epochs=40))
    similar = items.similarity(torch.arange(96)).bool()
    agree = torch.where(teacher >= 0, 1.0, -1.0) @ torch.where(teacher >= 0, 1.0, -1.0).T / 16
    assert agree[similar].mean() > agree[~similar].mean() + 0.5


def test_steps_and_their_rates() -> None:
    run = WatchedRun(8, max_epochs=2)
    config = replace(SMALL, batch_size=20, generator_steps=3, teacher_lr=0.01, lr=0.02, fusion_rate=0.1, encoder_lr=0.5)
    HMAH(config).train(toy_items(40), run)
    found = Counter((step.phase, step.epoch, step.rates) for step in run.steps)
    critic, teacher, student = (0.01,), (0.01,) * 3, (0.02, 0.02, 0.002)
    assert found == {
        key: count for epoch in (0, 1) for key, count in {
            ("teacher", epoch, critic): 2, ("teacher", epoch, teacher): 6, ("student", epoch, student): 2,
        }.items()
    }  # fmt: skip


def test_a_student_s_settings_share_one_teacher() -> None:
    items, run = toy_items(40), Run(8, max_epochs=1)
    HMAH(SMALL).train(items, run)
    HMAH(replace(SMALL, b_student=0.1, s_student=3.0, lr=0.1, fusion_rate=1.0)).train(items, run)
    assert len(run.stages) == 1
    HMAH(replace(SMALL, g_teacher=0.0)).train(items, run)
    assert len(run.stages) == 2


def test_bits_come_in_four_parts() -> None:
    with pytest.raises(Incompatible, match="multiple of 4"):
        HMAH(SMALL).train(toy_items(40), Run(10))


def test_the_code_s_values() -> None:
    paper = with_preset(HMAH.config_class, "paper")
    assert (paper.s_teacher, paper.b_teacher, paper.g_teacher, paper.generator_steps) == (100, 0.001, 1, 5)
    assert (paper.b_student, paper.s_student, paper.fusion_rate, paper.dropout, paper.common) == (1, 1, 0.01, 0.5, 512)
    assert (paper.teacher_epochs, paper.epochs, paper.batch_size, paper.lr, paper.teacher_lr) == (
        20,
        20,
        1024,
        1e-4,
        1e-4,
    )


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=1)
    hasher = HMAH(replace(SMALL, lr=1e-2, teacher_lr=1e-2, encoder_lr=1e-3)).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    encoder = 1e-3 if pretrained else 1e-2
    assert {step.rates for step in run.steps if step.phase == "student"} == {(1e-2, encoder) * 2 + (1e-4,)}
