"""UCMFH against the equations of its paper, written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from hashbench.config import with_preset
from hashbench.errors import Diverged
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun, encoder_moved, raw_items

UCMFH = methods.get("ucmfh")
DEFAULT = replace(UCMFH.config_class(), width=16, hidden=24)


def _cos(a: list[float], b: list[float]) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


@pytest.mark.parametrize("tau", [0.1, 0.5, 2.0])
def test_a_pair_is_told_from_all_other_vectors_of_both_views(tau: float) -> None:
    stream = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 3, generator=stream, dtype=torch.float64) for _ in range(2))
    z, expected = [*a.tolist(), *b.tolist()], 0.0
    for i in range(8):
        others = sum(math.exp(_cos(z[i], z[j]) / tau) for j in range(8) if j != i)
        expected -= math.log(math.exp(_cos(z[i], z[(i + 4) % 8]) / tau) / others) / 8
    found = UCMFH(replace(DEFAULT, temperature=tau))._contrast(a, b)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_the_contrast_does_not_overflow() -> None:
    a = torch.eye(4)
    assert UCMFH(replace(DEFAULT, temperature=0.01))._contrast(a, a).item() == pytest.approx(0.0, abs=1e-6)


def test_the_loss_is_that_of_features_and_of_codes() -> None:
    run = WatchedRun(8, max_epochs=1)
    config = replace(DEFAULT, w=0.7, lr=0.0, fusion_lr=0.0, batch_size=40)
    UCMFH(config).train(toy_items(40), run)
    (step,), (event,) = run.steps, run.events
    assert step.loss == pytest.approx(event["contrast_features"] + 0.7 * event["contrast_codes"], rel=1e-6)


def test_one_token_has_nothing_to_attend_to() -> None:
    """A layer is x + O V x, normalised, and a feed-forward block: what attention over one token comes to."""
    hasher = UCMFH(replace(DEFAULT, layers=1)).train(toy_items(40), Run(8, max_epochs=1))
    net = hasher.modules["image"].eval()
    (layer,) = (module for module in net.modules() if isinstance(module, nn.TransformerEncoderLayer))
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    value = layer.self_attn.in_proj_weight[32:], layer.self_attn.in_proj_bias[32:]
    h = layer.norm1(x + layer.self_attn.out_proj(nn.functional.linear(x, *value)))
    expected = layer.norm2(h + layer.linear2(layer.linear1(h).relu()))
    assert torch.allclose(layer(x[:, None])[:, 0], expected, atol=1e-5)


def test_the_views_share_no_weights() -> None:
    hasher = UCMFH(DEFAULT).train(toy_items(40), Run(8, max_epochs=1))
    image, text = ({id(p) for p in hasher.modules[name].parameters()} for name in ("image", "text"))
    assert image.isdisjoint(text)


def test_the_paper_s_schedule() -> None:
    paper = with_preset(UCMFH.config_class, "paper")
    assert (paper.temperature, paper.w, paper.layers, paper.dropout, paper.batch_size) == (0.5, 0.5, 2, 0.3, 128)
    assert paper.lr == pytest.approx(1e-3 * 1.2 * 1.2)
    run = WatchedRun(4, max_epochs=1)
    UCMFH(replace(paper, width=8, hidden=8)).train(toy_items(64), run)
    assert {step.rates for step in run.steps} == {(1e-4, 1.44e-3) * 2}


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    run = WatchedRun(8, max_epochs=2)
    config = replace(DEFAULT, lr=1e-2, fusion_lr=1e-3, encoder_lr=1e-4)
    hasher = UCMFH(config).train(raw_items(pretrained), run)
    assert all(encoder_moved(hasher.modules[name]) for name in ("image", "text"))
    assert {step.rates for step in run.steps} == {(1e-3, 1e-4 if pretrained else 1e-3, 1e-2) * 2}


def test_nan_diverges() -> None:
    items = toy_items(40)
    items.image.rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        UCMFH(DEFAULT).train(items, Run(8, max_epochs=2))


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    UCMFH(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
