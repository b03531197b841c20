"""The histograms equal a naive count, at every width where a narrow integer could overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashbench.errors import UsageError
from hashbench.retrieval import histogram, pack
from hashbench.retrieval.histogram import Comparison, histograms


def naive(query: np.ndarray, database: np.ndarray, wanted: np.ndarray, offered: np.ndarray) -> np.ndarray:
    distance = (query[:, None, :] != database[None, :, :]).sum(axis=2)
    shared = wanted.astype(int) @ offered.astype(int).T
    counts = np.zeros((len(query), query.shape[1] + 1, shared.max() + 1), int)
    for row in range(len(query)):
        np.add.at(counts[row], (distance[row], shared[row]), 1)
    return counts


def counted(*sides: np.ndarray, **options: int) -> np.ndarray:
    query, database, wanted, offered = sides
    return np.concatenate(list(histograms(pack(query), pack(database), wanted, offered, **options)))


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal, but for grades that could have occurred and did not."""
    occurring = expected.shape[2]
    assert (found[:, :, :occurring] == expected).all()
    assert not found[:, :, occurring:].any()


@settings(max_examples=60, deadline=None)
@given(
    bits=st.sampled_from([1, 2, 8, 9, 31, 33, 64, 65, 127, 128, 129]),
    classes=st.sampled_from([1, 3, 8, 9, 24, 65]),
    queries=st.integers(1, 4),
    items=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.1, 0.6]),
    seed=st.integers(0, 999),
)
def test_equals_a_naive_count(bits: int, classes: int, queries: int, items: int, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = (
        rng.random((queries, bits)) < 0.5,
        rng.random((items, bits)) < 0.5,
        (rng.random((queries, classes)) < density).astype(np.uint8),
        (rng.random((items, classes)) < density).astype(np.uint8),
    )
    agree(counted(*sides), naive(*sides))


@pytest.mark.parametrize("bits", [254, 255, 256, 1024])
@pytest.mark.parametrize("classes", [2, 255, 256, 300])
def test_nothing_wraps_at_the_largest_distances_and_overlaps(bits: int, classes: int) -> None:
    query = np.ones((1, bits), np.bool_)
    database = np.vstack([query, ~query, ~query, np.arange(bits) % 2 == 0])
    wanted, offered = np.ones((1, classes), np.uint8), np.ones((4, classes), np.uint8)
    offered[2] = 0
    offered[3, 1:] = 0
    found = counted(query, database, wanted, offered)
    assert found.shape == (1, bits + 1, classes + 1)
    assert found.sum() == 4
    for distance, grade in ((0, classes), (bits, classes), (bits, 0), (bits // 2, 1)):
        assert found[0, distance, grade] == 1


def test_single_labels_give_two_grades() -> None:
    rng = np.random.default_rng(0)
    wanted, offered = np.eye(5, dtype=np.uint8)[[1, 4]], np.eye(5, dtype=np.uint8)[rng.integers(0, 5, 30)]
    query, database = rng.random((2, 12)) < 0.5, rng.random((30, 12)) < 0.5
    found = counted(query, database, wanted, offered)
    assert found.shape == (2, 13, 2)
    agree(found, naive(query, database, wanted, offered))


def test_blocks_and_steps_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    sides = (
        rng.random((7, 70)) < 0.5,
        rng.random((101, 70)) < 0.5,
        rng.random((7, 4)) < 0.4,
        rng.random((101, 4)) < 0.4,
    )
    expected = counted(*sides)
    assert [len(b) for b in histograms(pack(sides[0]), pack(sides[1]), *sides[2:], queries_at_once=3)] == [3, 3, 1]
    for items_at_once in (1, 10, 101, 1000):
        monkeypatch.setattr(histogram, "ITEMS_AT_ONCE", items_at_once)
        for queries_at_once in (1, 2, 100):
            assert (counted(*sides, queries_at_once=queries_at_once) == expected).all()


def test_compare_gives_distances_and_shared_labels_item_by_item() -> None:
    query, database = pack(np.array([[1, 1, 1]])), pack(np.array([[1, 1, 1], [1, -1, 1], [-1, -1, -1]]))
    comparison = Comparison(query, database, np.array([[1, 1]]), np.array([[0, 1], [1, 1], [0, 0]]))
    distance, shared = comparison.compare(0)
    assert distance.tolist() == [0, 1, 3]
    assert shared.tolist() == [1, 2, 0]


CODES = pack(np.ones((2, 4), np.bool_))
LABELS = np.ones((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("query", "database", "wanted", "offered", "told"),
    [
        (CODES, pack(np.ones((2, 5), np.bool_)), LABELS, LABELS, "query has 4 bits, the database has 5"),
        (CODES, CODES, LABELS, LABELS[:, :2], "query has 3 classes, the database has 2"),
        (CODES, CODES, LABELS[:1], LABELS, r"query labels: expected shape \(2, classes\)"),
        (CODES, CODES, LABELS, LABELS[0], r"database labels: expected shape \(2, classes\)"),
        (CODES, CODES, LABELS, LABELS * 2, "database labels: expected only 0 and 1"),
        (CODES, CODES, LABELS - 1.5, LABELS, "query labels: expected only 0 and 1"),
        (CODES, CODES, LABELS[:, :0], LABELS[:, :0], "query labels: expected shape"),
        (pack(np.ones((0, 4), np.bool_)), CODES, LABELS[:0], LABELS, "query: expected at least one item"),
        (CODES, pack(np.ones((0, 4), np.bool_)), LABELS, LABELS[:0], "database: expected at least one item"),
    ],
)
def test_sides_that_do_not_fit_are_refused(query, database, wanted, offered, told: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match=told):
        next(histograms(query, database, wanted, offered))


def test_a_block_of_no_queries_is_refused() -> None:
    with pytest.raises(UsageError, match="queries_at_once: expected at least 1, found 0"):
        next(histograms(CODES, CODES, LABELS, LABELS, queries_at_once=0))
