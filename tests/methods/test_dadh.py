"""DADH against its equations, written out."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.losses import sign
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

DADH = methods.get("dadh")
SMALL = replace(DADH.config_class(), hidden=16)
MODULE = __import__(DADH.__module__, fromlist=["_gains"])

# Items 0 and 1 share two labels, 0 and 2 and 1 and 2 one, 3 shares none with any.
LABELS = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]).double()


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_weight_is_the_share_of_the_best_ranking_s_gain() -> None:
    shared = (LABELS @ LABELS.T).int().tolist()
    for i, found in enumerate(MODULE._gains(LABELS).tolist()):
        best = sum((2**s - 1) / math.log2(r + 1) for r, s in enumerate(sorted(shared[i], reverse=True), 1))
        assert found == pytest.approx([(2**s - 1) / best for s in shared[i]])


def test_an_item_without_labels_has_no_weights() -> None:
    gains = MODULE._gains(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert gains.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def _distance(a: list[float], b: list[float]) -> float:
    return max(1 - sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b), 0)


def test_the_loss_is_that_of_the_paper() -> None:
    h, k, b = _rows(0, 4, 5).tanh(), _rows(1, 4, 5).tanh(), sign(_rows(2, 4, 5))
    found = DADH(replace(SMALL, alpha=0.7, beta=1.3, margin=0.5))._losses(h, k, b, LABELS)
    weights, ranking = MODULE._gains(LABELS).tolist(), 0.0
    for anchors, others in ((h.tolist(), k.tolist()), (k.tolist(), h.tolist())):
        for i, p, n in itertools.product(range(4), repeat=3):
            if weights[i][p] > 0 and weights[i][n] == 0:
                gap = _distance(anchors[i], others[p]) - _distance(anchors[i], others[n]) + 0.5
                ranking += weights[i][p] * max(gap, 0)
    quantise = sum((x - y) ** 2 for own in (h, k) for x, y in zip(own.flatten(), b.flatten(), strict=True)).item()
    assert [part.item() for part in found] == pytest.approx([0.7 * ranking, 1.3 * quantise], rel=1e-9)


def test_a_critic_learns_that_images_are_1() -> None:
    """The slope of a linear critic is its weight everywhere, so its penalty is known."""
    critic, image, text = nn.Linear(5, 1).double(), _rows(3, 4, 5), _rows(4, 4, 5)
    p = [[1 / (1 + math.exp(-critic(row).item())) for row in rows] for rows in (image, text)]
    expected = -sum(map(math.log, p[0])) / 4 - sum(math.log(1 - x) for x in p[1]) / 4
    expected += 10 * (math.hypot(*critic.weight.flatten().tolist()) - 1) ** 2
    assert DADH._critic_loss(critic, image, text).item() == pytest.approx(expected, rel=1e-6)


def test_codes_are_the_sign_of_their_regression_on_labels_and_the_outputs() -> None:
    labels, b, outputs = (_rows(5, 30, 4) > 0.5).double(), sign(_rows(6, 30, 6)), _rows(7, 30, 6)
    y, before = labels.numpy(), b.numpy()
    rows = np.vstack([y, np.sqrt(2.5) * np.eye(4)])  # a ridge of 2.5 is least squares with these rows more
    p = np.linalg.lstsq(rows, np.vstack([before, np.zeros((4, 6))]), rcond=None)[0]
    found = DADH(replace(SMALL, lamb=2.5, mu=0.8))._codes(b, labels, outputs)
    assert torch.equal(found, sign(torch.tensor(y @ p + 0.4 * outputs.numpy())))


def test_with_the_code_s_mu_the_networks_have_no_say_in_the_codes() -> None:
    seen: list[list[Tensor]] = []

    class Watched(DADH):
        def _codes(self, b, labels, outputs):  # type: ignore[no-untyped-def]
            seen[-1].append(super()._codes(b, labels, outputs))
            return seen[-1][-1]

    for mu in (1e-5, 10.0):
        for alpha in (1.0, 100.0):
            seen.append([])
            Watched(replace(SMALL, mu=mu, alpha=alpha, lr=1e-2)).train(toy_items(40), Run(8, max_epochs=4))
    assert torch.equal(seen[0][-1], seen[1][-1]), "whatever was learned"
    assert not torch.equal(seen[2][-1], seen[3][-1])


def _outputs_after(gamma: float, critic_lr: float = 1e-3, epochs: int = 1) -> tuple[Tensor, Tensor]:
    items = toy_items(40)
    hasher = DADH(replace(SMALL, gamma=gamma, critic_lr=critic_lr)).train(items, Run(8, max_epochs=epochs))
    image, text = (hasher.outputs(name, items.views[name]) for name in ("image", "text"))
    return image, text


def test_fooling_the_critics_trains_the_text_network_and_not_the_image_network() -> None:
    (image, text), (fooling_image, fooling_text) = _outputs_after(0.0), _outputs_after(1e6)
    assert torch.equal(image, fooling_image) and not torch.equal(text, fooling_text)


def test_the_critics_steps_reach_the_networks_through_the_fooling_alone() -> None:
    (image, text), (other_image, other_text) = _outputs_after(0.0, 1e-3, 2), _outputs_after(0.0, 1e-1, 2)
    assert torch.equal(image, other_image) and torch.equal(text, other_text)


def test_the_code_s_values_and_its_faults() -> None:
    paper, released = (with_preset(DADH.config_class, name) for name in ("paper", "released"))
    assert (paper.alpha, paper.beta, paper.gamma, paper.lamb, paper.mu) == (10.0, 1.0, 1.0, 1.0, 1e-5)
    assert (paper.lr, paper.epochs, paper.decay_every, paper.decay_at_once) == (5e-5, 300, 100, False)
    assert released == replace(DADH.config_class(), alpha=121.0, beta=1.1, mu=1e-5, decay_at_once=True)


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    DADH(SMALL).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    for event in run.events:
        assert {"triplets", "quantise", "fooling", "critic", "changed", "balance", "dead"} <= event.keys()
        assert all(math.isfinite(value) for value in event.values())
