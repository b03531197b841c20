"""MITH against the parts of its network and the terms of its loss, written out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import with_preset
from hashbench.errors import Diverged
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import ToyEncoder, toy_items

from .watched import WatchedRun

MITH = methods.get("mith")
DEFAULT = MITH.config_class()
module: Any = __import__(MITH.__module__, fromlist=["gathered"])


def _rows(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("top", [1, 3, 5])
def test_a_bit_gathers_the_tokens_that_keep_it(top: int) -> None:
    tokens, strength = _rows(0, 4, 6, 7), _rows(1, 4, 6, 5).tanh()
    strength[:, 4:] = 0  # padding
    strength[2] = -strength[2].abs()  # no token keeps any bit
    found = module.gathered(tokens, strength, top)
    for item in range(4):
        for bit in range(5):
            keep = [
                j
                for j, row in enumerate(strength[item].tolist())
                if row[bit] > 0 and sum(other > row[bit] for other in row) < top
            ]
            weights = [math.exp(strength[item, j, bit]) for j in keep]
            expected = sum(
                (w / sum(weights) * tokens[item, j] for w, j in zip(weights, keep, strict=True)), 0 * _rows(0, 7)
            )
            torch.testing.assert_close(found[item, bit], expected)
    assert not found[2].any()


@pytest.mark.parametrize("width", [6, 7])
def test_positions_are_sines_and_cosines(width: int) -> None:
    found = module.sine_positions(5, width)
    for place in range(5):
        for column in range(width):
            angle = place / 10000 ** ((column - column % 2) / width)
            expected = (math.cos if column % 2 else math.sin)(angle) / math.sqrt(width)
            assert float(found[place, column]) == pytest.approx(expected, abs=1e-6)


def test_global_concepts_are_residual_layers_and_one_linear_map() -> None:
    torch.manual_seed(0)
    concepts = module.GlobalConcepts(6, 4, 2)
    x = _rows(0, 3, 6)
    vector, cls = concepts(x)
    for norm, up, gelu, down in concepts.blocks:
        x = x + down(gelu(up(norm(x))))
    assert (up.out_features, down.in_features) == (24, 24)
    assert torch.equal(vector, x)
    torch.testing.assert_close(cls, torch.tanh(x @ concepts.to_bits.weight.T))


def test_every_bit_has_a_layer_of_its_own() -> None:
    torch.manual_seed(0)
    local = module.LocalConcepts(8, 5, 2, top=3)
    tokens, strength = _rows(0, 4, 6, 8), _rows(1, 4, 6, 5).tanh()
    bits, tok = local(tokens, strength)
    assert torch.equal(bits, local.transformer(module.gathered(tokens, strength, 3) + local.positions))
    for bit in range(5):
        alone = nn.Linear(8, 1)
        alone.weight.data, alone.bias.data = (
            local.bitwise.weight.data[bit : bit + 1],
            local.bitwise.bias.data[bit : bit + 1],
        )
        torch.testing.assert_close(tok[:, bit], torch.tanh(alone(bits[:, bit])[:, 0]))


def _network(items: Items, bits: int = 8, width: int = 64) -> Any:
    torch.manual_seed(0)
    concepts = module.GlobalConcepts(width, bits, 2)
    return module.HashFunction(items.image, width, bits, concepts, DEFAULT).eval()


@torch.no_grad()
def test_more_padding_changes_nothing_and_the_order_of_tokens_neither() -> None:
    items = toy_items(12, tokens=True)
    net = _network(items)
    sequences = items.image.encoder()(items.image.features())
    net.encoder = net.encoder[1]  # standardises, and reads sequences of any length
    plain = net(sequences)
    longer = torch.cat([sequences, torch.zeros(12, 3, items.image.dim)], 1)
    torch.testing.assert_close(net(longer), plain)
    torch.testing.assert_close(net(longer[:, [0, 5, 2, 1, 6, 4, 3]]), plain)


@torch.no_grad()
def test_the_code_of_a_single_item_is_its_code() -> None:
    items = toy_items(12, tokens=True)
    net = _network(items)
    rows = items.image.features()
    torch.testing.assert_close(torch.cat([net(row[None]) for row in rows]), net(rows))
    assert net(rows[:1]).shape == (1, 8)


def test_both_granularities_are_in_the_code_and_local_codes_do_not_teach_the_concepts() -> None:
    items = toy_items(12, tokens=True)
    net = _network(items)
    found = net.read(items.image.features())
    assert torch.equal(net(items.image.features()), found.cls + found.tok)
    found.tok.sum().backward()
    assert all(p.grad is None for p in net.concepts.parameters())
    assert all(bool(p.grad.any()) for p in net.local.bitwise.parameters())
    assert bool(net.reduce.weight.grad.any())


def test_vectors_and_tokens_are_standardised_each_for_themselves() -> None:
    items = toy_items(200, tokens=True)
    sequences = items.text.encoder()(items.text.features())
    sequences[:, 1:] *= 5
    view = View(sequences.flatten(1), items.text.dim, items.text.make_encoder, length=items.text.length)
    found = module.StandardisedTokens(view, view.encoder())(sequences)
    there = sequences[:, 1:].ne(0).any(2)
    assert torch.equal(found[:, 1:].ne(0).any(2), there), "padding must stay zero"
    for rows in (found[:, 0], found[:, 1:][there]):
        torch.testing.assert_close(rows.mean(0), torch.zeros(20), atol=1e-4, rtol=0)
        torch.testing.assert_close(rows.std(0, correction=0), torch.ones(20), atol=1e-4, rtol=0)


@pytest.mark.parametrize("equal", [True, False])
def test_views_are_brought_to_one_width_only_where_theirs_differ(equal: bool) -> None:
    items = toy_items(40, tokens=True)
    if equal:
        items = replace(items, views={"image": items.image, "text": items.image})
    nets = MITH(replace(DEFAULT, width=16)).train(items, Run(8, max_epochs=1)).modules
    assert all(isinstance(net.reduce, nn.Identity) == equal for net in nets.values())
    assert {net.concepts.to_bits.in_features for net in nets.values()} == {24 if equal else 16}
    assert nets["image"].concepts is nets["text"].concepts
    assert nets["image"].local is not nets["text"].local


# ---------------------------------------------------------------- the loss


def test_the_likelihood_of_a_buffer() -> None:
    buffer, codes = _rows(0, 6, 40) * 9, _rows(1, 4, 40).tanh()
    s = torch.randint(2, (4, 6), generator=torch.Generator().manual_seed(2)).float()
    total = 0.0
    for i in range(4):
        for j in range(6):
            theta = float(codes[i] @ buffer[j]) / 2
            total -= float(s[i, j]) * theta - math.log1p(math.exp(-abs(theta))) - max(theta, 0)
    assert float(module.likelihood(buffer, codes, s)) == pytest.approx(total / 24, rel=1e-5)


def test_the_alignment_of_rows_with_their_partners() -> None:
    def one(a: Tensor, b: Tensor) -> float:
        cosine = [[float(torch.cosine_similarity(x, y, dim=0)) / 0.07 for y in b] for x in a]
        rows = range(len(a))
        there = sum(math.log(sum(math.exp(c) for c in cosine[i])) - cosine[i][i] for i in rows)
        back = sum(math.log(sum(math.exp(row[i]) for row in cosine)) - cosine[i][i] for i in rows)
        return (there + back) / 2 / len(a)

    a, b = _rows(0, 3, 5, 4), _rows(1, 3, 5, 4)
    assert float(module.alignment(a[0], b[0])) == pytest.approx(one(a[0], b[0]), rel=1e-4)
    expected = sum(one(x, y) for x, y in zip(a, b, strict=True)) / 3
    assert float(module.alignment(a, b)) == pytest.approx(expected, rel=1e-4)


def _reading(seed: int) -> Any:
    cls, tok = (_rows(seed + k, 4, 5).tanh().requires_grad_() for k in (2, 3))
    return module.Reading(_rows(seed, 4, 6), _rows(seed + 1, 4, 5, 6), cls, tok)


def test_the_terms() -> None:
    config = replace(DEFAULT, alpha=0.3, beta=2.0, gamma=3.0, delta=4.0, mu=5.0, lam=0.7)
    image, text = _reading(0), _reading(10)
    buffers = {"image": _rows(20, 2, 7, 5), "text": _rows(21, 2, 7, 5)}
    s = torch.randint(2, (4, 7), generator=torch.Generator().manual_seed(2)).float()
    found = MITH(config)._losses(image, text, buffers, s)
    likelihood, alignment = module.likelihood, module.alignment
    within = likelihood(buffers["image"][1], image.tok, s) + likelihood(buffers["text"][1], text.tok, s)
    across = likelihood(buffers["image"][0], text.cls, s) + likelihood(buffers["text"][0], image.cls, s)
    quantised = distilled = 0.0
    for m in range(4):
        for k in range(5):
            mixed = 0.7 * (image.cls[m, k] + text.cls[m, k]) + 0.3 * (image.tok[m, k] + text.tok[m, k])
            target = 1.0 if mixed >= 0 else -1.0
            for item in (image, text):
                cls, tok = item.cls[m, k].item(), item.tok[m, k].item()
                quantised += ((cls + tok) / 2 - target) ** 2 / 20
                distilled += 1.1 * (cls - tok) ** 2 / 4
    pairs, bits = alignment(image.vector, text.vector), alignment(image.bits, text.bits)
    expected = [within.item(), 2 * across.item(), 3 * quantised, 4 * float(pairs + 0.3 * bits), 5 * distilled]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_distillation_pulls_local_codes_ten_times_as_hard_as_global_ones() -> None:
    image, text = _reading(0), _reading(10)
    buffers = {"image": _rows(20, 2, 7, 5), "text": _rows(21, 2, 7, 5)}
    MITH(DEFAULT)._losses(image, text, buffers, torch.ones(4, 7))[4].backward()
    for item in (image, text):
        pull = 2 * (item.tok - item.cls).detach() / 4
        torch.testing.assert_close(item.tok.grad, pull)
        torch.testing.assert_close(item.cls.grad, -0.1 * pull)


def test_buffers_hold_noise_until_an_item_was_seen_and_then_its_codes() -> None:
    seen: list[dict[str, Tensor]] = []
    made: list[Any] = []

    class Watched(MITH):
        def _losses(self, image: Any, text: Any, buffers: Any, s: Tensor) -> Tensor:
            seen.append({name: buffer.clone() for name, buffer in buffers.items()})
            made.append({"image": image, "text": text})
            return super()._losses(image, text, buffers, s)

    run = Run(8, max_epochs=1)
    Watched(replace(DEFAULT, batch_size=16)).train(toy_items(40, tokens=True), run)
    first, second, *_ = run.batches(40, 16, "pairs", 0)
    for name in ("image", "text"):
        start = seen[0][name]
        assert torch.equal(start[:, first], torch.stack([made[0][name].cls, made[0][name].tok]))
        unseen = start[:, torch.isin(torch.arange(40), first, invert=True)]
        assert float(unseen.std()) == pytest.approx(1, abs=0.15)
        assert torch.equal(seen[1][name][:, first], start[:, first])
        assert torch.equal(seen[1][name][:, second], torch.stack([made[1][name].cls, made[1][name].tok]))


# ---------------------------------------------------------------- the whole


def test_the_paper_s_values() -> None:
    paper = with_preset(MITH.config_class, "paper")
    assert (paper.alpha, paper.beta, paper.gamma, paper.delta, paper.mu, paper.lam) == (0.01, 10, 8, 50, 1, 0.99)
    assert (paper.top, paper.blocks, paper.layers, paper.epochs, paper.batch_size) == (8, 2, 2, 30, 128)
    assert (paper.lr, paper.encoder_lr, paper.weight_decay, paper.warm_up) == (1e-3, 2e-6, 0.01, 0.05)


@pytest.mark.parametrize("pretrained", [True, False])
def test_raw_views_train_their_encoders(pretrained: bool) -> None:
    items = toy_items(40, raw=True, tokens=True)
    items = replace(items, views={name: replace(view, pretrained=pretrained) for name, view in items.views.items()})
    run = WatchedRun(8, max_epochs=2)
    hasher = MITH(replace(DEFAULT, lr=1e-3, encoder_lr=1e-4)).train(items, run)
    for name in ("image", "text"):
        assert [m.moved for m in hasher.modules[name].modules() if isinstance(m, ToyEncoder)] == [True]
    head, encoder, *_ = run.steps[-1].rates
    assert encoder == pytest.approx(head / 10 if pretrained else head)


def test_nan_diverges() -> None:
    items = toy_items(40, tokens=True)
    items.text.rows[3, 0] = math.nan
    with pytest.raises(Diverged):
        MITH(DEFAULT).train(items, Run(8, max_epochs=2))


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    MITH(DEFAULT).train(toy_items(40, tokens=True), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    assert all(math.isfinite(value) for event in run.events for value in event.values())
