"""TwDH against its equations, written out over pairs, and its class centres against what they must keep."""

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

TwDH = methods.get("twdh")
DEFAULT = replace(TwDH.config_class(), long_bits=32, hidden=16)
MODULE = __import__(TwDH.__module__, fromlist=["_losses"])


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _softmax_pairs(z: list[float]) -> list[float]:
    out = []
    for a, b in zip(z[::2], z[1::2], strict=True):
        out += [math.exp(a) / (math.exp(a) + math.exp(b)), math.exp(b) / (math.exp(a) + math.exp(b))]
    return out


def test_the_losses_are_those_of_pairs() -> None:
    z, codes = _rows(0, 4, 6), _rows(1, 4, 3).sign()  # three pairs an item
    entropy = softness = 0.0
    for row, code in zip(z.tolist(), codes.tolist(), strict=True):
        p = _softmax_pairs(row)
        target = [value for bit in code for value in ((0, 1) if bit > 0 else (1, 0))]
        entropy -= sum(math.log(a if t else 1 - a) for a, t in zip(p, target, strict=True)) / 24
        softness += sum((2 * a - 1) ** 2 for a in p) / 24
    odds = z[:, 1::2] - z[:, ::2]
    found = MODULE._losses(odds, codes)
    assert [value.item() for value in found] == pytest.approx([entropy, 1 - softness])


def test_short_codes_are_the_argmax_of_the_pairs_that_t_makes() -> None:
    z, matrix = _rows(0, 5, 8), _rows(1, 8, 6)
    odds = z[:, 1::2] - z[:, ::2]
    found = MODULE.Shorten(matrix)(odds).tolist()
    for row, shortened in zip(z.tolist(), found, strict=True):
        u = _softmax_pairs(row)
        out = [sum(a * float(matrix[i, j]) for i, a in enumerate(u)) for j in range(6)]
        p = _softmax_pairs(out)
        assert [1 / (1 + math.exp(-value)) for value in shortened] == pytest.approx(p[1::2])


@pytest.mark.parametrize(("classes", "bits"), [(3, 4), (8, 4), (8, 8), (45, 32), (24, 16), (80, 512)])
def test_hadamard_centres_differ_in_half_of_the_bits_at_least(classes: int, bits: int) -> None:
    codes = MODULE.class_centres(classes, bits, torch.Generator())
    assert codes.shape == (classes, bits) and set(codes.flatten().tolist()) == {-1.0, 1.0}
    apart = ((bits - codes @ codes.T) / 2).fill_diagonal_(bits)
    assert apart.min() >= bits / 2


@pytest.mark.parametrize(("classes", "bits"), [(3, 12), (20, 8), (1, 6), (2, 7)])
def test_other_centres_are_balanced_and_the_best_of_twenty(classes: int, bits: int) -> None:
    codes = MODULE.class_centres(classes, bits, torch.Generator().manual_seed(0))
    assert codes.shape == (classes, bits) and ((codes > 0).sum(1) == bits // 2).all()
    again = MODULE.class_centres(classes, bits, torch.Generator().manual_seed(0))
    assert torch.equal(codes, again)
    if bits == 12:
        assert torch.pdist(codes, 0).min() >= 6


def test_only_what_cancels_out_is_drawn_and_all_items_of_a_batch_share_it() -> None:
    codes = torch.tensor([[1.0, 0, -1, 0, 0], [0, 0, -1, 0, 1]])
    settled = MODULE._settled(codes)
    assert torch.equal(settled[codes != 0], codes[codes != 0])
    assert set(settled.flatten().tolist()) <= {-1.0, 1.0}
    assert settled[0, 1] == settled[1, 1] and settled[0, 3] == settled[1, 3]


def test_a_bit_whose_labels_cancel_out_has_another_target_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    targets: list[Tensor] = []
    losses = MODULE._losses

    def watched(odds: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        if codes.shape == (80, 32):  # both views' long codes, all 40 items
            targets.append(codes)
        return losses(odds, codes)

    items = toy_items(40)
    assert items.labels is not None
    items.labels[:, :2] = 1
    items.labels[:, 2:] = 0
    monkeypatch.setattr(MODULE, "_losses", watched)
    run = Run(8, max_epochs=12)
    TwDH(DEFAULT).train(items, run)
    centres = MODULE.class_centres(4, 32, run.generator("centres"))
    settled = centres[0] == centres[1]
    seen = torch.stack(targets)  # (epochs, items, bits)
    assert torch.equal(seen[..., settled], centres[0, settled].expand(12, 80, -1))
    assert (seen[..., ~settled] == seen[:, :1, ~settled]).all(), "one code for a whole batch"
    assert seen[:, 0, ~settled].mean().abs() < 0.3, "either value as often"


def test_t_is_trained_until_it_shortens_every_class_rightly() -> None:
    stream = torch.Generator().manual_seed(0)
    centres = [MODULE.class_centres(6, width, stream) for width in (64, 12)]
    labels = torch.eye(6).repeat(40, 1)
    codes = [labels @ of_class for of_class in centres]
    run = Run(12)
    matrix = TwDH(replace(DEFAULT, long_bits=64, transform_lr=0.1))._transform(codes, centres, run)
    assert torch.equal(sign(MODULE._shortened(centres[0], matrix)), centres[1])
    assert [event["centres"] < 1 for event in run.events] == [True] * (len(run.events) - 1) + [False]


def test_an_item_that_is_sure_of_its_long_code_gets_the_short_code_of_its_class() -> None:
    items = toy_items(96)
    assert items.labels is not None
    run = Run(8)
    hasher = TwDH(replace(DEFAULT, hidden=64, epochs=150, lr=1e-2)).train(items, run)
    stream = run.generator("centres")
    _, short = (MODULE.class_centres(4, width, stream) for width in (32, 8))
    single = items.labels.sum(1) == 1
    expected = (items.labels @ short)[single]
    for name, view in items.views.items():
        found = torch.from_numpy(hasher.encode(name, view)).float()[single]
        assert (found == expected).float().mean() > 0.9


def test_the_paper_s_values() -> None:
    paper = with_preset(TwDH.config_class, "paper")
    assert (paper.long_bits, paper.alpha, paper.short_weight, paper.lasso) == (512, 0.5, 0.0, 1e-3)
    assert (paper.transform_lr, paper.transform_epochs, paper.epochs, paper.batch_size) == (0.1, 100, 100, 128)
    assert (paper.lr, paper.encoder_lr, paper.warm_up, paper.weight_decay) == (1e-3, 1e-5, 0.1, 0.2)


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    TwDH(DEFAULT).train(toy_items(40), run)
    assert [event["phase"] for event in run.events] == ["transform"] * 2 + ["train"] * 2
    assert all(math.isfinite(v) for event in run.events for v in event.values() if not isinstance(v, str))
