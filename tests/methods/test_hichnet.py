"""HiCHNet against its equations, written out, and what becomes of a hierarchy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hashbench.config import override, with_preset
from hashbench.errors import Incompatible, UsageError
from hashbench.losses import sign
from hashbench.method import Run
from hashbench.registry import methods
from hashbench.testing.toy import toy_items

from .watched import WatchedRun

HICHNET = methods.get("hichnet")
SMALL = replace(HICHNET.config_class(), hidden=10)
MODULE = __import__(HICHNET.__module__, fromlist=["Layer", "_parents"])

# Three items with three classes, of which the first two are one coarse class.
LABELS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]).double()
COARSE = [[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
PARENTS = "0,0,1"


def _rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


F, G, REST = _rows(0, 2, 4).tanh(), _rows(1, 3, 4).tanh(), _rows(2, 1, 4)[0]
B = sign(_rows(3, 2, 4))
BATCH = torch.tensor([2, 0])


def _likelihood(bits: slice, labels: Sequence[Sequence[float]]) -> float:
    total = 0.0
    for a, i in enumerate(BATCH.tolist()):
        for j in range(3):
            theta = 0.5 * sum(x * y for x, y in zip(F[a, bits].tolist(), G[j, bits].tolist(), strict=True))
            s = float(any(x and y for x, y in zip(labels[i], labels[j], strict=True)))
            total += math.log(1 + math.exp(theta)) - s * theta
    return total


def _classes(score: nn.Module, bits: slice, labels: Sequence[Sequence[float]]) -> float:
    total = 0.0
    for a, i in enumerate(BATCH.tolist()):
        scores = [math.exp(z) for z in score(F[a, bits]).tolist()]
        total -= sum(y / sum(labels[i]) * math.log(z / sum(scores)) for y, z in zip(labels[i], scores, strict=True))
    return total


@pytest.mark.parametrize("coarse", [0, PARENTS])
def test_the_loss_is_that_of_the_layers(coarse: int | str) -> None:
    method = HICHNET(replace(SMALL, coarse=coarse, coarse_bits=0.25, gamma=0.7, eta=0.3, iota=1.7))
    layers = method._layers(LABELS, 4)
    classifier = MODULE._classifier(layers).double()
    found = method._losses(F, G, B, REST, layers, classifier, BATCH)
    fine = LABELS.tolist()
    levels = [(0.2, slice(0, 1), COARSE), (0.8, slice(1, 4), fine)] if coarse else [(1.0, slice(0, 4), fine)]
    expected = [
        sum(w * _likelihood(bits, labels) for w, bits, labels in levels),
        0.7 * sum((b - f) ** 2 for b, f in zip(B.flatten().tolist(), F.flatten().tolist(), strict=True)),
        0.3 * sum((F[0, k].item() + F[1, k].item() + REST[k].item()) ** 2 for k in range(4)),
        1.7 * sum(_classes(score, *level[1:]) for score, level in zip(classifier, levels, strict=True)),
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_a_network_learns_from_the_other_one_s_stored_outputs_and_codes_are_renewed_between_epochs() -> None:
    seen: list[tuple[Tensor, ...]] = []

    class Watched(HICHNET):
        def _losses(self, f, g, b, rest, layers, classifier, i):  # type: ignore[no-untyped-def]
            seen.append((f.detach().clone(), g.clone(), b.clone(), rest.clone(), i))
            return super()._losses(f, g, b, rest, layers, classifier, i)

    Watched(SMALL).train(toy_items(40), Run(8, max_epochs=2))
    assert len(seen) == 4, "one batch of each network in each of two epochs"
    for step in range(1, 4):
        f, _, _, _, i = seen[step - 1]
        assert torch.equal(seen[step][1][i], f), "the other view's bank holds what its network gave last"
    bank = torch.zeros(40, 8)
    for f, _, _, _, i in seen[:2]:
        bank[i] += f
    for _, _, b, _, i in seen[2:]:
        assert torch.equal(b, sign(bank)[i]), "B = sgn(F + G) of the epoch before"
    assert all(torch.allclose(rest, torch.zeros(8), atol=1e-5) for _, _, _, rest, _ in seen), "no item is left out"


def test_a_list_names_the_parents() -> None:
    assert MODULE._parents(" 1, 0,1", torch.eye(3)).tolist() == [1, 0, 1]


def test_classes_that_occur_together_have_one_parent() -> None:
    labels = torch.tensor([[1, 0, 1, 0, 0]] * 3 + [[0, 1, 0, 1, 0]] * 2 + [[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]]).float()
    two, three = (MODULE._parents(n, labels).tolist() for n in (2, 3))
    assert sorted(set(three)) == [0, 1, 2]
    assert three[0] == three[2] != three[1] == three[3] and three.count(three[4]) == 1
    assert two[0] == two[1] == two[2] == two[3] != two[4]


@pytest.mark.parametrize(
    ("coarse", "error", "words"),
    [
        ("0,x,1", UsageError, "one a class as in 0,0,1"),
        ("0,1", Incompatible, "parents of 2 classes, and there are 3"),
        (3, Incompatible, "expected 2 to 2"),
        (1, Incompatible, "expected 2 to 2"),
    ],
)
def test_a_hierarchy_that_cannot_be(coarse: int | str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        MODULE._parents(coarse, LABELS)


def test_classes_that_never_meet_are_not_clustered() -> None:
    with pytest.raises(Incompatible, match="no two classes occur together"):
        MODULE._parents(2, torch.eye(4))


def test_one_bit_has_no_room_for_two_layers() -> None:
    assert len(HICHNET(SMALL)._layers(LABELS, 1)) == 1
    with pytest.raises(Incompatible, match="no room"):
        HICHNET(replace(SMALL, coarse=PARENTS))._layers(LABELS, 1)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_each_layer_has_a_bit(share: float) -> None:
    widths = [
        layer.bits.stop - layer.bits.start
        for layer in HICHNET(replace(SMALL, coarse=PARENTS, coarse_bits=share))._layers(LABELS, 6)
    ]
    assert sorted(widths) == [1, 5] and sum(widths) == 6


def test_a_hierarchy_is_set_by_number_or_by_list() -> None:
    assert override(SMALL, ["coarse=4"]).coarse == 4
    assert override(SMALL, ["coarse=0,0,1"]).coarse == "0,0,1"


def test_the_code_s_values() -> None:
    paper = with_preset(HICHNET.config_class, "paper")
    assert (paper.gamma, paper.eta, paper.iota, paper.batch_size) == (1.0, 1.0, 1.0, 128)
    run = WatchedRun(4)
    HICHNET(replace(paper, epochs=5, hidden=4)).train(toy_items(20), run)
    rates = [{rate for s in run.steps if s.epoch == epoch for rate in s.rates} for epoch in range(5)]
    assert [len(found) for found in rates] == [1] * 5
    assert [max(found) for found in rates] == pytest.approx([0.1 + (1e-5 - 0.1) * epoch / 4 for epoch in range(5)])


def test_logged_diagnostics_are_finite() -> None:
    run = Run(8, max_epochs=2)
    HICHNET(replace(SMALL, coarse=2)).train(toy_items(40), run)
    assert [event["epoch"] for event in run.events] == [0, 1]
    names = {
        f"{term}_{view}" for term in ("likelihood", "quantise", "balance", "classes") for view in ("image", "text")
    }
    for event in run.events:
        assert names | {"balance", "dead"} <= event.keys()
        assert all(math.isfinite(value) for value in event.values())
