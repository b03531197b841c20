"""UCCH against the equations of its paper, written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hashbench.config import with_preset
from hashbench.losses import sign
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun

UCCH = methods.get("ucch")
DEFAULT = UCCH.config_class()

F = [[0.6, -0.8, 0.0], [0.8, 0.0, 0.6], [-0.6, 0.0, 0.8]]
G = [[0.0, -0.6, 0.8], [1.0, 0.0, 0.0], [0.0, 0.6, 0.8]]


def _dot(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def test_an_item_s_own_code_is_told_from_others_and_never_from_itself() -> None:
    """Items 4, 7 and 2; 7 is drawn again among the others, and then is no negative of its own."""
    codes = [[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]]
    items, owners = [4, 7, 2], [4, 7, 2, 7, 9]
    scale = 0.5 * math.sqrt(3)
    expected = 0.0
    for a, item in enumerate(items):
        total = sum(
            math.exp(_dot(F[a], codes[j]) / scale) for j, owner in enumerate(owners) if j == a or owner != item
        )  # fmt: skip
        expected -= math.log(math.exp(_dot(F[a], codes[a]) / scale) / total) / 3
    method = UCCH(replace(DEFAULT, temperature=0.5))
    found = method._contrast(torch.tensor(F), torch.tensor(codes), torch.tensor(items), torch.tensor(owners))
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("margin", "shift"), [(0.2, 0.1), (0.0, 1.0), (0.9, 0.5)])
def test_far_negatives_weigh_less_in_the_ranking(margin: float, shift: float) -> None:
    scores = [[_dot(f, g) for g in G] for f in F]
    expected = 0.0
    for i in range(3):
        cost = [c if c >= scores[i][i] - margin else c - shift for c in scores[i]]
        expected += (math.log(sum(math.exp(c) for c in cost)) - scores[i][i] + margin) / 3
    found = UCCH(replace(DEFAULT, margin=margin, shift=shift))._ranking(torch.tensor(scores))
    assert found.item() == pytest.approx(expected, rel=1e-5)


class Watched(UCCH):
    """Remembers the codes and owners that items were told from, and the codes of images and texts."""

    def _contrast(self, f: Tensor, codes: Tensor, items: Tensor, owners: Tensor) -> Tensor:
        self.seen.append((f.detach(), codes, items, owners))
        return super()._contrast(f, codes, items, owners)


def _watched(epochs: int, **settings: float) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    method = Watched(replace(DEFAULT, batch_size=40, **settings))
    method.seen = []
    method.train(toy_items(40), Run(8, max_epochs=epochs))
    return method.seen


def test_the_memory_moves_from_the_first_outputs_on() -> None:
    """Whole batches, so that an epoch is a step: a warm one that fills the memory, and two that read and move it."""
    seen = _watched(4, others=64, momentum=0.4)
    steps = list(zip(seen[::2], seen[1::2], strict=True))
    memory = torch.zeros(40, 8)
    for epoch, ((f, codes, items, owners), (g, same, _, _)) in enumerate(steps):
        joint = torch.nn.functional.normalize(f + g)
        if epoch == 0:
            assert torch.equal(owners, items) and torch.equal(codes, sign(joint))
            memory[items] = joint
        else:
            assert torch.equal(owners[:40], items) and len(owners) == 40 + 64
            assert torch.equal(codes, sign(memory[owners]))
            memory[items] = torch.nn.functional.normalize(0.4 * memory[items] + 0.6 * joint)
        assert codes is same, "both views are told from the same codes"


def test_gradients_are_clipped_together() -> None:
    """Adam forgets how long a first gradient was, so its first moment is looked at: a tenth of what it was given."""
    given: list[float] = []

    class Kept(WatchedRun):
        def descend(self, loss: Tensor, *optimisers: torch.optim.Optimizer) -> None:
            super().descend(loss, *optimisers)
            (optimiser,) = optimisers
            moments = [state["exp_avg"].norm() for state in optimiser.state.values()]
            given.append(10 * torch.stack(moments).norm().item())

    for clip in (1e-3, 1e3):
        method = UCCH(replace(DEFAULT, clip=clip, weight_decay=0.0, epochs=1))
        method.train(toy_items(40), Kept(8))
    short, long = given
    assert short == pytest.approx(1e-3, rel=1e-3)
    assert 1e-3 < long < 1e3


def test_the_paper_s_values() -> None:
    paper = with_preset(UCCH.config_class, "paper")
    assert (paper.alpha, paper.margin, paper.shift, paper.temperature, paper.momentum) == (0.7, 0.2, 0.1, 0.9, 0.4)
    assert (paper.epochs, paper.batch_size, paper.others, paper.lr, paper.clip) == (20, 256, 4096, 1e-4, 1.0)


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    UCCH(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
