"""KDCMH: what the teacher decides and what the student makes of it, written out. JDSH's own terms: test_jdsh.py."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hashbench.errors import Diverged
from hashbench.losses import Distribution, clear_pair_weights, cosines, joint_similarity, reconstruction
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

KDCMH = methods.get("kdcmh")
DEFAULT = KDCMH.config_class()
QUICK = replace(DEFAULT, teacher_bits=16, hidden=16, teacher_epochs=2, epochs=2)
MODULE = __import__(KDCMH.__module__, fromlist=["similar_pairs"])


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_what_the_teacher_calls_similar() -> None:
    r = torch.tensor([[0.1, 0.6, 0.4], [0.6, 1.0, 0.5], [0.4, 0.5, 1.0]])
    assert MODULE.similar_pairs(r, 0.5).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_the_student_s_loss_written_out() -> None:
    f, g = _rows(0, 3, 4).tanh(), _rows(1, 3, 4).tanh()
    similar = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]).double()
    pairs = quantise = 0.0
    for i in range(3):
        for j in range(3):
            theta = 0.5 * float(f[i] @ g[j])
            pairs += math.log(1 + math.exp(theta)) - float(similar[i, j]) * theta
        for bit in range(4):
            b = math.copysign(1, float(f[i, bit] + g[i, bit]))
            quantise += (b - float(f[i, bit])) ** 2 + (b - float(g[i, bit])) ** 2
    found = KDCMH(replace(DEFAULT, gamma=0.3))._student_loss(f, g, similar)
    assert found.item() == pytest.approx(pairs / 9 + 0.3 * quantise / 12, rel=1e-9)


@pytest.mark.parametrize("knowledge", ["codes", "features"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_student_takes_the_share_of_pairs_for_similar(knowledge: str, share: float) -> None:
    seen: list[Tensor] = []

    class Watched(KDCMH):
        def _student_loss(self, f: Tensor, g: Tensor, similar: Tensor) -> Tensor:
            seen.append(similar)
            return super()._student_loss(f, g, similar)

    Watched(replace(QUICK, knowledge=knowledge, share=share, batch_size=96)).train(toy_items(96), Run(8, max_epochs=1))
    (similar,) = seen
    others = ~torch.eye(96, dtype=torch.bool)
    assert similar.diagonal().eq(1).all()
    assert similar[others].mean().item() == pytest.approx(share, abs=1e-2)


def test_the_teacher_s_decisions_come_from_both_of_its_codes() -> None:
    """R = cos([f_i, g_i], [f_j, g_j]) of what the stage keeps, and of nothing else."""
    items, run = toy_items(40), Run(8, max_epochs=1)
    method = KDCMH(QUICK)
    r = method._knowledge(items, run)(torch.arange(40))
    (stage,) = run.stages.values()
    codes = stage.tensors["codes"]
    assert codes.shape == (40, 2 * 16) and bool((codes.abs() <= 1).all())
    assert torch.allclose(r, cosines(codes, codes))
    similar = items.similarity(torch.arange(40)).bool()
    trained = KDCMH(replace(QUICK, teacher_epochs=20))._knowledge(items, Run(8))(torch.arange(40))
    assert trained[similar].mean() > trained[~similar].mean() + 0.5


def test_the_teacher_descends_jdsh_s_loss() -> None:
    """Its first step, from the same weights, written with JDSH's terms."""
    items, run = toy_items(24), WatchedRun(8)
    method = KDCMH(replace(QUICK, teacher_batch=24, mu=1.3, l1=0.4, l2=0.6, intra=0.7))
    bounds: list[Distribution] = []
    first: list[tuple[Tensor, ...]] = []

    def watched_weights(s: Tensor, found: Distribution, l1: float, l2: float) -> Tensor:
        bounds.append(found)
        assert (l1, l2) == (0.4, 0.6)
        return clear_pair_weights(s, found, l1, l2)

    def watched_loss(f: Tensor, g: Tensor, s: Tensor, intra: float) -> Tensor:
        first.append((f.detach(), g.detach(), s))
        assert intra == 0.7
        return reconstruction(f, g, s, intra)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(method._teacher.__globals__, "clear_pair_weights", watched_weights)
        patch.setitem(method._teacher.__globals__, "reconstruction", watched_loss)
        method._teacher(items, run)
    i = next(run.batches(24, 24, "teacher", 0))
    joint = joint_similarity(items.image.rows[i], items.text.rows[i], DEFAULT.alpha, DEFAULT.beta, DEFAULT.lamb)
    f, g, s = first[0]
    assert torch.allclose(s, 1.3 * clear_pair_weights(joint, bounds[0], 0.4, 0.6) * joint)
    assert run.steps[0].loss == pytest.approx(reconstruction(f, g, s, 0.7).item())
    whole = joint_similarity(items.image.rows, items.text.rows, DEFAULT.alpha, DEFAULT.beta, DEFAULT.lamb)
    others = whole[~torch.eye(24, dtype=torch.bool)]
    assert (bounds[0].low, bounds[0].high) == pytest.approx((others.min().item(), others.max().item()))


def test_steps_and_their_rates() -> None:
    run = WatchedRun(8)
    KDCMH(replace(QUICK, teacher_batch=24, batch_size=48, teacher_lr=0.01, lr=0.03)).train(toy_items(96), run)
    assert Counter((step.phase, step.epoch, step.rates) for step in run.steps) == {
        key: count for epoch in (0, 1) for key, count in {
            ("teacher", epoch, (0.01, 0.01)): 4, ("student", epoch, (0.03, 0.03)): 2,
        }.items()
    }  # fmt: skip


def test_a_student_s_settings_share_one_teacher_and_features_need_none() -> None:
    items, run = toy_items(48), Run(8)
    KDCMH(replace(QUICK, knowledge="features")).train(items, run)
    assert not run.stages
    KDCMH(QUICK).train(items, run)
    KDCMH(replace(QUICK, share=0.2, gamma=0.3, lr=0.1, batch_size=24)).train(items, run)
    assert len(run.stages) == 1


@pytest.mark.parametrize("knowledge", ["codes", "features"])
def test_nan_diverges(knowledge: str) -> None:
    items = toy_items(40)
    items.image.rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        KDCMH(replace(QUICK, knowledge=knowledge)).train(items, Run(8, max_epochs=1))


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=1)
    hasher = KDCMH(replace(QUICK, lr=1e-2, teacher_lr=1e-2, encoder_lr=1e-3)).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    assert {step.rates for step in run.steps} == {(1e-2, 1e-3 if pretrained else 1e-2) * 2}
