"""Tables of stored runs: one for each protocol, never mixed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace

from hashbench import registry
from hashbench.config import did_you_mean
from hashbench.errors import UsageError
from hashbench.report import published as papers
from hashbench.report.tables import MISSING, Cell, Column, Row, Table, table
from hashbench.significance import Difference, compare, corrected
from hashbench.store import Record, Store, facts, own_metric, telling

KEPT = "map@all"
"""The metric that is kept of every query, and so the one that differences are tested in."""

Arm = tuple[str, str, str]
"""Method, backbone and the settings that tell it from others of its method."""

Notes = Callable[[Sequence[Record], str], list[str]]
"""Of finished runs of one protocol and a metric: what the numbers mean, a line each."""


def by_protocol(records: Sequence[Record]) -> list[list[Record]]:
    """Finished runs, apart wherever their numbers cannot stand in one table: data, protocol, split, evaluation."""
    found: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        spec = record.spec
        rules = (spec.dataset, spec.dataset_revision, spec.protocol, spec.split, record.evaluation_version)
        if record.status == "done" and record.metrics:
            found.setdefault(rules, []).append(record)
    return list(found.values())


def arms(records: Sequence[Record]) -> dict[Arm, list[Record]]:
    """The runs of one protocol that are alike but for bits and seed."""
    views = dict.fromkeys(view for record in records for view in record.spec.views)
    names = [name for name in telling(records) if name not in views]
    found: dict[Arm, list[Record]] = {}
    for record in records:
        known = facts(record)
        backbone = " + ".join(dict.fromkeys(known[view] for view in record.spec.views))
        settings = " ".join(f"{name}={known[name]}" for name in names if name in known)
        found.setdefault((record.spec.method, backbone, settings), []).append(record)
    return found


def table_of(
    records: Sequence[Record],
    store: Store,
    *,
    metric: str | None = None,
    against: str | None = None,
    published: Sequence[papers.Printed] = (),
    notes: Notes | None = None,
) -> Table:
    """The table of one of :func:`by_protocol`'s groups.

    Args:
        records: Finished runs of one protocol.
        store: Where they lie; its queries are read where ``against`` is named.
        metric: The protocol's own where None.
        against: Method of the row that the others are tested against, Holm over the table.
        published: Printed tables, of which rows appear that were measured by the same protocol as far as they say.
        notes: What stands underneath.

    Raises:
        UsageError: no run has the metric, or ``against`` names no row or several, or another metric is shown than the
            tests are about.
    """
    metric = metric or own_metric(records)
    spec = records[0].spec
    having = [record for record in records if any(metric in values for values in record.metrics.values())]
    if not having:
        known = sorted({name for record in records for values in record.metrics.values() for name in values})
        raise UsageError(f"--metric {metric!r}: no run of {spec.protocol} has it. {did_you_mean(metric, known)}")
    tasks = list(dict.fromkeys(task for record in having for task in record.metrics))
    lengths = sorted({record.spec.bits for record in having})
    columns = [Column(task=task, bits=bits) for task in tasks for bits in lengths]
    grouped = arms(having)
    rows = {arm: _row(*arm, of, columns, metric) for arm, of in grouped.items()}
    name = ""
    if against:
        if metric != KEPT:
            raise UsageError(
                f"--against {against!r}: differences are tested in {KEPT}, which is kept of every query, and the "
                f"table of {spec.protocol} shows {metric}; add --metric {KEPT}"
            )
        chosen = _named(against, rows, spec.protocol)
        name = rows[chosen].name
        rows = _signed(rows, grouped, chosen, columns, store)
    printed = [row for each in published for row in _printed(each, having, columns, metric)]
    left_out = [each.name for each in published if spec.dataset in each.data and not _fits(each, having[0], metric)]
    said = notes(having, metric) if notes else []
    said.append(f"data revision {spec.dataset_revision}, evaluation {having[0].evaluation_version}")
    if left_out:
        said.append(
            f"printed numbers on {spec.dataset} that follow another protocol, or do not say which, are not shown "
            f"({', '.join(dict.fromkeys(left_out))}); hashbench compare --published tells how they differ"
        )
    return table(
        caption=f"{metric} on {spec.dataset}, protocol {spec.protocol}",
        dataset=spec.dataset,
        protocol=spec.protocol,
        split=spec.split,
        metric=metric,
        columns=columns,
        rows=[*rows.values(), *printed],
        chance=[_chance(having, column.task) for column in columns],
        against=name,
        notes=said,
    )


def kind_and_year(method: str) -> tuple[str, int | None, bool]:
    """Kind, year and whether its codes are binary, of an installed method; ``not in the bench`` of any other."""
    try:
        found = registry.methods.get(method)
    except UsageError:
        return "not in the bench", None, True
    return ("reference" if found.real_valued else found.kind), found.paper.year, not found.real_valued


def _row(
    method: str, backbone: str, settings: str, records: Sequence[Record], columns: Sequence[Column], metric: str
) -> Row:
    cells = []
    for task, bits in ((column.task, column.bits) for column in columns):
        of = [record.metrics.get(task, {}) for record in records if record.spec.bits == bits]
        values = [metrics[metric] for metrics in of if metric in metrics]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        cell = (
            Cell(mark="run", mean=statistics.fmean(values), deviation=deviation, seeds=len(values)) if values else None
        )
        cells.append(cell or MISSING)
    kind, year, binary = kind_and_year(method)
    return Row(method=method, backbone=backbone, settings=settings, group=kind, year=year, ranked=binary,
               cells=tuple(cells))  # fmt: skip


def _chance(records: Sequence[Record], task: str) -> float | None:
    levels = [record.metrics[task]["chance"] for record in records if "chance" in record.metrics.get(task, {})]
    return levels[0] if levels else None


def _named(method: str, rows: dict[Arm, Row], protocol: str) -> Arm:
    found = [arm for arm in rows if arm[0] == method]
    if not found:
        raise UsageError(
            f"--against {method!r}: {protocol} has no row of it. {did_you_mean(method, sorted({a[0] for a in rows}))}"
        )
    if len(found) > 1:
        names = "; ".join(rows[arm].name for arm in found)
        raise UsageError(
            f"--against {method!r}: expected one row, found {len(found)} ({names}); choose one with --where"
        )
    return found[0]


def _signed(
    rows: dict[Arm, Row], grouped: dict[Arm, list[Record]], against: Arm, columns: Sequence[Column], store: Store
) -> dict[Arm, Row]:
    """The rows with the signs of their differences from one of them, corrected over all of them together."""
    places: list[tuple[Arm, int]] = []
    differences: list[Difference] = []
    for arm in rows:
        for bits in dict.fromkeys(column.bits for column in columns) if arm != against else ():
            sides = [[record for record in grouped[side] if record.spec.bits == bits] for side in (arm, against)]
            if all(sides) and sides[0][0].metrics.keys() & sides[1][0].metrics.keys():
                found = compare(store, *sides)
                differences += found
                places += [(arm, bits)] * len(found)
    shown = {
        (arm, Column(task=difference.task, bits=bits)): difference
        for (arm, bits), difference in zip(places, corrected(differences), strict=True)
        if difference.shown
    }

    def signed(arm: Arm, column: Column, cell: Cell) -> Cell:
        difference = shown.get((arm, column))
        if difference is None:
            return cell
        return replace(cell, sign="+" if difference.mean > 0 else "-", doubtful=difference.beyond_seeds is False)

    return {
        arm: replace(row, cells=tuple(signed(arm, *of) for of in zip(columns, row.cells, strict=True)))
        for arm, row in rows.items()
    }


def _fits(each: papers.Printed, record: Record, metric: str) -> bool:
    return each.metric == metric and papers.comparable(each, record)


def _printed(each: papers.Printed, records: Sequence[Record], columns: Sequence[Column], metric: str) -> list[Row]:
    """The rows of a printed table that follow the protocol of the runs, as far as it says."""
    if not _fits(each, records[0], metric):
        return []
    rows: dict[tuple[str, str], dict[Column, Cell]] = {}
    for number in each.numbers:
        column = Column(task=number.task, bits=number.bits)
        if number.dataset == records[0].spec.dataset and column in columns:
            cell = Cell(mark="printed", mean=number.value, digits=number.digits)
            rows.setdefault((number.method, number.features), {})[column] = cell
    found = []
    for (method, features), cells in rows.items():
        kind, year, binary = kind_and_year(method.casefold())
        backbone = "" if features == papers.UNKNOWN else features
        found.append(Row(method=method, backbone=backbone, source=each.name, group=kind, year=year, ranked=binary,
                         cells=tuple(cells.get(column, MISSING) for column in columns)))  # fmt: skip
    return found
