"""Every number of an evaluation against brute force over all orders of tied items, in exact fractions."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashbench.errors import UsageError
from hashbench.retrieval import (
    DEFINITIONS,
    Evaluation,
    chance_level,
    definition,
    evaluate,
    histogram,
    metrics,
    pack,
)

EXACT = 1e-12
CUTOFFS = (1, 2, 3, 5, 9)

# --- the oracle: one order at a time ------------------------------------------------------------------------

Order = tuple[int, ...]
"""Shared labels of the items in the order of a ranking."""


def precisions(order: Order) -> list[Fraction]:
    """Precision at each rank that holds a relevant item, by rank."""
    found = [rank for rank, grade in enumerate(order, 1) if grade]
    return [Fraction(hits, rank) for hits, rank in enumerate(found, 1)]


def hits(order: Order, k: int) -> int:
    return sum(grade > 0 for grade in order[:k])


def divided(total: Fraction | int, by: int) -> Fraction:
    return Fraction(total) / by if by else Fraction(0)


def summed(order: Order, k: int) -> Fraction:
    return sum(precisions(order)[: hits(order, k)], Fraction(0))


def ap(order: Order) -> Fraction:
    return divided(sum(precisions(order)), hits(order, len(order)))


def dcg(order: Order, k: int) -> float:
    return math.fsum((2**grade - 1) / math.log2(1 + rank) for rank, grade in enumerate(order[:k], 1))


def ndcg(order: Order, k: int) -> float:
    ideal = dcg(tuple(sorted(order, reverse=True)), k)
    return dcg(order, k) / ideal if ideal else 0.0


AT_K: dict[str, Callable[[Order, int], Fraction | float]] = {
    "map@K/standard": lambda order, k: divided(summed(order, k), min(hits(order, len(order)), k)),
    "map@K/hits": lambda order, k: divided(summed(order, k), hits(order, k)),
    "map@K/first": lambda order, k: divided(sum(precisions(order)[:k]), len(precisions(order)[:k])),
    "map@K/total": lambda order, k: divided(summed(order, k), hits(order, len(order))),
    "ndcg@K": ndcg,
    "precision@K": lambda order, k: divided(hits(order, k), min(k, len(order))),
    "recall@K": lambda order, k: divided(hits(order, k), hits(order, len(order))),
}


def orders(distance: list[int], shared: list[int]) -> Iterator[tuple[Order, int]]:
    """Every order that sorts by distance, with how many permutations of the tied items give it."""
    ties = [[g for d, g in zip(distance, shared, strict=True) if d == level] for level in sorted(set(distance))]
    for parts in itertools.product(*(Counter(itertools.permutations(tie)).items() for tie in ties)):
        yield tuple(g for part, _ in parts for g in part), math.prod(count for _, count in parts)


def oracle(distance: list[int], shared: list[int]) -> dict[str, Fraction | float]:
    """Every metric of one query, by definition id."""
    every = list(orders(distance, shared))
    weight = sum(count for _, count in every)

    def expected(value: Callable[[Order], Fraction | float]) -> Fraction | float:
        terms = [value(order) * count for order, count in every]
        exact = all(isinstance(term, Fraction) for term in terms)
        return (sum(terms) if exact else math.fsum(terms)) / weight

    ball = [g for d, g in zip(distance, shared, strict=True) if d <= 2]
    stable = tuple(shared[i] for i in sorted(range(len(distance)), key=lambda i: distance[i]))
    found: dict[str, Fraction | float] = {
        "map@all": expected(ap),
        "map@all/optimistic": max(ap(order) for order, _ in every),
        "map@all/pessimistic": min(ap(order) for order, _ in every),
        "map@all/stable-order": ap(stable),
        "precision@radius2": divided(sum(g > 0 for g in ball), len(ball)),
        "chance": Fraction(sum(g > 0 for g in shared), len(shared)),
    }
    for pattern, value in AT_K.items():
        for k in CUTOFFS:
            found[pattern.replace("K", str(k))] = expected(lambda order, value=value, k=k: value(order, k))
    return found


# --- cases --------------------------------------------------------------------------------------------------


def at(distance: list[int], shared: list[int], bits: int = 0) -> tuple[np.ndarray, ...]:
    """One query and a database at the given distances, with the given numbers of shared labels."""
    bits = max(bits, 1, *distance)
    database = np.ones((len(distance), bits), np.int8)
    for row, far in zip(database, distance, strict=True):
        row[:far] = -1
    classes = max(1, *shared)
    offered = np.arange(classes) < np.array(shared)[:, None]
    return np.ones((1, bits), np.int8), database, np.ones((1, classes), np.uint8), offered.astype(np.uint8)


def measured(*sides: np.ndarray, **options: object) -> Evaluation:
    query, database, wanted, offered = sides
    return evaluate(pack(query), pack(database), wanted, offered, **options)  # type: ignore[arg-type]


def random_sides(
    queries: int, items: int, bits: int, classes: int = 4, seed: int = 0, density: float = 0.3
) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return (
        rng.random((queries, bits)) < 0.5,
        rng.random((items, bits)) < 0.5,
        (rng.random((queries, classes)) < density).astype(np.uint8),
        (rng.random((items, classes)) < density).astype(np.uint8),
    )


def arrays(found: Evaluation) -> dict[str, np.ndarray]:
    """All numbers of an evaluation, by name."""
    numbers = {"ap": found.average_precision, "relevant": found.relevant}
    numbers |= {name: np.array(value) for name, value in found.metrics.items()}
    for curve in (found.radius, found.rank):
        numbers |= {f"{type(curve).__name__}.{f.name}": getattr(curve, f.name) for f in fields(curve)}
    return numbers


# --- against the oracle -------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    items=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=7),
    bits=st.sampled_from([3, 8, 65]),
)
def test_every_metric_equals_the_mean_over_all_orders(items: list[tuple[int, int]], bits: int) -> None:
    distance, shared = [d for d, _ in items], [g for _, g in items]
    found = measured(*at(distance, shared, bits), cutoffs=CUTOFFS).metrics
    expected = oracle(distance, shared)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert abs(found[name] - float(value)) <= EXACT, name


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), rule=st.sampled_from(["skipped", "counted"]))
def test_means_and_curves_over_several_queries(seed: int, rule: str) -> None:
    sides = random_sides(queries=4, items=6, bits=4, classes=3, seed=seed, density=0.25)
    query, database, wanted, offered = sides
    distance, shared = (query[:, None] != database).sum(axis=2), wanted.astype(int) @ offered.astype(int).T
    found = measured(*sides, cutoffs=CUTOFFS, without_relevant=rule)
    single = [oracle(d.tolist(), g.tolist()) for d, g in zip(distance, shared, strict=True)]
    relevant = (shared > 0).sum(axis=1)
    assert (found.relevant == relevant).all()
    assert found.queries_without_relevant == (relevant == 0).sum()
    assert np.allclose(found.average_precision, [float(one["map@all"]) for one in single], rtol=0, atol=1e-7)
    kept = [q for q in range(4) if rule == "counted" or relevant[q]]

    def mean(values: list[float]) -> float:
        return math.fsum(values) / len(values) if values else 0.0

    for name, value in found.metrics.items():
        assert abs(value - mean([float(single[q][name]) for q in kept])) <= EXACT, name
    for i, radius in enumerate(found.radius.radius):
        ball = distance[kept] <= radius
        good = ball & (shared[kept] > 0)
        each = [
            (g.sum() / max(b.sum(), 1), g.sum() / max(r, 1), b.sum() == 0)
            for g, b, r in zip(good, ball, relevant[kept], strict=True)
        ]
        expected = (
            good.sum() / max(ball.sum(), 1),
            good.sum() / max(relevant[kept].sum(), 1),
            *(mean([float(column) for column in columns]) for columns in zip(*each, strict=True)),
        )
        curve = found.radius
        names = ("micro_precision", "micro_recall", "macro_precision", "macro_recall", "empty")
        for name, value in zip(names, expected, strict=False):
            assert abs(getattr(curve, name)[i] - value) <= EXACT, name
    assert found.radius.radius.tolist() == list(range(5))
    assert found.rank.rank.tolist() == [1, 2, 3, 4, 5, 6]
    for i, k in enumerate(CUTOFFS[:4]):
        at_rank = found.rank.rank.tolist().index(k)
        assert abs(found.rank.precision[at_rank] - found.metrics[f"precision@{k}"]) <= EXACT, i
        assert abs(found.rank.recall[at_rank] - found.metrics[f"recall@{k}"]) <= EXACT, i


# --- worked by hand -----------------------------------------------------------------------------------------


def test_one_ranking_has_four_maps_at_3() -> None:
    """Relevant at ranks 1, 3, 8 and 9, so R = 4 and the precisions there are 1, 2/3, 3/8, 4/9. Up to rank 3 they
    sum to 5/3, which is divided by min(4, 3), by 2 hits, or by 4; the first three of them have the mean 49/72.
    """
    found = measured(*at(list(range(10)), [1, 0, 1, 0, 0, 0, 0, 1, 1, 0]), cutoffs=[3]).metrics
    assert found["map@3/hits"] == pytest.approx(5 / 6, abs=EXACT)
    assert found["map@3/total"] == pytest.approx(5 / 12, abs=EXACT)
    assert found["map@3/standard"] == pytest.approx(5 / 9, abs=EXACT)
    assert found["map@3/first"] == pytest.approx(49 / 72, abs=EXACT)
    assert [f"{found[f'map@3/{name}']:.3f}" for name in ("hits", "total", "standard", "first")] == [
        "0.833",
        "0.417",
        "0.556",
        "0.681",
    ]


def test_two_tied_items_of_which_one_is_relevant() -> None:
    found = measured(*at([1, 1], [1, 0]), cutoffs=[1]).metrics
    assert found["map@all"] == pytest.approx(3 / 4, abs=EXACT)  # the mean of 1 and 1/2
    assert found["map@all/optimistic"] == pytest.approx(1, abs=EXACT)
    assert found["map@all/pessimistic"] == pytest.approx(1 / 2, abs=EXACT)
    assert found["map@1/hits"] == pytest.approx(1 / 2, abs=EXACT)
    assert found["map@1/first"] == pytest.approx(3 / 4, abs=EXACT)


def test_ndcg_gains_double_with_each_shared_label() -> None:
    found = measured(*at([0, 1, 2], [1, 0, 3]), cutoffs=[3]).metrics["ndcg@3"]
    assert found == pytest.approx((1 + 7 / 2) / (7 + 1 / math.log2(3)), abs=EXACT)


def test_an_empty_ball_has_precision_0_and_is_counted_as_empty() -> None:
    found = measured(*at([3, 4], [1, 1]))
    assert found.metrics["precision@radius2"] == 0
    assert found.radius.empty.tolist() == [1, 1, 1, 0, 0]
    assert found.radius.micro_precision.tolist() == found.radius.macro_precision.tolist() == [0, 0, 0, 1, 1]


# --- laws ---------------------------------------------------------------------------------------------------


def test_the_order_of_the_database_changes_nothing_but_the_stable_order() -> None:
    query, database, wanted, offered = random_sides(30, 800, 10)
    first = arrays(measured(query, database, wanted, offered))
    shuffle = np.random.default_rng(5).permutation(800)
    second = arrays(measured(query, database[shuffle], wanted, offered[shuffle]))
    assert first.keys() == second.keys()
    assert first["map@all/stable-order"] != second["map@all/stable-order"]
    for name in first.keys() - {"map@all/stable-order"}:
        assert np.abs(first[name] - second[name]).max() <= EXACT, name


@pytest.mark.parametrize("bits", [1, 6, 40, 300])
def test_chunks_change_no_bit(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sides = random_sides(37, 2500, bits, classes=6)
    expected = arrays(measured(*sides))
    for queries_at_once, items_at_once in ((1, 1 << 15), (2, 999), (36, 100), (1000, 2500)):
        monkeypatch.setattr(histogram, "ITEMS_AT_ONCE", items_at_once)
        monkeypatch.setattr(metrics, "_CELLS_AT_ONCE", 50 * items_at_once)
        for name, value in arrays(measured(*sides, queries_at_once=queries_at_once)).items():
            assert (value == expected[name]).all(), (name, queries_at_once)


def test_a_database_sorted_by_label_fools_the_stable_order_only() -> None:
    shared = [1] * 300 + [0] * 700
    best, worst = (measured(*at([2] * 1000, labels)).metrics for labels in (shared, shared[::-1]))
    assert best["map@all/stable-order"] == best["map@all/optimistic"] == pytest.approx(1, abs=EXACT)
    assert worst["map@all/stable-order"] == pytest.approx(worst["map@all/pessimistic"], abs=EXACT)
    assert worst["map@all/stable-order"] < 0.2
    for found in (best, worst):
        assert found["map@all"] == best["map@all"]
        assert abs(found["map@all"] - found["chance"]) < 0.01  # all tied is random
        assert found["map@all/pessimistic"] < found["map@all"] < found["map@all/optimistic"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 9999), bits=st.integers(1, 20))
def test_bounds_enclose_and_everything_lies_between_0_and_1(seed: int, bits: int) -> None:
    found = arrays(measured(*random_sides(5, 60, bits, seed=seed), cutoffs=(1, 10, 60)))
    low, high = found["map@all/pessimistic"] - EXACT, found["map@all/optimistic"] + EXACT
    assert low <= found["map@all"] <= high
    assert low <= found["map@all/stable-order"] <= high
    for name in found.keys() - {"relevant", "RadiusCurve.radius", "RankCurve.rank"}:
        assert found[name].min() >= 0, name
        assert found[name].max() <= 1 + EXACT, name


def test_a_cutoff_beyond_the_database_means_the_database() -> None:
    sides = random_sides(6, 40, 5)
    found = measured(*sides, cutoffs=(40, 41, 10_000)).metrics
    for name in [name for name in found if "@40" in name]:
        assert found[name] == found[name.replace("@40", "@41")] == found[name.replace("@40", "@10000")], name
    for kind in ("standard", "hits", "first", "total"):
        assert found[f"map@40/{kind}"] == pytest.approx(found["map@all"], abs=EXACT)
    assert found["recall@40"] == pytest.approx(1, abs=EXACT)


def test_queries_without_a_relevant_item_are_skipped_or_counted_as_0() -> None:
    query, database, wanted, offered = random_sides(10, 50, 8, density=0.6)
    wanted[[2, 5, 7]] = 0
    skipped = measured(query, database, wanted, offered)
    counted = measured(query, database, wanted, offered, without_relevant="counted")
    assert skipped.queries_without_relevant == counted.queries_without_relevant == 3
    assert skipped.average_precision[[2, 5, 7]].tolist() == [0, 0, 0]
    for name, value in skipped.metrics.items():
        assert counted.metrics[name] == pytest.approx(value * 7 / 10, abs=EXACT), name
    assert np.allclose(counted.radius.macro_precision, skipped.radius.macro_precision * 0.7, atol=EXACT)
    assert (counted.radius.micro_precision < skipped.radius.micro_precision).any()
    assert np.allclose(counted.rank.recall, skipped.rank.recall * 0.7, atol=EXACT)


EDGES = {
    "no query with a relevant item": (*random_sides(3, 20, 8)[:2], np.zeros((3, 4)), np.ones((20, 4))),
    "one query, one item": random_sides(1, 1, 8, density=1.0),
    "one bit": random_sides(5, 30, 1),
    "bits that fill no byte": random_sides(5, 30, 13),
    "1024 bits": random_sides(3, 30, 1024),
    "all tied": (np.ones((3, 8), bool), np.ones((30, 8), bool), *random_sides(3, 30, 8)[2:]),
    "all tied and relevant": at([0] * 30, [1] * 30),
    "all relevant": (*random_sides(3, 30, 8)[:2], np.ones((3, 2)), np.ones((30, 2))),
    "an unlabelled query": (*random_sides(3, 30, 8)[:2], np.eye(3, 2), np.ones((30, 2))),
    "unlabelled database": (*random_sides(3, 30, 8)[:2], np.ones((3, 2)), np.zeros((30, 2))),
    "one relevant item at the end": at([0] * 29 + [8], [0] * 29 + [1]),
    "1200 shared labels": at([0, 1, 1, 2], [1200, 1, 0, 1199]),
}


@pytest.mark.parametrize("rule", ["skipped", "counted"])
@pytest.mark.parametrize("case", EDGES)
def test_every_metric_is_finite_at_the_edges(case: str, rule: str) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = arrays(measured(*EDGES[case], cutoffs=(1, 10, 1000), without_relevant=rule))
    assert len(found) == 6 + 3 * 7 + 2 + 6 + 3
    for name, value in found.items():
        assert np.isfinite(value).all(), name
        if name not in ("relevant", "RadiusCurve.radius", "RankCurve.rank"):
            assert value.min() >= 0, name
            assert value.max() <= 1 + EXACT, name


def test_where_nothing_is_relevant_every_metric_is_0() -> None:
    for rule in ("skipped", "counted"):
        found = measured(*EDGES["no query with a relevant item"], without_relevant=rule)
        assert set(found.metrics.values()) == {0.0}
        assert found.queries_without_relevant == found.queries == 3


def test_where_all_is_relevant_every_map_is_1() -> None:
    found = measured(*EDGES["all relevant"], cutoffs=(1, 10)).metrics
    for name in [name for name in found if name.startswith("map") and not name.endswith("total")]:
        assert found[name] == pytest.approx(1, abs=EXACT), name
    assert found["map@10/total"] == pytest.approx(1 / 3, abs=EXACT)


# --- the surface --------------------------------------------------------------------------------------------


def test_definitions_and_metrics_are_the_same_set() -> None:
    found = measured(*random_sides(2, 9, 4), cutoffs=(7,))
    assert {name.replace("@7", "@K") for name in found.metrics} == DEFINITIONS.keys()
    assert definition("map@50/standard") == "mean of (1/min(R, 50)) Σ_{i<=50} P(i) rel(i), expected over ties"
    assert definition("map@all") == DEFINITIONS["map@all"]
    with pytest.raises(UsageError, match="found 'map@x'"):
        definition("map@x")


def test_the_sort_can_be_left_out() -> None:
    sides = random_sides(3, 20, 6)
    with_sort, without = measured(*sides).metrics, measured(*sides, stable_order=False).metrics
    assert with_sort.keys() - without.keys() == {"map@all/stable-order"}
    assert all(with_sort[name] == value for name, value in without.items())


def test_chance_needs_no_codes() -> None:
    sides = random_sides(7, 40, 6)
    for rule in ("skipped", "counted"):
        assert chance_level(*sides[2:], rule) == measured(*sides, without_relevant=rule).metrics["chance"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"cutoffs": (0, 5)}, "ranks of at least 1"),
        ({"without_relevant": "nan"}, "'skipped' or 'counted', found 'nan'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        measured(*random_sides(2, 5, 4), **options)
