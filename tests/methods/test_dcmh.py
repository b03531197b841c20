"""DCMH against eq. 1 and algorithm 1 of its paper, written out."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import override, with_preset
from hashbench.losses import sign
from hashbench.method import Items, Run, View
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun

DCMH = methods.get("dcmh")
DEFAULT = DCMH.config_class()

# Three items, two bits: image outputs F, text outputs G, codes B; items 0 and 1 share a label.
F = [[0.5, -1.0], [2.0, 0.25], [-0.75, 1.5]]
G = [[1.0, -0.5], [0.5, 0.5], [-1.0, 2.0]]
B = [[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
LABELS = [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
S = [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def _items() -> Items:
    """Views whose rows are the unit vectors, so that the weights of a linear layer are its outputs."""
    view = View(torch.eye(3), 3)
    return Items({"image": view, "text": view}, torch.tensor(LABELS))


def _net(outputs: list[list[float]]) -> nn.Linear:
    net = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor(outputs).T)
    return net


def _pass(outputs: list[list[float]], lr: float, **settings: Any) -> tuple[float, Tensor, Tensor]:
    """One pass of the image network; returns its loss, the outputs after it, and the buffer."""
    net, own = _net(outputs), torch.full((3, 2), 9.0)
    config = replace(DEFAULT, **settings)
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    out = {"image": own, "text": torch.tensor(G)}
    loss = DCMH(config)._pass(_items(), Run(2), "image", net, optimiser, out, torch.tensor(B), 0)
    return loss, net.weight.detach().T, own


def test_the_loss_of_three_items_is_eq_1() -> None:
    gamma, eta = 0.7, 0.3
    expected = 0.0
    for i in range(3):
        for j in range(3):
            theta = 0.5 * (F[i][0] * G[j][0] + F[i][1] * G[j][1])
            expected += math.log(1 + math.exp(theta)) - S[i][j] * theta
    expected += gamma * sum((B[i][k] - F[i][k]) ** 2 for i in range(3) for k in range(2))
    expected += eta * sum(sum(F[i][k] for i in range(3)) ** 2 for k in range(2))
    loss, _, buffer = _pass(F, lr=0.0, gamma=gamma, eta=eta)
    assert loss == pytest.approx(expected / (3 * 3), rel=1e-6)
    assert torch.equal(buffer, torch.tensor(F)), "the buffer holds what the network gave"


def test_a_step_follows_the_gradient_of_eq_1() -> None:
    gamma, eta, lr = 0.7, 0.3, 0.01
    f, g, b, s = (torch.tensor(x) for x in (F, G, B, S))
    gradient = 0.5 * ((0.5 * f @ g.T).sigmoid() - s) @ g + 2 * gamma * (f - b) + 2 * eta * f.sum(0)
    _, after, _ = _pass(F, lr, gamma=gamma, eta=eta)
    assert torch.allclose(after, f - lr * gradient / (3 * 3), atol=1e-6)


def test_rows_outside_the_batch_are_constants_from_the_buffer() -> None:
    items, net, lr = _items(), _net(F), 0.01
    own = torch.tensor([[9.0, 8.0], [7.0, 6.0], [5.0, 4.0]])
    run = Run(2)
    (batch,) = run.batches(3, 2, "image", 0)  # two of three: a lone last item is never a batch
    (left,) = set(range(3)) - set(batch.tolist())
    f, g, b, s = (torch.tensor(x) for x in (F, G, B, S))
    total = f[batch].sum(0) + own[left]
    gradient = torch.zeros(3, 2)
    gradient[batch] = 0.5 * ((0.5 * f @ g.T).sigmoid() - s)[batch] @ g + 2 * (f - b)[batch] + 2 * 0.3 * total
    optimiser = torch.optim.SGD(net.parameters(), lr=lr)
    method = DCMH(replace(DEFAULT, batch_size=2, eta=0.3))
    method._pass(items, run, "image", net, optimiser, {"image": own, "text": g}, b, 0)
    assert torch.allclose(net.weight.detach().T, f - lr * gradient / (3 * 2), atol=1e-6)


def test_codes_are_renewed_between_epochs_and_only_there() -> None:
    seen: list[tuple[str, int, Tensor, Tensor]] = []

    class Watched(DCMH):
        def _pass(self, train: Items, run: Run, name: str, net: Any, optimiser: Any, out: Any,
                  b: Tensor, epoch: int) -> float:  # fmt: skip
            seen.append((name, epoch, b.clone(), out["image"] + out["text"]))
            return super()._pass(train, run, name, net, optimiser, out, b, epoch)

    Watched(DEFAULT).train(toy_items(40), Run(8, max_epochs=3))
    assert [(name, epoch) for name, epoch, _, _ in seen] == [(n, e) for e in range(3) for n in ("image", "text")]
    codes = defaultdict(list)
    for name, epoch, b, outputs in seen:
        codes[epoch].append(b)
        if name == "image":
            assert torch.equal(b, sign(outputs)), "B = sgn(F + G) of the epoch before"
    assert all(torch.equal(image, text) for image, text in codes.values())
    assert not torch.equal(codes[0][0], codes[2][0])


def test_the_paper_s_values() -> None:
    paper = with_preset(DCMH.config_class, "paper")
    assert (paper.gamma, paper.eta, paper.epochs, paper.batch_size) == (1.0, 1.0, 500, 128)
    assert (paper.optimiser, paper.hidden) == ("sgd", 8192)
    assert paper.lr == pytest.approx(10**-1.5)


def test_the_paper_s_step_falls_linearly_from_10_to_the_minus_1_5_to_10_to_the_minus_6() -> None:
    run = WatchedRun(4)
    DCMH(replace(with_preset(DCMH.config_class, "paper"), epochs=7, hidden=4)).train(toy_items(20), run)
    rates = [{step.rates for step in run.steps if step.epoch == epoch} for epoch in range(7)]
    assert all(len(one) == 1 for one in rates), "both networks step alike, all through an epoch"
    found = [rate for ((rate,),) in rates]
    expected = [10**-1.5 + (1e-6 - 10**-1.5) * epoch / 6 for epoch in range(7)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_adam_s_step_stays() -> None:
    run = WatchedRun(4, max_epochs=3)
    DCMH(DEFAULT).train(toy_items(20), run)
    assert {step.rates for step in run.steps} == {(1e-3,)}


def test_a_network_has_one_hidden_layer_and_no_output_non_linearity() -> None:
    hasher = DCMH(override(DEFAULT, ["hidden=11"])).train(toy_items(40), Run(6, max_epochs=1))
    for net in hasher.modules.values():
        widths = [module.out_features for module in net.modules() if isinstance(module, nn.Linear)]
        assert widths == [11, 6]
        assert isinstance(list(net.modules())[-1], nn.Linear)


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=3)
    DCMH(DEFAULT).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1, 2]
    for event in run.events:
        assert {"loss_image", "loss_text", "balance", "dead", "correlation"} <= event.keys()
        assert all(math.isfinite(value) for value in event.values())


def test_an_item_adds_to_the_likelihood_in_the_views_that_it_has() -> None:
    """Items 0 and 2 have a sound, which is a third view: the image network sees it too, and only it."""
    items, sound = _items(), torch.tensor([[0.5, -1.5], [1.0, 2.0]])
    has = torch.tensor([0, 2])
    items = replace(items, views={**items.views, "sound": View(torch.eye(2), 2, items=has)})
    out = {"image": torch.tensor(F), "text": torch.tensor(G), "sound": sound}
    net = _net(F)
    loss = DCMH(replace(DEFAULT, gamma=0.0))._pass(
        items, Run(2), "image", net, torch.optim.SGD(net.parameters(), lr=0.0), out, torch.tensor(B), 0
    )
    f, g, s = (torch.tensor(x) for x in (F, G, S))
    expected = torch.tensor(0.0)
    for other, similar in ((g, s), (sound, s[:, has])):
        theta = f @ other.T / 2
        expected = expected + (torch.nn.functional.softplus(theta) - similar * theta).sum()
    assert loss == pytest.approx(expected.item() / 9, rel=1e-6)


def test_codes_are_the_sign_of_the_views_that_an_item_has() -> None:
    module = __import__(DCMH.__module__, fromlist=["_codes"])
    items = replace(
        _items(), views={"image": _items().image, "sound": View(torch.eye(2), 2, items=torch.tensor([2, 0]))}
    )
    out = {"image": torch.tensor(F), "sound": torch.tensor([[3.0, -3.0], [-2.0, 2.0]])}
    assert module._codes(items, out, 2).tolist() == [[-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]
