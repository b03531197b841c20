"""Tables and runs that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hashbench.report.tables import MISSING, Cell, Column, Row, Table, table
from hashbench.spec import Spec
from hashbench.store import Record, Store

TASKS = ("image->text", "text->image")
HOSTILE = (
    "<script>alert(1)</script>", "a & b", 'say "x"', "it's", "50% of #1_$x^2~{y}\\", "\\input{/etc/passwd}",
    "**bold** _it_ [l](javascript:x) ![i](u) | `c`", "=1+1", "@SUM(A1)", "-- \x1b[31mred\x07", "tur\u202en",
    "two\nlines", "[2pt]", "*", "www.a.b https://a.b", "1. x", "</td></table>", "&lt;", "$(x)$", "fi--le ``q''",
)  # fmt: skip


def run(value: float, deviation: float | None = None, seeds: int = 1, **more: Any) -> Cell:
    return Cell(mark="run", mean=value, deviation=deviation, seeds=seeds, **more)


def golden() -> Table:
    """Two tasks at two lengths; every kind of cell."""
    columns = [Column(task=task, bits=bits) for task in TASKS for bits in (16, 32)]
    rows = [
        Row(method="soda", backbone="lite", settings="alpha=0.1", group="distilled", cells=(
            run(0.5, 0.01, 3), run(0.61234, 0.02, 3, sign="+"), run(0.4, 0.0, 3),
            run(0.7, 0.03, 3, sign="-", doubtful=True),
        )),
        Row(method="dcmh", backbone="lite", group="supervised", year=2017, cells=(
            run(0.5), run(0.6), run(0.3), MISSING,
        )),
        Row(method="real", backbone="lite", group="reference", ranked=False, cells=(run(0.9),) * 4),
        Row(method="DCMH", backbone="CNN-F", group="supervised", year=2017, source="SSAH paper", cells=tuple(
            Cell(mark="printed", mean=value, digits=3) for value in (0.735, 0.737, 0.763, 0.764)
        )),
    ]  # fmt: skip
    return table(
        caption="map@all on shapes", dataset="shapes", protocol="shapes@1", split="0123abcd", metric="map@all",
        columns=columns, rows=rows, chance=(0.25, 0.25, 0.3, None), against="dcmh lite",
        notes=["protocol shapes@1: 6 queries & 9 more"],
    )  # fmt: skip


def hostile(name: str) -> Table:
    """A table in which everything that is data is one name."""
    row = Row(method=name, backbone=name, settings=name, group=name, cells=(run(0.5), run(0.25)))
    printed = Row(method=name, source=name, group=name, cells=(Cell(mark="printed", mean=0.5, digits=1), MISSING))
    return table(
        caption=name, dataset=name, protocol=name, split=name, metric=name,
        columns=[Column(task=name, bits=8), Column(task=name, bits=16)], rows=[row, printed], chance=(0.1, 0.1),
        against=name, notes=[name],
    )  # fmt: skip


RULES = {
    "id": "mir-a-mith@1", "items": "mir-20015: items with at least one of 24 labels", "split": "ranked by id",
    "text": "common tags", "relevance": "share a label", "metric": "map@all", "ties": "expected",
    "no_relevant": "left out", "checkpoint": "the last epoch",
}  # fmt: skip
COUNTS = {"query": 2000, "database": 18015, "train": 10000, "validation": 0, "queries_without_relevant": 0}


def stored(
    store: Store, method: str = "soda", higher: float = 0.0, *, bits: int = 16, seed: int = 0, status: Any = "done",
    metrics: Mapping[str, float] | None = None, protocol: str = "mir-a-mith@1", config: Mapping[str, Any] | None = None,
    counts: Mapping[str, int] | None = None, rules: Mapping[str, str] | None = None, conditions: Any = None,
    tasks: tuple[str, ...] = TASKS, evaluation_version: int = 1,
) -> Record:  # fmt: skip
    """Keep a run: AP of 60 queries that are ``higher`` on average by what is said."""
    spec = Spec(
        method=method, method_version=1, config=dict(config or {}), dataset="mirflickr25k", dataset_revision="r1",
        protocol=protocol, split="0123abcd", views={"image": "lite w t", "text": "bow w t"}, bits=bits, seed=seed,
        conditions=dict(conditions or {}),
    )  # fmt: skip
    draw = np.random.default_rng(seed)
    queries = {task: (draw.uniform(0.2, 0.5, 60) + higher).astype(np.float32) for task in tasks}
    record = Record(
        spec=spec, status=status, rules={**RULES, "id": protocol, **(rules or {})}, counts={**COUNTS, **(counts or {})},
        evaluation_version=evaluation_version,
        metrics={t: {"map@all": float(each.mean()), "chance": 0.55, **(metrics or {})} for t, each in queries.items()},
    )  # fmt: skip
    store.save(record, {}, queries, [])
    return record
