"""What is shown to people is what metrics count: the nearest first, in the database's order where it is a tie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench.errors import UsageError
from hashbench.retrieval import RealCodes, nearest, pack


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 40), st.integers(1, 50))
def test_is_a_stable_sort_by_distance(seed: int, bits: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    query, database = rng.random((3, bits)) < 0.5, rng.random((n, bits)) < 0.5
    rows, far = nearest(pack(query), pack(database), k)
    for found, distances, asked in zip(rows.tolist(), far.tolist(), query, strict=True):
        distance = [int((asked != each).sum()) for each in database]
        assert found == sorted(range(n), key=lambda row: (distance[row], row))[:k]
        assert distances == [distance[row] for row in found]


def test_real_codes_are_ranked_by_their_angle() -> None:
    database = RealCodes(np.array([[0, 2], [-1, 0], [3, 3], [0, 1]], np.float32))
    rows, far = nearest(RealCodes(np.array([[0, 5]], np.float32)), database, 4)
    assert rows.tolist() == [[0, 3, 2, 1]]
    assert far == pytest.approx(np.array([[0, 0, 1 - 2**-0.5, 1]]), abs=1e-6)


@pytest.mark.parametrize(
    ("query", "database", "k", "expected"),
    [
        (pack(np.ones((1, 4), np.bool_)), pack(np.ones((1, 5), np.bool_)), 1, "4 bits"),
        (pack(np.ones((1, 4), np.bool_)), RealCodes(np.ones((1, 4), np.float32)), 1, "one of each"),
        (RealCodes(np.ones((1, 3), np.float32)), RealCodes(np.ones((1, 4), np.float32)), 1, "3 dimensions"),
        (pack(np.ones((1, 4), np.bool_)), pack(np.ones((1, 4), np.bool_)), 0, "at least 1"),
    ],
)
def test_sides_must_fit(query: Any, database: Any, k: int, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        nearest(query, database, k)
