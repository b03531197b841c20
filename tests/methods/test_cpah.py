"""CPAH against its equations, written out, and what is hashed."""

from __future__ import annotations

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

CPAH = methods.get("cpah")
SMALL = replace(CPAH.config_class(), width=16)
MODULE = __import__(CPAH.__module__, fromlist=["Outputs", "_Network"])

LABELS = torch.tensor([[1, 0], [1, 1], [0, 1]]).double()


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _outputs(seed: int) -> tuple[Tensor, ...]:
    return MODULE.Outputs(_rows(seed, 3, 5), _rows(seed + 1, 3, 5), _rows(seed + 2, 3, 4).tanh(), _rows(seed + 3, 3, 2))


IMAGE, TEXT, B = _outputs(0), _outputs(4), sign(_rows(8, 3, 4))


@pytest.mark.parametrize("parts", ["classifier", "features"])
def test_the_loss_is_that_of_the_paper(parts: str) -> None:
    classifier = nn.Linear(5, 3).double()
    config = replace(SMALL, alpha=0.7, beta=1.3, parts=parts)
    found = CPAH(config)._losses(IMAGE, TEXT, classifier, B, LABELS)
    h, g, labels = IMAGE[2].tolist(), TEXT[2].tolist(), LABELS.tolist()
    likelihood = 0.0
    for i in range(3):
        for j in range(3):
            theta = 0.5 * sum(x * y for x, y in zip(h[i], g[j], strict=True))
            s = float(any(x and y for x, y in zip(labels[i], labels[j], strict=True)))
            likelihood += math.log(1 + math.exp(theta)) - s * theta
    quantise = sum((x - y) ** 2 for own in (IMAGE[2], TEXT[2]) for x, y in zip(own.flatten(), B.flatten(), strict=True))
    told = 0.0
    for features, part in ((IMAGE[1], 0), (IMAGE[0], 1), (TEXT[0], 1), (TEXT[1], 2)):
        for row in features:
            scores = [math.exp(z) for z in (classifier(row) if parts == "classifier" else row).tolist()]
            told -= math.log(scores[part] / sum(scores))
    predict = sum(
        -math.log(1 / (1 + math.exp(-z if y else z)))
        for odds in (IMAGE[3].tolist(), TEXT[3].tolist())
        for row, truth in zip(odds, labels, strict=True)
        for z, y in zip(row, truth, strict=True)
    )
    expected = [likelihood, 1.3 * quantise.item(), 0.7 * told, 0.7 * predict]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_a_critic_learns_that_images_are_1() -> None:
    """The slope of a linear critic is its weight everywhere, so its penalty is known."""
    critic, image, text = nn.Linear(5, 1).double(), _rows(9, 4, 5), _rows(10, 4, 5)
    p = [[1 / (1 + math.exp(-critic(row).item())) for row in rows] for rows in (image, text)]
    expected = -sum(map(math.log, p[0])) / 4 - sum(math.log(1 - x) for x in p[1]) / 4
    expected += 10 * (math.hypot(*critic.weight.flatten().tolist()) - 1) ** 2
    assert CPAH._critic_loss(critic, image, text).item() == pytest.approx(expected, rel=1e-6)


def _network() -> nn.Module:
    return MODULE._Network(toy_items(40).image, 16, 8, 4).eval()


def test_the_mask_parts_the_features_and_the_common_part_is_hashed() -> None:
    net, rows = _network(), toy_items(40).image.rows[:5]
    f, out = net.features(rows), net(rows)
    mask = 1 / (1 + torch.exp(-(f @ net.mask.linear.weight.T + net.mask.linear.bias)))
    assert torch.allclose(out.common, f * mask, atol=1e-6) and torch.allclose(out.private, f * (1 - mask), atol=1e-6)
    head = net.codes[0]
    assert torch.allclose(out.codes, torch.tanh((f * mask) @ head.weight.T + head.bias), atol=1e-5)
    assert torch.allclose(out.labels, (f * mask) @ net.labels.weight.T + net.labels.bias, atol=1e-5)


def test_codes_in_use_are_those_of_training_but_for_the_code_s_fault() -> None:
    net, rows = _network(), toy_items(40).image.rows[:5]
    assert torch.equal(net.hasher(masked=True)(rows), net(rows).codes)
    assert torch.equal(net.hasher(masked=False)(rows), net.codes(net.features(rows)))
    items = toy_items(40)
    common, everything = (
        CPAH(replace(SMALL, hashed=hashed)).train(items, Run(8, max_epochs=1)).outputs("image", items.image)
        for hashed in ("common", "all")
    )
    assert not torch.equal(common, everything)


def test_codes_are_renewed_between_epochs_from_what_the_networks_gave() -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    class Watched(CPAH):
        def _losses(self, image, text, classifier, b, labels):  # type: ignore[no-untyped-def]
            seen.append(((image.codes + text.codes).detach(), b.clone()))
            return super()._losses(image, text, classifier, b, labels)

    Watched(SMALL).train(toy_items(40), Run(8, max_epochs=2))
    first, second = (next(Run(8).batches(40, 128, "pairs", epoch)) for epoch in range(2))
    bank = torch.zeros(40, 8)
    bank[first] = seen[0][0]
    assert torch.equal(seen[1][1], sign(bank)[second])


def _after(gamma: float, critic_lr: float = 1e-3, epochs: int = 1) -> tuple[Tensor, Tensor]:
    items = toy_items(40)
    hasher = CPAH(replace(SMALL, gamma=gamma, critic_lr=critic_lr)).train(items, Run(8, max_epochs=epochs))
    image, text = (hasher.outputs(name, items.views[name]) for name in ("image", "text"))
    return image, text


def test_fooling_the_critic_trains_the_text_network_and_not_the_image_network() -> None:
    (image, text), (fooling_image, fooling_text) = _after(0.0), _after(1e6)
    assert torch.equal(image, fooling_image) and not torch.equal(text, fooling_text)


def test_the_critic_s_steps_reach_the_networks_through_the_fooling_alone() -> None:
    (image, text), (other_image, other_text) = _after(0.0, 1e-3, 2), _after(0.0, 1e-1, 2)
    assert torch.equal(image, other_image) and torch.equal(text, other_text)


def test_the_code_s_values_and_its_faults() -> None:
    paper, released = (with_preset(CPAH.config_class, name) for name in ("paper", "released"))
    assert (paper.alpha, paper.beta, paper.gamma, paper.lr, paper.decay_every) == (0.1, 1.0, 100.0, 1e-4, 30)
    assert (paper.parts, paper.hashed, paper.decay_at_once) == ("classifier", "common", False)
    assert released == replace(CPAH.config_class(), parts="features", hashed="all", decay_at_once=True)


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    CPAH(SMALL).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    names = {"likelihood", "quantise", "parts", "labels", "fooling", "critic", "balance", "dead"}
    for event in run.events:
        assert names <= event.keys()
        assert all(math.isfinite(value) for value in event.values())
