"""Rankings by cosine: the same definitions as for codes, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench.errors import UsageError
from hashbench.retrieval import RealCodes, evaluate, pack
from hashbench.retrieval.codes import unpack


def average_precision(order: np.ndarray, relevant: np.ndarray) -> float:
    hits = relevant[order].astype(float)
    return float((hits * np.cumsum(hits) / np.arange(1, len(hits) + 1)).sum() / hits.sum())


def labels(rng: np.random.Generator, n: int) -> np.ndarray:
    drawn = (rng.random((n, 3)) < 0.4).astype(np.uint8)
    drawn[drawn.sum(1) == 0, 0] = 1
    return drawn


@given(st.integers(0, 1000))
def test_map_is_that_of_a_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, database = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(30, 4)).astype(np.float32)
    asked, offered = labels(rng, 5), labels(rng, 30)
    found = evaluate(RealCodes(query), RealCodes(database), asked, offered, (5,))
    cosine = (query @ database.T) / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(database, axis=1)
    relevant = asked @ offered.T > 0
    expected = np.mean([average_precision(np.argsort(-c), r) for c, r in zip(cosine, relevant, strict=True) if r.any()])
    assert found.metrics["map@all"] == pytest.approx(expected, abs=1e-9)
    assert found.metrics["map@all/optimistic"] == pytest.approx(found.metrics["map@all"]), "no ties here"
    assert found.radius is None and "precision@radius2" not in found.metrics
    assert found.rank.recall[-1] == pytest.approx(1)


def test_codes_as_vectors_score_as_codes_do() -> None:
    """The cosine of two codes falls with their Hamming distance, so ties and all metrics are the same."""
    rng = np.random.default_rng(0)
    query, database = (pack(rng.random((n, 6)) < 0.5) for n in (8, 200))
    asked, offered = labels(rng, 8), labels(rng, 200)
    binary = evaluate(query, database, asked, offered)
    real = evaluate(*(RealCodes(unpack(c).astype(np.float32)) for c in (query, database)), asked, offered)
    for name, value in real.metrics.items():
        assert value == pytest.approx(binary.metrics[name], abs=1e-9), name


def test_length_does_not_count() -> None:
    rng = np.random.default_rng(1)
    query, database = rng.normal(size=(5, 4)).astype(np.float32), rng.normal(size=(30, 4)).astype(np.float32)
    asked, offered = labels(rng, 5), labels(rng, 30)
    scaled = database * rng.uniform(0.5, 3, size=(30, 1)).astype(np.float32)
    one, two = (evaluate(RealCodes(query), RealCodes(d), asked, offered).metrics for d in (database, scaled))
    assert one == pytest.approx(two, abs=1e-6)


def test_what_is_no_vector_is_refused() -> None:
    with pytest.raises(UsageError, match="finite float32"):
        RealCodes(np.full((2, 2), np.nan, np.float32))
    with pytest.raises(UsageError, match="one of each"):
        evaluate(RealCodes(np.ones((1, 2), np.float32)), pack(np.ones((1, 2), bool)), np.ones((1, 1)), np.ones((1, 1)))
