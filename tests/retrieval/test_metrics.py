"""The closed forms keep their digits where databases and ties are large, against sums over every position."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashbench.retrieval import metrics
from hashbench.retrieval.metrics import TiedRankings

EXACT = 1e-13


def rankings(*buckets: tuple[int, int]) -> TiedRankings:
    """One query; each bucket is (items, relevant items), nearest first."""
    return TiedRankings(np.array([[[items - relevant, relevant] for items, relevant in buckets]]))


def precision_sum(before: int, hits: int, items: int, relevant: int, first: int) -> Fraction:
    """McSherry & Najork's sum over the first positions of one bucket, position by position."""
    spread = Fraction(relevant - 1, items - 1) if items > 1 else Fraction(0)
    terms = (Fraction(1, before + i) * (hits + 1 + (i - 1) * spread) for i in range(1, first + 1))
    return Fraction(relevant, items) * sum(terms) if relevant else Fraction(0)


def before(buckets: tuple[tuple[int, int], ...], index: int) -> tuple[int, int, Fraction]:
    """Items, relevant items and expected precision sum in front of a bucket."""
    items = hits = 0
    total = Fraction(0)
    for n, r in buckets[:index]:
        total += precision_sum(items, hits, n, r, n)
        items, hits = items + n, hits + r
    return items, hits, total


def hits_directly(buckets: tuple[tuple[int, int], ...], index: int, k: int) -> float:
    """/hits@k, where bucket ``index`` holds rank k: over every number of hits that the cut can leave."""
    items, hits, base = before(buckets, index)
    n, r = buckets[index]
    m = k - items
    total = Fraction(0)
    for h in range(max(0, m + r - n), min(m, r) + 1):
        inside = precision_sum(items, hits, m, h, m)
        if hits + h:
            total += Fraction(math.comb(r, h) * math.comb(n - r, m - h), math.comb(n, m)) * (base + inside) / (hits + h)
    return float(total)


def first_directly(buckets: tuple[tuple[int, int], ...], index: int, k: int) -> float:
    """first-k, where bucket ``index`` holds the k-th relevant item: over every place of every one of them."""
    items, hits, base = before(buckets, index)
    n, r = buckets[index]
    ways = sum(
        Fraction((hits + i) * math.comb(p - 1, i - 1) * math.comb(n - p, r - i), items + p)
        for i in range(1, k - hits + 1)
        for p in range(i, n - r + i + 1)
    )
    return float((base + ways / math.comb(n, r)) / k)


@pytest.mark.parametrize(
    ("buckets", "index", "k"),
    [
        (((5, 2), (400, 150), (30, 9)), 1, 100),
        (((400, 150),), 0, 399),
        (((3, 0), (300, 4)), 1, 60),
        (((50, 49), (300, 290), (9, 1)), 1, 200),
        (((1, 0), (250, 1)), 1, 7),
    ],
)
def test_hits_keeps_its_digits_in_long_ties(buckets: tuple[tuple[int, int], ...], index: int, k: int) -> None:
    found = metrics.average_precision_hits(rankings(*buckets), k)[0]
    assert abs(found - hits_directly(buckets, index, k)) <= EXACT


@pytest.mark.parametrize(
    ("buckets", "index", "k"),
    [
        (((5, 2), (150, 60), (30, 9)), 1, 30),
        (((200, 150),), 0, 149),
        (((3, 0), (200, 4)), 1, 1),
        (((3, 0), (200, 4)), 1, 3),
        (((20, 19), (100, 90), (9, 1)), 1, 60),
        (((400, 2),), 0, 1),
    ],
)
def test_first_keeps_its_digits_in_long_ties(buckets: tuple[tuple[int, int], ...], index: int, k: int) -> None:
    found = metrics.average_precision_first(rankings(*buckets), k)[0]
    assert abs(found - first_directly(buckets, index, k)) <= EXACT


@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("k", [1, 2, 20, 500, 10_000])
@pytest.mark.parametrize("metric", [metrics.average_precision_hits, metrics.average_precision_first])
def test_leaving_out_the_tails_leaves_out_nothing(
    metric: Callable[[TiedRankings, int], np.ndarray], k: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One huge tie, with the law as far as it is summed and with all of it."""
    tie = rankings((40_000, int(40_000 * share)))
    found = metric(tie, k)[0]
    limited = metrics._expectation

    def unlimited(**law: Any) -> np.ndarray:
        return limited(**(law | {"reach": np.full(len(law["mode"]), np.inf)}))

    monkeypatch.setattr(metrics, "_expectation", unlimited)
    assert found == pytest.approx(metric(tie, k)[0], rel=1e-14)


def test_a_rare_tie_behind_a_large_database_keeps_its_digits() -> None:
    """Two relevant items tied behind 100,000 others: differences of tabled harmonic numbers lose five digits."""
    found = metrics.average_precision(rankings((100_000, 0), (2, 2)))[0]
    expected = (Fraction(1, 100_001) + Fraction(2, 100_002)) / 2
    assert found == pytest.approx(float(expected), rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    buckets=st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 1)), min_size=1, max_size=5),
    ahead=st.sampled_from([0, 10, 200_000]),
)
def test_average_precision_equals_the_sum_over_positions(buckets: list[tuple[int, float]], ahead: int) -> None:
    counts = [(ahead, ahead // 7), *((n, round(n * share)) for n, share in buckets), (1, 1)]
    items = hits = 0
    total = 0.0
    for n, r in counts:
        i = np.arange(1, n + 1, dtype=np.longdouble)
        spread = np.longdouble(r - 1) / max(n - 1, 1)
        total += float((r / np.longdouble(max(n, 1)) * (hits + 1 + (i - 1) * spread) / (items + i)).sum())
        items, hits = items + n, hits + r
    assert abs(metrics.average_precision(rankings(*counts))[0] - total / hits) <= EXACT


@settings(max_examples=200, deadline=None)
@given(start=st.one_of(st.integers(0, 130), st.integers(0, 10**7)), count=st.integers(0, 2000))
def test_harmonic_differences_keep_their_digits(start: int, count: int) -> None:
    found = metrics._harmonic_gap(np.array([start]), np.array([count]))[0]
    expected = math.fsum(1 / (start + i) for i in range(1, count + 1))
    assert abs(found - expected) <= 2e-15 * (1 if start < 64 else expected)


def test_means_never_divide_by_nothing() -> None:
    values, relevant = np.array([0.5, 0.0, 1.0]), np.array([2, 0, 1])
    assert metrics.mean(values, relevant) == 0.75
    assert metrics.mean(values, relevant, "counted") == 0.5
    assert metrics.mean(np.zeros(2), np.zeros(2, int)) == 0
    assert metrics.mean(np.zeros(2), np.zeros(2, int), "counted") == 0


def test_a_radius_beyond_the_bits_is_the_whole_database() -> None:
    assert metrics.precision_within(rankings((3, 1), (5, 1)), 2)[0] == 0.25
