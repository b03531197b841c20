"""Real-valued vectors ranked by their cosine: what hashing gives away, as a reference beside codes.

Items of equal cosine are tied and everything else is as for codes: a ranking is a histogram whose buckets are
the cosines that occur, in their order, so every metric keeps its definition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import UsageError

CELLS_AT_ONCE = 1 << 21
"""Histogram cells per block of queries (16 MiB)."""


@dataclass(frozen=True, eq=False)
class RealCodes:
    """Vectors (n, k) float32, of which only the direction counts. Raises UsageError where they are none."""

    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.float32 or not np.isfinite(self.values).all():
            raise UsageError(
                f"real-valued codes: expected finite float32 of shape (n, k), found {self.values.dtype} "
                f"{self.values.shape}"
            )

    @property
    def bits(self) -> int:
        """Dimensions, k: real numbers in place of bits."""
        return self.values.shape[1]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray[Any]) -> RealCodes:
        """Some rows, by number or mask."""
        return RealCodes(self.values[rows])

    def digest(self) -> str:
        """sha256, in hex, of shape and values."""
        head = f"{len(self)} vectors of {self.bits} numbers\n".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.values, "<f4").tobytes()).hexdigest()


def rankings(
    query: RealCodes, database: RealCodes, query_labels: NDArray[Any], database_labels: NDArray[Any]
) -> Iterator[NDArray[np.int64]]:
    """Blocks (b, buckets, grades) as :func:`hashbench.retrieval.histogram.histograms` yields them.

    Bucket j holds the items of the query's (j + 1)-th highest cosine; entry [q, j, g] counts those that share g
    labels with it.
    """
    _same_dimensions(query, database)
    wanted, offered = query_labels.astype(np.float32), database_labels.astype(np.float32)
    grades = 1 + int(min(wanted.sum(axis=1).max(), offered.sum(axis=1).max()))
    ask, items = _unit(query.values), _unit(database.values)
    block = max(1, CELLS_AT_ONCE // (len(database) * grades))
    for start in range(0, len(query), block):
        angles = _rounded(ask[start : start + block] @ items.T)
        shared = (wanted[start : start + block] @ offered.T).astype(np.int64)
        counts = np.zeros((len(angles), len(database), grades), np.int64)
        for row, (cosine, share) in enumerate(zip(angles, shared, strict=True)):
            _, bucket = np.unique(-cosine, return_inverse=True)
            np.add.at(counts[row], (bucket, share), 1)
        yield counts


def cosines(query: RealCodes, database: RealCodes) -> NDArray[np.float64]:
    """All cosines (queries, database) as rankings see them, for small sets: the whole matrix is held in memory."""
    _same_dimensions(query, database)
    return _rounded(_unit(query.values) @ _unit(database.values).T)


def _rounded(cosine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Below the sixth decimal is rounding, not order."""
    return np.round(cosine, 6)


def _same_dimensions(query: RealCodes, database: RealCodes) -> None:
    if query.bits != database.bits:
        raise UsageError(f"vectors: the query has {query.bits} dimensions, the database has {database.bits}")


def _unit(values: NDArray[np.float32]) -> NDArray[np.float64]:
    norms = np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    return values / np.where(norms > 0, norms, 1)
