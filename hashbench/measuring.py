"""From codes to the numbers of a record. Needs neither model nor torch, so that it can be done again at any time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashbench import retrieval
from hashbench.data import catalogue
from hashbench.dataset import SIDES, Dataset, Index
from hashbench.errors import DataError
from hashbench.labelled import AS_GIVEN, LabelledItems
from hashbench.retrieval import AnyCodes, Evaluation, RealCodes
from hashbench.store import Record, Store

ENCODED_SIDES = ("query", "database", "validation")

CUTOFFS = (50, 100, 500, 1000)
"""Ranks of the metrics at K that every record has; a protocol whose own metric has another K adds it."""

Evaluations = Mapping[tuple[str, str], Evaluation]
"""(side, task) to evaluation, such as (``query``, ``image->text``)."""


def in_order(views: Iterable[str]) -> list[str]:
    """Each view once: image and text first, the others as they come."""
    first = ("image", "text")
    return sorted(dict.fromkeys(views), key=lambda view: first.index(view) if view in first else len(first))


def tasks(views: Iterable[str]) -> list[tuple[str, str]]:
    """Ordered pairs of views: who asks, who is searched."""
    return list(permutations(in_order(views), 2))


def rows_with(dataset: Dataset, side: str, view: str) -> Index:
    """(m,) rows of a side whose items have a view; a task takes the queries and the items that have theirs."""
    rows: Index = getattr(dataset.split, side)
    return rows[dataset.present(view)[rows]]


def evaluate_codes(dataset: Dataset, codes: Mapping[str, AnyCodes], cutoffs: Iterable[int] = ()) -> Evaluations:
    """Every task, asked by queries and by validation items, against the database.

    Args:
        dataset: The data under its protocol.
        codes: ``side/view`` to the codes of :func:`rows_with`.
        cutoffs: Ranks of the metrics at K besides :data:`CUTOFFS` and the protocol's own.

    Raises:
        DataError: no task has both queries and items to find.
    """
    views = dict.fromkeys(name.partition("/")[2] for name in codes)
    ranks = sorted({*CUTOFFS, *_ranks([dataset.rules.metric]), *cutoffs})
    found: dict[tuple[str, str], Evaluation] = {}
    for side in ("query", "validation"):
        searched = dataset.split.searched(side)
        for asking, answering in tasks(views):
            query, database = codes.get(f"{side}/{asking}"), codes.get(f"database/{answering}")
            rows = rows_with(dataset, "database", answering)
            keep = searched[dataset.present(answering)[dataset.split.database]]
            if query is None or database is None or not len(query) or not keep.any():
                continue
            if not keep.all():
                database, rows = database.take(keep), rows[keep]
            found[side, f"{asking}->{answering}"] = retrieval.evaluate(
                query, database, dataset.labels[rows_with(dataset, side, asking)], dataset.labels[rows], ranks
            )
    if not any(side == "query" for side, _ in found):
        raise DataError(f"{dataset.name}: no task has both queries and database items; {dataset.rules.split}")
    return found


def with_evaluations(record: Record, dataset: Dataset, evaluations: Evaluations) -> Record:
    """The record with its metrics, curves and counts set from evaluations."""
    queries = {task: e for (side, task), e in evaluations.items() if side == "query"}
    validation = {task: e for (side, task), e in evaluations.items() if side == "validation"}
    counts = {side: len(getattr(dataset.split, side)) for side in SIDES}
    counts["queries_without_relevant"] = max((e.queries_without_relevant for e in queries.values()), default=0)
    return replace(
        record,
        counts={**record.counts, **counts},
        evaluation_version=retrieval.EVALUATION_VERSION,
        metrics={task: e.metrics for task, e in queries.items()},
        validation={task: e.metrics for task, e in validation.items()},
        curves={task: _curves(e) for task, e in queries.items()},
    )


def query_precisions(evaluations: Evaluations) -> dict[str, NDArray[np.float32]]:
    """Task to the average precision of every query, as the store keeps it."""
    return {task: found.average_precision for (side, task), found in evaluations.items() if side == "query"}


def stored(records: Store, record: Record) -> tuple[Dataset, dict[str, AnyCodes]]:
    """The codes of a finished run, and the data that they are measured on.

    Raises:
        DataError: the codes are damaged, or the data set is no longer what it was.
    """
    dataset: Dataset
    if record.spec.protocol == AS_GIVEN.id:
        dataset = LabelledItems(records.labels(record), record.code_digests)
    else:
        dataset = catalogue.open_dataset(record.spec.dataset, record.spec.protocol)
    if dataset.revision != record.spec.dataset_revision or dataset.split_digest != record.spec.split:
        raise DataError(
            f"run {record.key[:16]}: made on {record.spec.dataset} {record.spec.dataset_revision}, found revision "
            f"{dataset.revision}; its codes belong to other items, so run it again"
        )
    codes = {name: unpacked(raw, record.spec.bits) for name, raw in records.codes(record).items()}
    if {name: code_digest(each) for name, each in codes.items()} != record.code_digests:
        raise DataError(f"{records.folder(record.spec)}: the codes are not those that were stored; run it again")
    return dataset, codes


def packed(codes: AnyCodes) -> NDArray[Any]:
    """Codes as the store keeps them: uint8 (n, ceil(k / 8)), or float32 (n, k) where they are real-valued."""
    return codes.values if isinstance(codes, RealCodes) else retrieval.to_bytes(codes)


def unpacked(stored: NDArray[Any], bits: int) -> AnyCodes:
    """The inverse of :func:`packed`."""
    return RealCodes(stored) if stored.dtype == np.float32 else retrieval.from_bytes(stored, bits)


def code_digest(codes: AnyCodes) -> str:
    """sha256 of codes of either kind."""
    return codes.digest() if isinstance(codes, RealCodes) else retrieval.digest(codes)


def evaluate_again(records: Store, record: Record) -> Record:
    """Recompute a finished run's metrics from its stored codes, at the same ranks and more, and keep them.

    Raises:
        DataError: the codes are damaged, or the data set is no longer what it was.
    """
    if record.status != "done":
        return record
    dataset, codes = stored(records, record)
    evaluations = evaluate_codes(dataset, codes, _ranks(name for known in record.metrics.values() for name in known))
    again = with_evaluations(record, dataset, evaluations)
    records.rewrite(again, query_precisions(evaluations))
    return again


def _ranks(metrics: Iterable[str]) -> set[int]:
    """Every K of ids such as ``map@50/hits``."""
    return {int(found[1]) for name in metrics if (found := re.search(r"@(\d+)", name))}


def _curves(evaluation: Evaluation) -> dict[str, list[float]]:
    return {
        f"{kind}/{name}": np.asarray(values).tolist()
        for kind, curve in (("radius", evaluation.radius), ("rank", evaluation.rank))
        for name, values in (vars(curve).items() if curve else ())
    }
