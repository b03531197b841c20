"""The metrics, in closed form from the histograms of `hashbench.retrieval.histogram`.

Items at one distance are tied, and code bits are few, so ties are the rule. Every metric here is therefore an
expectation over all orders of the tied items, each order equally likely (McSherry & Najork, "Computing
information retrieval performance measures efficiently in the presence of tied scores", ECIR 2008), unless its
name says otherwise. No order of the database can change it.

Notation: positions start at 1; rel(i) is 1 where the item at position i shares a label with the query, or
else 0; P(i) = (rel(1) + .. + rel(i)) / i; R is the number of relevant items in the database of N items. A query
without a relevant item has the value 0 in every metric, see `mean`. A cut-off K beyond N means N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.retrieval.codes import PackedCodes
from hashbench.retrieval.histogram import Comparison

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
WithoutRelevant = Literal["skipped", "counted"]


class TiedRankings:
    """Rankings of q queries, known up to the order of tied items.

    ``histogram`` is int64 (q, buckets, grades), buckets in rank order: what `histograms` yields. All arrays
    are int64 (q, buckets) unless said otherwise.
    """

    def __init__(self, histogram: Ints) -> None:
        self.histogram = histogram
        self.items = histogram.sum(axis=2)
        self.relevant = self.items - histogram[:, :, 0]
        self.items_through = self.items.cumsum(axis=1)
        self.relevant_through = self.relevant.cumsum(axis=1)
        self.items_before = self.items_through - self.items
        self.relevant_before = self.relevant_through - self.relevant
        self.total_relevant: Ints = self.relevant_through[:, -1]
        """R of each query (q,)."""
        self.database = int(self.items_through[0, -1])

    @cached_property
    def precision_sums(self) -> Floats:
        """Expected sum of P(i) rel(i) over the positions of each bucket (q, buckets)."""
        return _precision_sum(self.items_before, self.relevant_before, self.items, self.relevant, self.items)

    @cached_property
    def mean_gains(self) -> Floats:
        """Mean of `gains` over the items of each bucket (q, buckets); 0 for an empty one."""
        total: Floats = np.zeros(self.items.shape)
        for grade, gain in enumerate(self.gains.T):  # by grade: each query sums in one order in any block
            total += gain[:, None] * self.histogram[:, :, grade]
        return ratio(total, self.items)

    @cached_property
    def gains(self) -> Floats:
        """Gain of each grade (q, grades): 2^g - 1, in units of 2^(the query's best grade): finite."""
        grade = np.arange(self.grade_counts.shape[1])
        best = np.where(self.grade_counts > 0, grade, 0).max(axis=1)[:, None]
        gains: Floats = np.exp2(np.minimum(grade - best, 0)) - np.exp2(-best.astype(np.float64))
        return gains

    @cached_property
    def grade_counts(self) -> Ints:
        """Items of each grade (q, grades)."""
        counts: Ints = self.histogram.sum(axis=1)
        return counts

    def bucket_of_rank(self, rank: int) -> Ints:
        """The bucket in which the position ``rank``, 1..N, lies (q,)."""
        bucket: Ints = (self.items_through < rank).sum(axis=1)
        return bucket

    def precision_sum_before(self, bucket: Ints) -> Floats:
        """Expected sum of P(i) rel(i) over all positions in front of a bucket (q,)."""
        in_front = np.arange(self.items.shape[1]) < bucket[:, None]
        total: Floats = np.where(in_front, self.precision_sums, 0.0).sum(axis=1)
        return total

    def at(self, bucket: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Items and relevant ones before, items and relevant ones in, one bucket per query; each (q,)."""
        index = bucket[:, None]
        before, relevant_before, items, relevant = (
            np.take_along_axis(table, index, axis=1)[:, 0]
            for table in (self.items_before, self.relevant_before, self.items, self.relevant)
        )
        return before, relevant_before, items, relevant


# --- MAP over the whole database ----------------------------------------------------------------------------


def average_precision(rankings: TiedRankings) -> Floats:
    """``map@all``: AP = (1/R) Σ_i P(i) rel(i), expected over the orders of ties (q,).

    A bucket of n items, r of them relevant, behind B items of which S are relevant, adds
    Σ_{i=1..n} (r/n) (S + 1 + (i-1)(r-1)/(n-1)) / (B + i)  (McSherry & Najork 2008).
    """
    return ratio(rankings.precision_sums.sum(axis=1), rankings.total_relevant)


def average_precision_optimistic(rankings: TiedRankings) -> Floats:
    """``map@all/optimistic``: AP with the relevant items of every bucket first; no order gives more (q,).

    A bucket adds Σ_{i=1..r} (S + i)/(B + i) = r - (B - S)(H(B + r) - H(B)), H the harmonic numbers.
    """
    before, hits = rankings.items_before, rankings.relevant_before
    sums = rankings.relevant - (before - hits) * _harmonic_gap(before, rankings.relevant)
    return ratio(sums.sum(axis=1), rankings.total_relevant)


def average_precision_pessimistic(rankings: TiedRankings) -> Floats:
    """``map@all/pessimistic``: AP with the relevant items of every bucket last; no order gives less (q,).

    As the optimistic bound, with B + n - r in the place of B.
    """
    before, hits = rankings.items_through - rankings.relevant, rankings.relevant_before
    sums = rankings.relevant - (before - hits) * _harmonic_gap(before, rankings.relevant)
    return ratio(sums.sum(axis=1), rankings.total_relevant)


def average_precision_stable(
    query: PackedCodes, database: PackedCodes, query_labels: NDArray[Any], database_labels: NDArray[Any]
) -> Floats:
    """``map@all/stable-order``: AP with ties in the order of the database (q,), as a stable sort leaves them.

    What scripts of the field print that sort stably (DCMH in MATLAB; faiss with counting sort); only for
    comparison with published numbers, since it depends on the order of the database.
    """
    comparison = Comparison(query, database, query_labels, database_labels)
    hits = np.arange(1.0, comparison.items + 1)
    values = np.zeros(comparison.queries)
    for row in range(comparison.queries):
        distance, shared = comparison.compare(row)
        ranked = (shared > 0)[np.argsort(distance, kind="stable")]
        positions = np.flatnonzero(ranked) + 1
        if len(positions):
            values[row] = (hits[: len(positions)] / positions).mean()
    return values


# --- MAP@K, which means four things -------------------------------------------------------------------------


def average_precision_standard(rankings: TiedRankings, k: int) -> Floats:
    """``map@K/standard``: (1 / min(R, K)) Σ_{i<=K} P(i) rel(i) (q,); the textbook's truncated AP."""
    return ratio(_precision_sum_at(rankings, k), np.minimum(rankings.total_relevant, k))


def average_precision_total(rankings: TiedRankings, k: int) -> Floats:
    """``map@K/total``: (1 / R) Σ_{i<=K} P(i) rel(i) (q,); small wherever K is far below R."""
    return ratio(_precision_sum_at(rankings, k), rankings.total_relevant)


def average_precision_hits(rankings: TiedRankings, k: int) -> Floats:
    """``map@K/hits``: (1 / h) Σ_{i<=K} P(i) rel(i), h = Σ_{i<=K} rel(i), and 0 where h = 0 (q,).

    DeepHash-pytorch, DJSRH, JDSH, UCMFH, and DCMH's MATLAB top-k. One relevant item at the first rank is
    enough for 1.0. The number of hits in the bucket that K cuts is hypergeometric, which weights the terms.
    """
    k = min(k, rankings.database)
    bucket = rankings.bucket_of_rank(k)
    before, hits, items, relevant = rankings.at(bucket)
    base = rankings.precision_sum_before(bucket)
    first = k - before
    low, high = np.maximum(0, first + relevant - items), np.minimum(first, relevant)
    # Hoeffding 1963: beyond sqrt(18 s) from the mean, s the smallest margin, lies less than e^-36 of the mass
    margin = np.minimum.reduce([first, relevant, items - first, items - relevant])

    def value(rows: Ints, h: Ints) -> Floats:
        drawn, seen = first[rows, None], hits[rows, None]
        inside = _precision_sum(before[rows, None], seen, drawn, h, drawn)
        return ratio(base[rows, None] + inside, seen + h)

    return _expectation(
        low=low,
        high=high,
        mode=np.clip((first + 1) * (relevant + 1) // (items + 2), low, high),
        reach=np.sqrt(18.0 * margin) + 2,
        up=lambda rows, h: (
            (relevant[rows, None] - h) * (first[rows, None] - h)
            / ((h + 1) * ((items - relevant - first)[rows, None] + h + 1))
        ),
        down=lambda rows, h: (
            h * ((items - relevant - first)[rows, None] + h)
            / ((relevant[rows, None] - h + 1) * (first[rows, None] - h + 1))
        ),
        value=value,
    )  # fmt: skip


def average_precision_first(rankings: TiedRankings, k: int) -> Floats:
    """``map@K/first``: the mean of P at the first m = min(K, R) relevant items, however deep they lie (q,).

    ``calc_map_k`` of the DCMH family: DCMH-pytorch, AGAH, DADH, MITH, DCHMT and the CLIP toolkits. K is no
    rank here. Where the m-th relevant item is the j-th of its bucket, its place there follows the negative
    hypergeometric law, and given that place the j - 1 others are spread evenly in front of it.
    """
    wanted = np.minimum(rankings.total_relevant, k)
    bucket: Ints = (rankings.relevant_through < wanted[:, None]).sum(axis=1)
    before, hits, items, relevant = rankings.at(bucket)
    rank = wanted - hits
    base = rankings.precision_sum_before(bucket)
    sums = base + _precision_sum(before, hits, items, relevant, items)
    cut = np.flatnonzero((rank > 0) & (rank < relevant))
    before, hits, items, relevant, rank = (array[cut] for array in (before, hits, items, relevant, rank))
    low, high = rank, items - relevant + rank
    mode = np.clip((rank - 1) * items // np.maximum(relevant - 1, 1) + 1, low, high)
    # Chernoff's bounds on the number of relevant items in front of a place: beyond lies less than e^-36
    rate = relevant / np.maximum(items, 1)
    nearest = (rank - np.sqrt(72.0 * rank)) / rate
    farthest = (rank + 35 + 2 * np.sqrt(18.0 * (rank + 17))) / rate

    def value(rows: Ints, place: Ints) -> Floats:
        ahead, seen, nth = before[rows, None], hits[rows, None], rank[rows, None]
        inside = _precision_sum(ahead, seen, place - 1, np.broadcast_to(nth - 1, place.shape), place - 1)
        return inside + (seen + nth) / (ahead + place)

    expected = _expectation(
        low=low,
        high=high,
        mode=mode,
        reach=np.maximum(mode - nearest, farthest - mode) + 2,
        up=lambda rows, place: (
            place * (high[rows, None] - place)
            / ((place - rank[rows, None] + 1) * (items[rows, None] - place))
        ),
        down=lambda rows, place: (
            (place - rank[rows, None]) * (items[rows, None] - place + 1)
            / (np.maximum(place - 1, 1) * (high[rows, None] - place + 1))
        ),
        value=value,
    )  # fmt: skip
    sums[cut] = base[cut] + expected
    return ratio(sums, wanted)


# --- precision, recall, NDCG --------------------------------------------------------------------------------


def hits_at(rankings: TiedRankings, k: int) -> Floats:
    """Expected number of relevant items among the first K (q,): linear inside a bucket."""
    k = min(k, rankings.database)
    before, hits, items, relevant = rankings.at(rankings.bucket_of_rank(k))
    return hits + (k - before) * relevant / items


def precision_at(rankings: TiedRankings, k: int) -> Floats:
    """``precision@K``: P(K) (q,)."""
    return hits_at(rankings, k) / min(k, rankings.database)


def recall_at(rankings: TiedRankings, k: int) -> Floats:
    """``recall@K``: the share of the R relevant items among the first K (q,)."""
    return ratio(hits_at(rankings, k), rankings.total_relevant)


def precision_within(rankings: TiedRankings, radius: int) -> Floats:
    """``precision@radius2`` for radius 2: the share of relevant items in the Hamming ball (q,).

    An empty ball has precision 0, as in HashNet and its successors. A radius beyond the bits means the bits.
    """
    radius = min(radius, rankings.items.shape[1] - 1)
    return ratio(rankings.relevant_through[:, radius], rankings.items_through[:, radius])


def ndcg_at(rankings: TiedRankings, k: int) -> Floats:
    """``ndcg@K``: DCG@K / IDCG@K (q,), with DCG@K = Σ_{i<=K} (2^g(i) - 1) / log2(1 + i).

    g(i) is the number of labels that item i shares with the query (Zhao et al., CVPR 2015), the gains are those
    of Burges et al. (ICML 2005). Over ties every position of a bucket has the bucket's mean gain (McSherry &
    Najork 2008).
    """
    k = min(k, rankings.database)
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2.0, k + 2)))])
    gained = rankings.mean_gains * (
        discounts[np.minimum(rankings.items_through, k)] - discounts[np.minimum(rankings.items_before, k)]
    )
    best_first = rankings.grade_counts[:, ::-1]
    through = best_first.cumsum(axis=1)
    ideal = rankings.gains[:, ::-1] * (
        discounts[np.minimum(through, k)] - discounts[np.minimum(through - best_first, k)]
    )
    return ratio(gained.sum(axis=1), ideal.sum(axis=1))


def chance(total_relevant: Ints, database: int) -> Floats:
    """``chance``: R / N (q,), the probability that a random item is relevant; AP of random codes tends to it."""
    return total_relevant / database


# --- from queries to one number -----------------------------------------------------------------------------


def mean(values: Floats, total_relevant: Ints, without_relevant: WithoutRelevant = "skipped") -> float:
    """The mean over queries; never NaN.

    Queries without a relevant item are left out (``skipped``), or stay in with their value 0 (``counted``,
    as the loop of the DCMH family does). Where no query is left, the result is 0.
    """
    kept = values[selected(total_relevant, without_relevant)]
    return float(kept.mean()) if len(kept) else 0.0


def selected(total_relevant: Ints, without_relevant: WithoutRelevant) -> NDArray[np.bool_]:
    """Which queries enter a mean (q,). Raises UsageError for an unknown rule."""
    if without_relevant == "skipped":
        return total_relevant > 0
    if without_relevant == "counted":
        return np.ones(len(total_relevant), np.bool_)
    raise UsageError(f"without_relevant: expected 'skipped' or 'counted', found {without_relevant!r}")


# --- the sums behind the closed forms -----------------------------------------------------------------------


def ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """numerator / denominator, and 0 where the denominator is 0."""
    result: Floats = np.zeros(np.broadcast_shapes(numerator.shape, denominator.shape))
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def _precision_sum_at(rankings: TiedRankings, k: int) -> Floats:
    """Expected Σ_{i<=K} P(i) rel(i) (q,)."""
    k = min(k, rankings.database)
    bucket = rankings.bucket_of_rank(k)
    before, hits, items, relevant = rankings.at(bucket)
    return rankings.precision_sum_before(bucket) + _precision_sum(before, hits, items, relevant, k - before)


def _precision_sum(before: Ints, hits: Ints, items: Ints, relevant: Ints, first: Ints) -> Floats:
    """Expected Σ P(i) rel(i) over the ``first`` positions of a bucket of ``items``, ``relevant`` of them
    relevant, behind ``before`` items with ``hits`` relevant ones; all of one shape, or broadcast to it.

    With m = first, S0 = Σ_{i<=m} 1/(before + i) and S1 = Σ_{i<=m} (i - 1)/(before + i) = m - (before + 1) S0,
    it is (relevant/items) ((hits + 1) S0 + (relevant - 1)/(items - 1) S1).
    """
    s0 = _harmonic_gap(before, first)
    s1 = first - (before + 1) * s0
    another = (relevant - 1) / np.maximum(items - 1, 1)
    return relevant / np.maximum(items, 1) * ((hits + 1) * s0 + another * s1)


_SMALL = 64
_HARMONIC = np.array([math.fsum(1 / i for i in range(1, n + 1)) for n in range(_SMALL + 1)])


def _harmonic_gap(start: Ints, count: Ints) -> Floats:
    """H(start + count) - H(start) = Σ_{i=1..count} 1/(start + i); error 2e-15, from start 64 on relative.

    A table of harmonic numbers loses the digits that the difference needs where start is large. Hence from 64 on
    H(x - 1/2) = ln x + γ + 1/(24 x²) - 7/(960 x⁴) + 31/(8064 x⁶) - .., the rest being below 1e-17.
    """
    end = start + count
    low = np.maximum(start, _SMALL) + 0.5
    high = np.maximum(end, _SMALL) + 0.5
    table = _HARMONIC[np.minimum(end, _SMALL)] - _HARMONIC[np.minimum(start, _SMALL)]
    gap: Floats = table + (np.log1p((high - low) / low) + (_correction(high) - _correction(low)))
    return gap


def _correction(x: Floats) -> Floats:
    square = 1 / (x * x)
    return square * (1 / 24 - square * (7 / 960 - square * (31 / 8064)))


_CELLS_AT_ONCE = 1 << 16
"""Cells of the tables in `_expectation`: 512 KiB of float64."""

Law = Callable[[Ints, Ints], Floats]


def _expectation(*, low: Ints, high: Ints, mode: Ints, reach: Floats, up: Law, down: Law, value: Law) -> Floats:
    """E[value(X)] (q,) for one unimodal integer law per query.

    A law lives on low..high, has its mode at ``mode``, a negligible mass further than ``reach`` from it, and
    the neighbour ratios up = p(x+1)/p(x) and down = p(x-1)/p(x), 0 at the ends; all (q,). The functions get
    row numbers (b,) and points (b, w). Weights grow from the mode outwards as products of ratios and are
    scaled to the sum 1, which keeps 14 digits where log-factorials of large databases keep 9.
    """
    result = np.zeros(len(mode))
    reach = np.minimum(np.ceil(reach), np.maximum(mode - low, high - mode))
    # a width of its own for each query, a power of two: the sum does not depend on the query's neighbours
    width = 2 ** np.ceil(np.log2(np.maximum(reach, 1))).astype(np.int64)
    for wide in np.unique(width):
        rows_of_width = np.flatnonzero(width == wide)
        steps = np.arange(wide)
        block = max(1, _CELLS_AT_ONCE // int(wide))
        for start in range(0, len(rows_of_width), block):
            rows = rows_of_width[start : start + block]
            bottom, top, centre = low[rows, None], high[rows, None], mode[rows, None]
            above = np.cumprod(up(rows, np.minimum(centre + steps, top)), axis=1)
            below = np.cumprod(down(rows, np.maximum(centre - steps, bottom)), axis=1)
            weight = np.concatenate([below[:, ::-1], np.ones((len(rows), 1)), above], axis=1)
            points = np.clip(centre + np.arange(-wide, wide + 1), bottom, top)
            result[rows] = (weight * value(rows, points)).sum(axis=1) / weight.sum(axis=1)
    return result
