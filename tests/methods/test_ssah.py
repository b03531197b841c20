"""SSAH against its equations, written out, and who learns from whom."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.losses import sign
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun

SSAH = methods.get("ssah")
SMALL = replace(SSAH.config_class(), width=12, hidden=10)
MODULE = __import__(SSAH.__module__, fromlist=["Outputs"])

LABELS = [[1.0, 0.0], [0.0, 1.0]]  # of a batch of two
S = [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]  # with all three items


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OUT = MODULE.Outputs(_rows(0, 2, 5).relu(), _rows(1, 2, 4).tanh(), _rows(2, 2, 2).sigmoid())
BANK = MODULE.Outputs(_rows(3, 3, 5).relu(), _rows(4, 3, 4).tanh(), _rows(5, 3, 2).sigmoid())
B = sign(_rows(6, 2, 4))


def _pairs(own: Tensor, bank: Tensor, squared: bool) -> float:
    total = 0.0
    for i in range(2):
        for j in range(3):
            theta = 0.5 * sum(a * b for a, b in zip(own[i].tolist(), bank[j].tolist(), strict=True))
            s = S[i][j] * (0.999 if squared else 1)
            total += (math.log(1 + math.exp(theta)) - s * theta) ** (2 if squared else 1)
    return total / 6


def _square(a: Tensor, b: Tensor) -> float:
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    return sum((x - y) ** 2 for x, y in pairs) / len(pairs)


@pytest.mark.parametrize("pair_loss", ["nll", "squared"])
def test_the_loss_is_that_of_the_paper(pair_loss: str) -> None:
    labels, squared = torch.tensor(LABELS).double(), pair_loss == "squared"
    config = replace(SMALL, alpha=0.3, gamma=0.7, eta=1.3, beta=1.7, pair_loss=pair_loss)
    found = SSAH(config)._loss(OUT, BANK, B, labels, torch.tensor(S).double())
    expected = 0.3 * _pairs(OUT.features, BANK.features, squared) + 0.7 * _pairs(OUT.codes, BANK.codes, squared)
    expected += 1.3 * _square(OUT.codes, B) + 1.7 * _square(OUT.labels, labels)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_a_huge_theta_costs_what_it_should() -> None:
    theta = torch.tensor([[2000.0, -2000.0]])
    assert SSAH(SMALL)._pairs(theta, torch.tensor([[0.0, 1.0]])).item() == 2000
    assert SSAH(SMALL)._pairs(theta, torch.tensor([[1.0, 0.0]])).item() == 0


def test_a_critic_learns_that_the_label_s_features_are_1() -> None:
    critic = nn.Linear(5, 1).double()
    found = SSAH._critic_loss(critic, OUT.features, BANK.features[:2])
    p = [1 / (1 + math.exp(-critic(row).item())) for row in (*OUT.features, *BANK.features[:2])]
    expected = -(math.log(1 - p[0]) + math.log(1 - p[1]) + math.log(p[2]) + math.log(p[3])) / 4
    assert found.item() == pytest.approx(expected, rel=1e-6)


def _image_features(delta: float, critic_lr: float = 1e-3, epochs: int = 1) -> Tensor:
    items = toy_items(40)
    hasher = SSAH(replace(SMALL, delta=delta, critic_lr=critic_lr)).train(items, Run(8, max_epochs=epochs))
    return hasher.modules["image"][0](items.image.rows).detach()


def test_fooling_the_critic_reaches_the_networks() -> None:
    assert not torch.equal(_image_features(0.0), _image_features(1.0))


def test_the_critic_s_steps_reach_the_networks_through_the_fooling_alone() -> None:
    assert torch.equal(_image_features(0.0, 1e-3, 3), _image_features(0.0, 1e-1, 3))
    assert not torch.equal(_image_features(1.0, 1e-3, 3), _image_features(1.0, 1e-1, 3))


def test_images_and_texts_learn_from_the_label_network_and_codes_are_renewed_between_epochs() -> None:
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    class Watched(SSAH):
        def _loss(self, out, bank, b, labels, similarity):  # type: ignore[no-untyped-def]
            seen.append((out.codes.detach().clone(), bank.codes.clone(), b.clone()))
            return super()._loss(out, bank, b, labels, similarity)

    items = toy_items(40)
    Watched(SMALL).train(items, Run(8, max_epochs=2))
    assert len(seen) == 6, "one batch of each network in each of two epochs"
    run = Run(8)
    order = {
        (name, epoch): next(run.batches(40, 128, name, epoch))
        for name in ("label", "image", "text")
        for epoch in range(2)
    }
    bank = torch.zeros(40, 8)
    bank[order["label", 0]] = seen[0][0]
    assert all(torch.equal(step[1], bank) for step in seen[:3]), "the pairs are those with the label network's codes"
    for name, step in zip(("image", "text"), seen[1:3], strict=True):
        bank[order[name, 0]] += step[0]
    assert torch.equal(seen[3][2], sign(bank)[order["label", 1]]), "B = sgn(H_L + H_I + H_T) of the epoch before"


def test_every_network_and_critic_steps_once_a_batch() -> None:
    run = WatchedRun(8, max_epochs=2)
    SSAH(replace(SMALL, batch_size=20, critic_lr=0.02)).train(toy_items(40), run)
    assert Counter((step.epoch, step.rates == (0.02,)) for step in run.steps) == {
        (0, False): 6, (0, True): 4, (1, False): 6, (1, True): 4,
    }  # fmt: skip


def test_a_network_s_step_falls_linearly() -> None:
    run = WatchedRun(8)
    SSAH(replace(SMALL, epochs=5, critic_lr=0.02)).train(toy_items(40), run)
    found = [{rate for s in run.steps if s.epoch == epoch for rate in s.rates} - {0.02} for epoch in range(5)]
    assert [len(rates) for rates in found] == [1] * 5
    assert [max(rates) for rates in found] == pytest.approx([1e-3 + (1e-6 - 1e-3) * epoch / 4 for epoch in range(5)])


def test_the_released_faults() -> None:
    released = with_preset(SSAH.config_class, "released")
    assert (released.pair_loss, released.delta) == ("squared", 0.0)


def test_codes_do_not_need_the_label_network() -> None:
    hasher = SSAH(SMALL).train(toy_items(40), Run(8, max_epochs=1))
    assert set(hasher.modules) == {"image", "text"}


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=3)
    SSAH(SMALL).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1, 2]
    names = {"loss_label", "loss_image", "critic_image", "fooling_image", "loss_text", "critic_text", "fooling_text"}
    for event in run.events:
        assert names | {"balance", "dead"} <= event.keys()
        assert not {"critic_label", "fooling_label"} & event.keys()
        assert all(math.isfinite(value) for value in event.values())
