"""What the bench promises a method: random streams, batches, stages, and what it may see of the data."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.errors import Diverged
from hashbench.method import Hasher, Incompatible, Items, Method, Needs, Paper, Run, View, isolated
from hashbench.testing.toy import toy_items

# ---------------------------------------------------------------- items


def test_similarity_is_a_shared_label() -> None:
    labels = torch.randint(2, (20, 4), generator=torch.Generator().manual_seed(0)).float()
    items = Items({"image": View(torch.zeros(20, 1), 1)}, labels)
    rows, columns = torch.tensor([3, 0, 19]), torch.tensor([5, 3])
    expected = [
        [float(any(a and b for a, b in zip(x, y, strict=True))) for y in labels.tolist()] for x in labels.tolist()
    ]
    assert items.similarity(rows).tolist() == [expected[i] for i in rows]
    assert items.similarity(rows, columns).tolist() == [[expected[i][j] for j in columns] for i in rows]


def test_labels_that_are_missing_or_hidden_are_refused() -> None:
    items = toy_items(10)
    labelled = torch.arange(10) > 2
    for none, said in (
        (replace(items, labels=None), "this data has none"),
        (replace(items, labelled=labelled), "3 items are unlabelled"),
    ):
        for ask in (
            none.need_labels,
            lambda none=none: none.label_view("bare"),
            lambda none=none: none.similarity(labelled),
        ):
            with pytest.raises(Incompatible, match=said):
                ask()
    assert replace(items, labelled=torch.ones(10, dtype=torch.bool)).need_labels() is items.labels
    with pytest.raises(Incompatible, match="no text encoder"):
        replace(items, prompts=None).label_view("bare")


def test_a_raw_view_has_no_features() -> None:
    with pytest.raises(Incompatible, match="cached features"):
        toy_items(4, raw=True).image.features()


# ---------------------------------------------------------------- runs


@given(n=st.integers(1, 40), size=st.integers(2, 12), epoch=st.integers(0, 3))
def test_batches_are_a_shuffle_without_a_lone_last_item(n: int, size: int, epoch: int) -> None:
    batches = [batch.tolist() for batch in Run(8).batches(n, size, "any", epoch)]
    seen = [row for batch in batches for row in batch]
    assert len(seen) == len(set(seen)) == (n - 1 if n % size == 1 and n > 1 else n)
    assert set(seen) <= set(range(n))
    assert all(1 < len(batch) <= size or n == 1 for batch in batches)


def test_batches_differ_by_epoch_stream_and_seed_alone() -> None:
    def order(seed: int = 0, stream: str = "a", epoch: int = 0) -> list[int]:
        torch.rand(3)  # the global state has no say
        return torch.cat(list(Run(8, seed=seed).batches(64, 16, stream, epoch))).tolist()

    assert order() == order()
    orders = [order(), order(seed=1), order(stream="b"), order(epoch=1)]
    assert len({tuple(o) for o in orders}) == 4


def test_epochs_are_told_and_bounded() -> None:
    told: list[tuple[str, int, int]] = []
    run = Run(8, watch=lambda *now: told.append(now), max_epochs=2)
    assert list(run.epochs(5, "teacher")) == [0, 1]
    assert told == [("teacher", 0, 2), ("teacher", 1, 2)]
    assert list(run.epochs(1)) == [0]


def test_a_loss_that_is_not_finite_makes_no_step() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimiser = torch.optim.SGD([weight], lr=0.1)
    Run(8).descend(weight.sum(), optimiser)
    assert torch.allclose(weight.detach(), torch.full((2,), 0.9))
    for bad in (math.nan, math.inf):
        with pytest.raises(Diverged, match="the loss became"):
            Run(8).descend(weight.sum() * bad, optimiser)
    assert torch.allclose(weight.detach(), torch.full((2,), 0.9))


def test_a_stage_is_known_by_all_that_it_depends_on() -> None:
    made: list[str] = []

    def ask(name: str = "teacher", lr: float = 0.1, **run: object) -> None:
        def make() -> dict[str, Tensor]:
            made.append(name)
            return {"x": torch.rand(2)}

        Run(**({"bits": 8, "stages": stages} | run)).stage(name, {"lr": lr}, make)  # type: ignore[arg-type]

    stages: dict[str, object] = {}
    ask()
    ask()
    assert len(made) == 1
    for other in ({"name": "b"}, {"lr": 0.2}, {"bits": 16}, {"seed": 1}, {"scope": "other data"}, {"max_epochs": 3}):
        before = len(made)
        ask(**other)  # type: ignore[arg-type]
        assert len(made) == before + 1, f"{other} is no part of the key"


def test_a_stage_moves_no_later_draw_and_its_tensors_are_nobody_s() -> None:
    def draw(stages: dict[str, object]) -> tuple[float, Tensor]:
        with isolated(0):
            lent = Run(8, stages=stages).stage("a", {}, lambda: {"x": torch.rand(1000)})["x"]  # type: ignore[arg-type]
            return torch.rand(1).item(), lent

    stages: dict[str, object] = {}
    (first, x), (second, y) = draw(stages), draw(stages)
    assert first == second
    assert torch.equal(x, y)
    x.zero_()
    assert torch.equal(draw(stages)[1], y)


def test_isolation_seeds_every_generator_and_puts_it_back() -> None:
    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), float(np.random.random()), random.random()

    with isolated(5):
        inside = draw()
        with isolated(5):
            assert draw() == inside
        after = draw()
    with isolated(5):
        assert (draw(), draw()) == (inside, after), "the inner one left a trace"
    with pytest.raises(ZeroDivisionError), isolated(6):
        raise ZeroDivisionError


# ---------------------------------------------------------------- hash functions


@pytest.mark.parametrize("size", [1, 3, 100])
def test_codes_are_signs_in_evaluation_mode_and_zero_is_plus_one(size: int) -> None:
    rows = torch.tensor([[-1.0, 0.0, 2.0], [0.0, -0.0, -1e-30], [3.0, -4.0, 1e-30], [1.0, 1.0, -1.0]])
    codes = Hasher({"image": nn.Sequential(nn.Dropout(0.9)).train()}).encode("image", View(rows, 3), size)
    assert codes.dtype == np.int8
    assert codes.tolist() == [[-1, 1, 1], [1, 1, -1], [1, -1, 1], [1, 1, -1]]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_outputs_that_are_not_finite_are_no_codes(bad: float) -> None:
    with pytest.raises(Diverged, match="the text codes are not finite"):
        Hasher({"text": nn.Identity()}).encode("text", View(torch.tensor([[1.0, bad]]), 2))


@dataclass(frozen=True, kw_only=True)
class NoSettings(Config):
    unused: int = hp(0, "nothing")


class Nosy(Method[NoSettings]):
    """Keeps what it was given and what it drew."""

    paper = Paper("none", "none", 2000, "https://example.org")
    kind = "unsupervised"
    needs = Needs(labels="none")
    version = 1
    config_class = NoSettings

    def fit(self, train: Items, run: Run) -> Hasher:
        self.given, self.drew = train, torch.rand(1).item()
        return Hasher({})


class Supervised(Nosy):
    kind = "supervised"
    needs = Needs(labels="all")


def test_a_method_sees_no_labels_that_it_did_not_ask_for() -> None:
    items = toy_items(6)
    blind, seeing = Nosy(NoSettings()), Supervised(NoSettings())
    blind.train(items, Run(8))
    seeing.train(items, Run(8))
    assert (blind.given.labels, blind.given.labelled, blind.given.prompts) == (None, None, None)
    assert seeing.given is items


def test_the_seed_alone_decides_what_a_method_draws() -> None:
    method = Nosy(NoSettings())
    drew = []
    for seed in (0, 0, 1):
        torch.rand(seed + 3)
        method.train(toy_items(6), Run(8, seed=seed))
        drew.append(method.drew)
    assert drew[0] == drew[1] != drew[2]


def test_stages_of_two_settings_start_alike_and_of_two_seeds_do_not() -> None:
    def start(seed: int, **settings: float) -> list[float]:
        tensors = Run(8, seed=seed).stage("teacher", settings, lambda: {"draw": torch.rand(4)})
        return tensors["draw"].tolist()

    assert start(0, alpha=0.1) == start(0, alpha=0.2)
    assert start(0, alpha=0.1) != start(1, alpha=0.1)
