"""AGAH against its equations, written out, and its class codes against every other choice."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.losses import sign
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

AGAH = methods.get("agah")
SMALL = replace(AGAH.config_class(), width=12, hidden=10)
MODULE = __import__(AGAH.__module__, fromlist=["Outputs", "_Attention"])

LABELS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1]]).double()


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _outputs(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    return MODULE.Outputs(_rows(seed, 3, 5), _rows(seed + 1, 3, 4).tanh(), _rows(seed + 2, 3, 3))


IMAGE, TEXT, CLASS_CODES = _outputs(0), _outputs(3), sign(_rows(6, 3, 4))


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def _ranking(anchors: list[list[float]], others: list[list[float]]) -> float:
    similar = (LABELS @ LABELS.T > 0).tolist()
    return sum(
        max(max(1 - _cosine(anchors[i], others[p]), 0) - max(1 - _cosine(anchors[i], others[n]), 0) + 0.4, 0)
        for i, p, n in itertools.product(range(3), repeat=3)
        if similar[i][p] and not similar[i][n]
    )


def test_the_loss_is_that_of_the_paper() -> None:
    critics = {name: nn.Linear(5, 1).double() for name in ("image", "text")}
    config = replace(SMALL, margin=0.4, alpha=0.3, beta=0.7, gamma=0.9, eta=1.3, mu=1.7)
    found = AGAH(config)._losses(IMAGE, TEXT, critics, LABELS, CLASS_CODES)
    h, g = IMAGE[1].tolist(), TEXT[1].tolist()
    codes, odds = h + g, IMAGE[2].tolist() + TEXT[2].tolist()
    labels = LABELS.tolist() * 2
    expected = [
        _ranking(h, g) + _ranking(g, h),
        0.3 * sum(1 / (1 + math.exp(_cosine([abs(x) for x in code], [1.0] * 4))) for code in codes),
        0.7 * sum(
            -math.log(1 / (1 + math.exp(-z if y else z)))
            for row, truth in zip(odds, labels, strict=True) for z, y in zip(row, truth, strict=True)
        ),
        0.9 * sum(
            (sum(x * c for x, c in zip(code, word, strict=True)) - 4 * (2 * y - 1)) ** 2
            for code, truth in zip(codes, labels, strict=True)
            for word, y in zip(CLASS_CODES.tolist(), truth, strict=True)
        ),
        1.3 * sum((abs(x) - 1) ** 2 for code in codes for x in code),
        -1.7 * (critics["text"](IMAGE[0]).sum().item() + critics["image"](TEXT[0]).sum().item()) / 3,
    ]  # fmt: skip
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_a_critic_learns_to_rate_its_own_view_higher() -> None:
    """The slope of a linear critic is its weight everywhere, so its penalty is known."""
    critics = {name: nn.Linear(5, 1).double() for name in ("image", "text")}
    found = AGAH._critic_loss(critics, IMAGE[0], TEXT[0])
    expected = 0.0
    for name, own, other in (("image", IMAGE[0], TEXT[0]), ("text", TEXT[0], IMAGE[0])):
        weight = critics[name].weight.flatten().tolist()
        expected += critics[name](other).mean().item() - critics[name](own).mean().item()
        expected += 10 * (math.hypot(*weight) - 1) ** 2
    assert found.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("target", ["binary", "signed"])
@pytest.mark.parametrize("seed", range(5))
def test_every_bit_of_the_class_codes_is_the_best_of_all_choices(target: str, seed: int) -> None:
    bits, classes, n = 3, 3, 7
    u, v, before = (sign(_rows(10 * seed + s, m, bits)) for s, m in enumerate((n, n, classes)))
    labels = (_rows(10 * seed + 3, n, classes) > 0).double()
    found = AGAH(replace(SMALL, class_target=target))._class_codes(before, [u, v], labels)
    y = 2 * labels - 1 if target == "signed" else labels

    def cost(c: Tensor) -> float:
        against = 2 * torch.eye(classes).double() - 1
        pairs = ((u, y), (v, y), (before, against))
        return sum((x @ c.T - bits * goal).pow(2).sum().item() for x, goal in pairs)

    c = before.clone()
    for bit in range(bits):
        costs = {}
        for column in itertools.product((-1.0, 1.0), repeat=classes):
            c[:, bit] = torch.tensor(column)
            costs[column] = cost(c)
        chosen = tuple(found[:, bit].tolist())
        assert costs[chosen] == pytest.approx(min(costs.values()), rel=1e-12)
        c[:, bit] = found[:, bit]


def test_features_attend_to_the_classes_that_they_are_like() -> None:
    attention = MODULE._Attention(3, 5, 0.7).double()
    attention.classes.copy_(_rows(7, 3, 5))
    f = _rows(8, 2, 5)
    for row, found in zip(f.tolist(), attention(f).tolist(), strict=True):
        classes = attention.classes.tolist()
        a = [1 / (1 + math.exp(-5 * sum(x * m for x, m in zip(row, c, strict=True)))) for c in classes]
        mean = [sum(w * c[d] for w, c in zip(a, classes, strict=True)) / sum(a) for d in range(5)]
        assert found == pytest.approx([math.sqrt(5) * (0.7 * x + 0.3 * m) for x, m in zip(row, mean, strict=True)])


def test_a_class_feature_is_the_direction_of_its_items_mean_and_0_without_any() -> None:
    attention = MODULE._Attention(4, 5, 0.8).double()
    image, text = _rows(9, 3, 5), _rows(10, 3, 5)
    attention.renew(torch.cat([LABELS, torch.zeros(3, 1)], 1), image, text)
    both = (image + text) / 2
    for c, members in enumerate(([0, 1], [1], [2])):
        mean = both[members].mean(0)
        assert torch.allclose(attention.classes[c], mean / mean.norm())
    assert not attention.classes[3].any()


def _image_features(mu: float, critic_lr: float = 1e-3, epochs: int = 1) -> Tensor:
    items = toy_items(40)
    config = replace(SMALL, mu=mu, critic_lr=critic_lr)
    return AGAH(config).train(items, Run(8, max_epochs=epochs)).modules["image"][0](items.image.rows).detach()


def test_fooling_the_critics_reaches_the_networks_and_nothing_else_of_the_critics_does() -> None:
    assert not torch.equal(_image_features(0.0), _image_features(1e4))
    assert torch.equal(_image_features(0.0, 1e-3, 2), _image_features(0.0, 1e-1, 2))


def test_class_codes_and_class_features_are_renewed_once_an_epoch() -> None:
    seen: list[Tensor] = []

    class Watched(AGAH):
        def _losses(self, image, text, critics, labels, class_codes):  # type: ignore[no-untyped-def]
            seen.append(class_codes.clone())
            return super()._losses(image, text, critics, labels, class_codes)

        def _class_codes(self, c, codes, labels):  # type: ignore[no-untyped-def]
            assert torch.equal(c, seen[-1]) and all(set(u.unique().tolist()) == {-1.0, 1.0} for u in codes)
            assert all(len(u) == len(labels) == 40 for u in codes)
            return super()._class_codes(c, codes, labels)

    Watched(replace(SMALL, batch_size=20)).train(toy_items(40), Run(8, max_epochs=2))
    assert len(seen) == 4 and torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[1], seen[2])


def test_the_code_s_schedule() -> None:
    paper, released = (with_preset(AGAH.config_class, name) for name in ("paper", "released"))
    assert (paper.epochs, paper.decay_every, paper.decay_at_once) == (300, 100, False)
    assert released == replace(AGAH.config_class(), decay_at_once=True)


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    AGAH(SMALL).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    names = {"triplets", "cosine", "labels", "classes", "quantise", "fooling", "critic", "balance", "dead"}
    for event in run.events:
        assert names <= event.keys()
        assert all(math.isfinite(value) for value in event.values())
