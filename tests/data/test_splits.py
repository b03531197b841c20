"""Split rules: the field's presets by their fingerprints, and the laws that all of them keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench.data.splits import Apart, AsGiven, ById, Drawn, InOrder, Items, PerClass, Permuted, SplitRule
from hashbench.errors import DataError

PRESETS = {
    "wang-mir": (20_015, Permuted(seed=6, query=2000, train=10_000), "b02722922c124584"),
    "wang-nus21": (195_834, Permuted(seed=7, query=2100, train=10_500), "487115b8f734678c"),
    "wang-iapr": (20_000, Permuted(seed=8, query=2000, train=10_000), "9fca4303b0712120"),
    "mith-mir": (20_015, Permuted(seed=1, query=2000, train=10_000), "6b67a8811182cee6"),
    "mith-coco": (122_218, Permuted(seed=1, query=5000, train=10_000), "2faac8207c275838"),
    "mith-nus21": (190_421, Permuted(seed=1, query=2100, train=10_500), "0406dccd25a1438d"),
    "dchmt-mir": (24_581, Permuted(seed=1814, query=2000, train=10_000), "4aa9f39e510320fd"),
    "dchmt-mir-5120": (24_581, Permuted(seed=1814, query=5120, train=10_240), "84d2687993684f80"),
    "dchmt-coco": (122_218, Permuted(seed=1814, query=5000, train=10_000), "cf656a0dd1b37d4e"),
    "dchmt-nus21": (195_834, Permuted(seed=1814, query=2100, train=10_500), "b9383635beb9a69a"),
}


def items(n: int, classes: int = 4, **given: np.ndarray) -> Items:
    labels = np.zeros((n, classes), np.uint8)
    labels[np.arange(n), np.arange(n) % classes] = 1
    return Items(ids=[f"item{row}" for row in range(n)], labels=labels, given=given)


RULES: list[SplitRule] = [
    ById(query=20, validation=10, train=50),
    Permuted(seed=3, query=20, train=50),
    InOrder(query=20, train=50),
    InOrder(query=20, train=50, queries="last"),
    InOrder(query=20, train=None, queries="last"),
    PerClass(query=(6, 4), train=(10, 8), query_total=18, train_total=34),
    PerClass(query=(6, 4), train=(10, 8), query_total=25, train_total=40, classes="scarce first"),
    AsGiven(),
    AsGiven(validation=15),
    Apart(query=20, train=50),
]


def given_sides(n: int) -> dict[str, np.ndarray]:
    return {"query": np.arange(0, n, 5), "database": np.setdiff1d(np.arange(n), np.arange(0, n, 5))}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_fingerprints_of_the_field(name: str) -> None:
    n, rule, fingerprint = PRESETS[name]
    drawn = rule.draw(items(n))
    assert drawn.fingerprint() == fingerprint
    assert len(drawn.database) == n - len(drawn.query)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_sides_keep_the_laws(rule: SplitRule) -> None:
    n = 150
    drawn = rule.draw(items(n, **given_sides(n)))
    query, database, train, validation = (
        set(getattr(drawn, side).tolist()) for side in ("query", "database", "train", "validation")
    )
    for side in ("query", "database", "train", "validation"):
        assert len(getattr(drawn, side)) == len(set(getattr(drawn, side).tolist())), "no row stands twice"
    assert query and database and train
    assert not query & (database | train | validation)
    assert not train & validation
    assert isinstance(rule, Apart) or train <= database
    assert not isinstance(rule, Apart) or not train & database
    if isinstance(rule, ById | AsGiven):
        assert not validation & database


@given(st.permutations(list(range(60))))
def test_a_split_by_id_survives_reordering(order: list[int]) -> None:
    rule, whole = ById(query=10, validation=5, train=20), items(60)
    moved = Items(ids=[whole.ids[row] for row in order], labels=whole.labels[order], given={})

    def ids(of: Items, drawn: Drawn) -> list[set[str]]:
        return [{of.ids[row] for row in getattr(drawn, side)} for side in ("query", "database", "train", "validation")]

    assert ids(whole, rule.draw(whole)) == ids(moved, rule.draw(moved))


def test_rows_from_the_ends() -> None:
    first = InOrder(query=2, train=3).draw(items(10))
    last = InOrder(query=2, train=3, queries="last").draw(items(10))
    whole = InOrder(query=2, train=None, queries="last").draw(items(10))
    assert (whole.query.tolist(), whole.train.tolist(), len(whole.validation)) == ([8, 9], list(range(8)), 0)
    assert (first.query.tolist(), first.train.tolist()) == ([0, 1], [2, 3, 4])
    assert (last.query.tolist(), last.train.tolist()) == ([8, 9], [0, 1, 2])


def test_every_class_gives_its_share_once() -> None:
    data = items(200)
    drawn = PerClass(query=(8, 4), train=(20, 10), query_total=20, train_total=50).draw(data)
    assert data.labels[drawn.query].sum(0).tolist() == [8, 4, 4, 4]
    assert data.labels[drawn.train].sum(0).tolist() == [20, 10, 10, 10]


def test_scarce_classes_are_served_first() -> None:
    """Ten items have the rare label, all of them a common one too: served last, the rare class would find none."""
    labels = np.zeros((100, 2), np.uint8)
    labels[:, 0] = 1
    labels[:10, 1] = 1
    data = Items(ids=[str(row) for row in range(100)], labels=labels, given={})
    rule = PerClass(query=(10, 10), train=(5, 5), query_total=20, train_total=10, classes="scarce first")
    assert labels[rule.draw(data).query, 1].sum() == 10


def test_missing_items_are_filled_up_from_the_rest() -> None:
    drawn = PerClass(query=(90, 90), train=(1, 1), query_total=80, train_total=10).draw(items(100))
    assert len(drawn.query) == 80 and len(drawn.train) == 10


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if not isinstance(rule, AsGiven) and getattr(rule, "train", 0)], ids=repr
)
def test_too_few_items_are_told(rule: SplitRule) -> None:
    with pytest.raises(DataError, match="expected at least"):
        rule.draw(items(12))


def test_files_that_name_no_queries_are_told() -> None:
    with pytest.raises(DataError, match="name no query items"):
        AsGiven().draw(items(12))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_smaller_item_set_scales_every_count_and_no_seed(rule: SplitRule) -> None:
    small = rule.scaled(0.5)
    assert type(small) is type(rule)
    drawn = small.draw(items(75, **given_sides(75)))
    assert len(drawn.query) and len(drawn.train)
    assert getattr(small, "seed", 0) == getattr(rule, "seed", 0)
    if isinstance(rule, Permuted):
        assert (len(drawn.query), len(drawn.train)) == (10, 25)


def test_validation_items_of_the_field_s_splits_come_from_what_is_not_trained_on() -> None:
    drawn = Permuted(seed=3, query=20, train=50).draw(items(150))
    assert len(drawn.validation) == (150 - 20 - 50) // 10
    assert set(drawn.validation.tolist()) <= set(drawn.database.tolist()) - set(drawn.train.tolist())
