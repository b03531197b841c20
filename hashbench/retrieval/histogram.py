"""How many database items lie at each Hamming distance with each number of shared labels.

k bits allow only k + 1 distances, so this small table per query says all that a ranking by distance can say,
in any order of the database. XOR and popcount count the distance, AND and popcount the shared labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.retrieval.codes import PackedCodes, pack, same_length

ITEMS_AT_ONCE = 1 << 15
"""Database items per step: the step's buffers stay in a core's cache."""

CELLS_AT_ONCE = 1 << 19
"""Histogram cells per block of queries (4 MiB)."""

Counts = NDArray[np.uint8] | NDArray[np.uint16]


class Comparison:
    """Compares one query at a time with the whole database.

    Labels are multi-hot, 0/1 or bool, (queries, classes) and (database, classes); rows may be empty.
    Raises UsageError for codes or labels that do not fit together, and for an empty side.
    """

    def __init__(
        self,
        query: PackedCodes,
        database: PackedCodes,
        query_labels: NDArray[Any],
        database_labels: NDArray[Any],
    ) -> None:
        same_length(query, database)
        wanted = _checked("query", query, query_labels)
        offered = _checked("database", database, database_labels)
        if wanted.shape[1] != offered.shape[1]:
            raise UsageError(f"labels: the query has {wanted.shape[1]} classes, the database has {offered.shape[1]}")
        self.queries, self.items = len(query), len(database)
        self.distance_levels = query.bits + 1
        self.grades = 1 + int(min(wanted.sum(axis=1).max(), offered.sum(axis=1).max()))
        """One more than the number of labels that any pair can share."""
        self._query_codes, self._item_codes = _by_word(query), _by_word(database)
        self._query_labels, self._item_labels = _by_word(pack(wanted)), _by_word(pack(offered))
        self._distance: Counts = np.empty(self.items, np.min_scalar_type(query.bits))
        self._shared: Counts = np.empty(self.items, np.min_scalar_type(self.grades))
        step = min(ITEMS_AT_ONCE, self.items)
        self._code_scratch = np.empty(step, self._item_codes.dtype)
        self._label_scratch = np.empty(step, self._item_labels.dtype)
        self._count_scratch = np.empty(step, np.uint8)
        self._cell_scratch = np.empty(step, np.min_scalar_type(self.distance_levels * self.grades - 1))

    def compare(self, query: int) -> tuple[Counts, Counts]:
        """Hamming distance to, and number of labels shared with, every database item (items,).

        The arrays are reused by the next call.
        """
        for part in self._parts():
            _count(np.bitwise_xor, self._item_codes, self._query_codes[:, query], part, self._distance,
                   self._code_scratch, self._count_scratch)  # fmt: skip
            _count(np.bitwise_and, self._item_labels, self._query_labels[:, query], part, self._shared,
                   self._label_scratch, self._count_scratch)  # fmt: skip
        return self._distance, self._shared

    def histogram(self, query: int) -> NDArray[np.int64]:
        """Counts (bits + 1, grades): [d, g] is the number of items at distance d that share g labels."""
        distance, shared = self.compare(query)
        cells = self.distance_levels * self.grades
        counts = np.zeros(cells, np.int64)
        for part in self._parts():
            cell = self._cell_scratch[: part.stop - part.start]
            # NEP 50: without dtype the product would wrap around in the type of the distance
            np.multiply(distance[part], self.grades, out=cell, dtype=cell.dtype)
            np.add(cell, shared[part], out=cell, dtype=cell.dtype)
            counts += np.bincount(cell, minlength=cells)
        return counts.reshape(self.distance_levels, self.grades)

    def _parts(self) -> Iterator[slice]:
        for start in range(0, self.items, ITEMS_AT_ONCE):
            yield slice(start, min(start + ITEMS_AT_ONCE, self.items))


def histograms(
    query: PackedCodes,
    database: PackedCodes,
    query_labels: NDArray[Any],
    database_labels: NDArray[Any],
    *,
    queries_at_once: int | None = None,
) -> Iterator[NDArray[np.int64]]:
    """Blocks of histograms (b, bits + 1, grades) in the order of the queries, so that memory stays flat.

    Entry [q, d, g] counts the database items at Hamming distance d from query q that share g labels with it;
    the number of grades is one more than the number of labels that any pair can share. A block holds
    ``queries_at_once`` queries, by default as many as fit in 4 MiB. Errors as in `Comparison`.
    """
    if queries_at_once is not None and queries_at_once < 1:
        raise UsageError(f"queries_at_once: expected at least 1, found {queries_at_once}")
    comparison = Comparison(query, database, query_labels, database_labels)
    cells = comparison.distance_levels * comparison.grades
    block = queries_at_once or max(1, CELLS_AT_ONCE // cells)
    for start in range(0, comparison.queries, block):
        stop = min(start + block, comparison.queries)
        yield np.stack([comparison.histogram(row) for row in range(start, stop)])


def _checked(side: str, codes: PackedCodes, labels: NDArray[Any]) -> NDArray[np.bool_]:
    labels = np.asarray(labels)
    if len(codes) == 0:
        raise UsageError(f"{side}: expected at least one item, found none")
    if labels.ndim != 2 or labels.shape[1] == 0 or len(labels) != len(codes):
        raise UsageError(
            f"{side} labels: expected shape ({len(codes)}, classes), one row per code, found {labels.shape}"
        )
    if labels.dtype.kind not in "biuf" or not ((labels == 0) | (labels == 1)).all():
        raise UsageError(f"{side} labels: expected only 0 and 1 (multi-hot), found others ({labels.dtype})")
    return labels.astype(np.bool_, copy=False)


def _by_word(packed: PackedCodes) -> NDArray[Any]:
    """(words, n), each word contiguous, in the narrowest type that NumPy's popcount is fast on (not uint16)."""
    narrow = np.uint8 if packed.bits <= 8 else np.uint32 if packed.bits <= 32 else np.uint64
    return np.ascontiguousarray(packed.words.T.astype(narrow, copy=False))


def _count(
    combine: np.ufunc,
    items: NDArray[Any],
    query: NDArray[Any],
    part: slice,
    total: Counts,
    scratch: NDArray[Any],
    count: NDArray[np.uint8],
) -> None:
    """total[part] = popcount of combine(items, query), summed over the words."""
    size = part.stop - part.start
    scratch, count = scratch[:size], count[:size]
    np.bitwise_count(combine(items[0, part], query[0], out=scratch), out=total[part])
    for word in range(1, len(items)):
        np.bitwise_count(combine(items[word, part], query[word], out=scratch), out=count)
        np.add(total[part], count, out=total[part])
