"""From codes and labels to every number of a table, in one pass over the histograms."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench.errors import UsageError
from hashbench.retrieval import metrics, real
from hashbench.retrieval.codes import PackedCodes, pack
from hashbench.retrieval.histogram import histograms
from hashbench.retrieval.metrics import Floats, TiedRankings, WithoutRelevant
from hashbench.retrieval.real import RealCodes

EVALUATION_VERSION = 1
"""Raised whenever a definition below changes its numbers."""

DEFINITIONS: dict[str, str] = {
    "map@all": "mean of AP = (1/R) Σ P(i) rel(i) over the whole database, expected over ties",
    "map@all/optimistic": "map@all with the relevant items first in every tie",
    "map@all/pessimistic": "map@all with the relevant items last in every tie",
    "map@all/stable-order": "map@all with ties in the order of the database, as stable sorts leave them",
    "map@K/standard": "mean of (1/min(R, K)) Σ_{i<=K} P(i) rel(i), expected over ties",
    "map@K/hits": "mean of (1/hits) Σ_{i<=K} P(i) rel(i), hits those among the first K, expected over ties",
    "map@K/first": "mean precision at the first min(K, R) relevant items, however deep, expected over ties",
    "map@K/total": "mean of (1/R) Σ_{i<=K} P(i) rel(i), expected over ties",
    "ndcg@K": "mean of DCG@K / IDCG@K, gain 2^(shared labels) - 1, expected over ties",
    "precision@K": "mean share of relevant items among the first K, expected over ties",
    "recall@K": "mean share of the relevant items that are among the first K, expected over ties",
    "precision@radius2": "mean share of relevant items within Hamming distance 2, 0 where nothing lies there",
    "chance": "mean share of relevant items in the database; MAP of random codes tends to it",
}
"""What each metric means, by id. P(i) is the precision at rank i, R the number of relevant items; K stands for a
cut-off, and one beyond the database means the whole database. ``expected over ties`` averages over all orders
of items at the same distance."""

RANKS_IN_CURVE = 50

AnyCodes = PackedCodes | RealCodes
"""Binary codes, or the real numbers of a reference."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RadiusCurve:
    """Hamming lookup: precision and recall in the ball of each radius 0..bits; arrays (bits + 1,).

    Micro (DCMH's curve) is hits over retrieved items, and over relevant items, all queries together; macro is
    the mean over queries. A ball without items has precision 0; ``empty`` is the share of such queries.
    """

    radius: NDArray[np.int64]
    micro_precision: Floats
    micro_recall: Floats
    macro_precision: Floats
    macro_recall: Floats
    empty: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class RankCurve:
    """Ranking: mean precision and recall at ranks from 1 to the whole database, spaced evenly in their
    logarithm, expected over ties; arrays (ranks,)."""

    rank: NDArray[np.int64]
    precision: Floats
    recall: Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """All numbers of one retrieval task, by definition id; `definition` explains an id."""

    metrics: dict[str, float]
    """Finite values in 0..1, by ids such as ``map@all`` and ``map@50/standard``."""
    average_precision: NDArray[np.float32]
    """AP of ``map@all`` for each query, 0 where nothing is relevant (queries,)."""
    relevant: NDArray[np.int64]
    """Number of relevant database items for each query (queries,)."""
    radius: RadiusCurve | None
    """None for real-valued codes, which have no Hamming distance."""
    rank: RankCurve
    queries: int
    queries_without_relevant: int
    database: int
    bits: int
    without_relevant: WithoutRelevant
    """Whether means leave out the queries without a relevant item, or count them as 0."""
    version: int = EVALUATION_VERSION


def evaluate(
    query: AnyCodes,
    database: AnyCodes,
    query_labels: NDArray[Any],
    database_labels: NDArray[Any],
    cutoffs: Sequence[int] = (50, 100, 500, 1000),
    *,
    without_relevant: WithoutRelevant = "skipped",
    stable_order: bool = True,
    queries_at_once: int | None = None,
) -> Evaluation:
    """Rank the database by Hamming distance for every query and measure; relevant means a shared label.

    Labels are multi-hot 0/1, (queries, classes) and (database, classes). ``without_relevant`` says whether
    queries without a relevant item are left out of all means and curves (``skipped``), or stay with 0
    (``counted``); if all are, everything is 0. ``stable_order=False`` leaves out ``map@all/stable-order``,
    the one metric that needs a sort and depends on the database's order. ``queries_at_once`` bounds the
    memory and changes no bit of the result. Raises UsageError for codes, labels or cut-offs that do not fit.

    Real-valued codes are ranked by their cosine instead; what stands on Hamming distances is left out for them.
    """
    if any(k < 1 for k in cutoffs):
        raise UsageError(f"cut-offs: expected ranks of at least 1, found {list(cutoffs)}")
    measures = _measures(cutoffs)
    ranks = np.unique(np.geomspace(1, max(len(database), 1), RANKS_IN_CURVE).round().astype(np.int64))
    values: dict[str, list[Floats]] = {name: [] for name in measures}
    relevant_blocks, retrieved, found, found_at_ranks = [], [], [], []
    binary = isinstance(query, PackedCodes) and isinstance(database, PackedCodes)
    if not binary:
        del measures["precision@radius2"], values["precision@radius2"]
    for histogram in _blocks(query, database, query_labels, database_labels, queries_at_once):
        rankings = TiedRankings(histogram)
        for name, measure in measures.items():
            values[name].append(measure(rankings))
        relevant_blocks.append(rankings.total_relevant)
        if binary:
            retrieved.append(rankings.items_through.astype(np.uint32))
            found.append(rankings.relevant_through.astype(np.uint32))
        found_at_ranks.append(np.stack([metrics.hits_at(rankings, int(k)) for k in ranks], axis=1))
    relevant = np.concatenate(relevant_blocks)
    per_query = {name: np.concatenate(blocks) for name, blocks in values.items()}
    per_query["chance"] = metrics.chance(relevant, len(database))
    if stable_order and isinstance(query, PackedCodes) and isinstance(database, PackedCodes):
        per_query["map@all/stable-order"] = metrics.average_precision_stable(
            query, database, query_labels, database_labels
        )
    kept = metrics.selected(relevant, without_relevant)
    return Evaluation(
        metrics={name: metrics.mean(each, relevant, without_relevant) for name, each in per_query.items()},
        average_precision=per_query["map@all"].astype(np.float32),
        relevant=relevant,
        radius=_radius_curve(np.concatenate(retrieved)[kept], np.concatenate(found)[kept], relevant[kept])
        if binary
        else None,
        rank=_rank_curve(ranks, np.concatenate(found_at_ranks)[kept], relevant[kept]),
        queries=len(query),
        queries_without_relevant=int(np.count_nonzero(relevant == 0)),
        database=len(database),
        bits=query.bits,
        without_relevant=without_relevant,
    )


def _blocks(
    query: AnyCodes, database: AnyCodes, query_labels: NDArray[Any], database_labels: NDArray[Any], at_once: int | None
) -> Iterator[NDArray[np.int64]]:
    if isinstance(query, PackedCodes) and isinstance(database, PackedCodes):
        return histograms(query, database, query_labels, database_labels, queries_at_once=at_once)
    if isinstance(query, RealCodes) and isinstance(database, RealCodes):
        return real.rankings(query, database, query_labels, database_labels)
    raise UsageError("codes: expected both sides binary or both real-valued, found one of each")


def chance_level(
    query_labels: NDArray[Any], database_labels: NDArray[Any], without_relevant: WithoutRelevant = "skipped"
) -> float:
    """``chance`` from the labels alone, without codes."""
    query, database = (pack(np.ones((len(side), 1), np.bool_)) for side in (query_labels, database_labels))
    blocks = histograms(query, database, query_labels, database_labels)
    relevant = np.concatenate([TiedRankings(block).total_relevant for block in blocks])
    return metrics.mean(metrics.chance(relevant, len(database)), relevant, without_relevant)


def definition(metric: str) -> str:
    """The line of DEFINITIONS for an id such as ``map@50/hits``. Raises UsageError for an unknown one."""
    pattern, k = re.subn(r"@\d+", "@K", metric), re.search(r"@(\d+)", metric)
    if pattern[0] not in DEFINITIONS:
        raise UsageError(f"metric: expected one of {', '.join(DEFINITIONS)}, found {metric!r}")
    return DEFINITIONS[pattern[0]].replace("K", k[1]) if k else DEFINITIONS[pattern[0]]


def _measures(cutoffs: Sequence[int]) -> dict[str, Callable[[TiedRankings], Floats]]:
    """Every metric that follows from the histograms, by definition id."""
    measures: dict[str, Callable[[TiedRankings], Floats]] = {
        "map@all": metrics.average_precision,
        "map@all/optimistic": metrics.average_precision_optimistic,
        "map@all/pessimistic": metrics.average_precision_pessimistic,
        "precision@radius2": partial(metrics.precision_within, radius=2),
    }
    for k in cutoffs:
        measures |= {
            f"map@{k}/standard": partial(metrics.average_precision_standard, k=k),
            f"map@{k}/hits": partial(metrics.average_precision_hits, k=k),
            f"map@{k}/first": partial(metrics.average_precision_first, k=k),
            f"map@{k}/total": partial(metrics.average_precision_total, k=k),
            f"ndcg@{k}": partial(metrics.ndcg_at, k=k),
            f"precision@{k}": partial(metrics.precision_at, k=k),
            f"recall@{k}": partial(metrics.recall_at, k=k),
        }
    return measures


def _radius_curve(retrieved: NDArray[np.uint32], found: NDArray[np.uint32], relevant: NDArray[np.int64]) -> RadiusCurve:
    """From the items and the relevant items in each ball (q, bits + 1), and R (q,)."""
    queries, balls = retrieved.shape
    all_retrieved, all_found = retrieved.sum(axis=0, dtype=np.int64), found.sum(axis=0, dtype=np.int64)
    all_relevant = np.full(balls, relevant.sum())
    return RadiusCurve(
        radius=np.arange(balls),
        micro_precision=metrics.ratio(all_found, all_retrieved),
        micro_recall=metrics.ratio(all_found, all_relevant),
        macro_precision=metrics.ratio(found, retrieved).sum(axis=0) / max(queries, 1),
        macro_recall=metrics.ratio(found, relevant[:, None]).sum(axis=0) / max(queries, 1),
        empty=np.count_nonzero(retrieved == 0, axis=0) / max(queries, 1),
    )


def _rank_curve(ranks: NDArray[np.int64], found: Floats, relevant: NDArray[np.int64]) -> RankCurve:
    """From the expected relevant items among the first ``ranks`` (q, ranks), and R (q,)."""
    queries = max(len(found), 1)
    return RankCurve(
        rank=ranks,
        precision=(found / ranks).sum(axis=0) / queries,
        recall=metrics.ratio(found, relevant[:, None]).sum(axis=0) / queries,
    )
