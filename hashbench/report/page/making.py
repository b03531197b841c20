"""From records to everything that the report shows."""

from __future__ import annotations

import base64
import io
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hashbench.dataset import Dataset
from hashbench.errors import HashbenchError, UsageError
from hashbench.examples import examples_of, thumbnail, words
from hashbench.measuring import rows_with, stored
from hashbench.printing import decimals
from hashbench.repeat import command_of
from hashbench.report import formats
from hashbench.report.page.model import (
    Answer,
    Arm,
    Copies,
    Cost,
    Example,
    Item,
    Line,
    Page,
    Picture,
    Point,
    Section,
    Shown,
    Standing,
    StudyPart,
    Unfinished,
)
from hashbench.report.stored import Arm as Told
from hashbench.report.stored import Notes, arms, by_protocol, table_of
from hashbench.report.tables import Cell, Row, Table
from hashbench.retrieval import definition
from hashbench.store import Record, Store, bytes_of_a_code, facts, has_binary_codes, own_metric, telling

PLACES = 4
"""Decimals of a curve's points: a page of hundreds of curves stays small."""

EXAMPLE_ARMS, EXAMPLE_QUERIES, EXAMPLE_HITS = 4, 6, 10
"""Of how many arms examples are shown, how many queries a task, and how many hits of each."""

CURVES = (
    "rank/precision", "rank/recall", "radius/micro_precision", "radius/micro_recall", "radius/macro_precision",
    "radius/macro_recall",
)  # fmt: skip


def page_of(
    records: Sequence[Record], store: Store, *, command: str, study: StudyPart | None = None, repeat: str = "",
    damaged: Sequence[str] = (), images: bool = True, notes: Notes | None = None,
) -> Page:  # fmt: skip
    """The report of some records.

    Args:
        records: All that it is about, whatever their status.
        store: Where they lie.
        command: What writes this report again.
        study: What a study says of them.
        repeat: What makes all of the runs again.
        damaged: Records that could not be read, in words.
        images: Whether examples show pictures; they show their words anyhow.
        notes: What stands under copied tables; see :func:`hashbench.report.stored.table_of`.

    Raises:
        UsageError: no run is finished.
    """
    groups = sorted(by_protocol(records), key=lambda of: (-len(of), of[0].spec.dataset, of[0].spec.protocol))
    if not groups:
        raise UsageError(f"no finished run like that in {store.root}; hashbench run makes one")
    made = [_section(f"p{at}", of, store, study, images, notes) for at, of in enumerate(groups)]
    titles = Counter(section.title for section in made)
    sections = tuple(
        replace(section, title=f"{section.title}, split {of[0].spec.split[:8]}, evaluation {of[0].evaluation_version}")
        if titles[section.title] > 1
        else section
        for section, of in zip(made, groups, strict=True)
    )
    unfinished = [record for record in records if record.status != "done"]
    return Page(
        title=f"study {study.name}, {study.size}" if study else "hashbench report",
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        command=command,
        repeat=repeat,
        study=study,
        sections=sections,
        statuses=dict(Counter[str](record.status for record in records)),
        standings=_standings(records),
        unfinished=tuple(
            Unfinished(name=r.spec.method, bits=r.spec.bits, seed=r.spec.seed, status=r.status, reason=r.reason,
                       key=r.key[:16])
            for r in unfinished
        ),
        warnings=_warnings(records),
        damaged=tuple(damaged),
        environment=_environment(records),
    )  # fmt: skip


def _section(
    id: str, records: Sequence[Record], store: Store, study: StudyPart | None, images: bool, notes: Notes | None
) -> Section:
    metric = own_metric(records)
    records = [record for record in records if any(metric in values for values in record.metrics.values())]
    first = records[0]
    grouped, short = arms(records), short_settings(records)
    full = table_of(records, store, metric=metric, notes=notes)
    known = [(row.method, row.backbone, row.settings) for row in full.rows]
    table = replace(
        full, rows=tuple(replace(row, settings=short[of]) for row, of in zip(full.rows, known, strict=True))
    )
    head = formats.Head.of(table)
    tasks, lengths = tuple(table.tasks), tuple(sorted({column.bits for column in table.columns}))
    runs = [grouped[of] for of in known]
    points = _points(runs, tasks, metric)
    places = _places([row.mean.mean if len(table.columns) > 1 else row.cells[0].mean for row in table.rows], points)
    names = _names(table.rows, runs, study.names if study else {})
    told = tuple(Arm(name=name, place=place) for name, place in zip(names, places, strict=True))
    lead = _lead(places, runs, study.partners if study else {})
    dataset, problem = _dataset(records, store)
    sizes: tuple[list[int], ...] = ()
    shown: tuple[Example, ...] = ()
    gallery = Gallery(id) if images else None
    if dataset:
        points, sizes = _with_classes(points, runs, tasks, dataset, store)
        shown = _examples(tasks, {arm: runs[arm] for arm in lead[:EXAMPLE_ARMS]}, store, gallery)
    return Section(
        id=id,
        title=f"{first.spec.dataset}, {first.spec.protocol}",
        protocol=_protocol(first, metric),
        metric=metric,
        tasks=tasks,
        lengths=lengths,
        chance=tuple(_chance(table, task) for task in tasks),
        arms=told,
        lead=lead,
        head=tuple(head.names),
        seeds=head.seeds,
        groups=_groups(table, {(point.arm, tasks[point.task], point.bits): point for point in points}),
        chance_cells=(
            *("–" if level is None else decimals(level) for level in table.chance),
            *("",) * bool(table.means),
        ),
        notes=tuple(formats.Format(str, "", "", "", "", "", "").notes(table)),
        copies=copies(table),
        points=points,
        ranks=tuple(_ranks(records, task) for task in tasks),
        classes=dataset.class_names if dataset else (),
        class_sizes=sizes,
        cost=_cost(runs, metric),
        examples=shown,
        pictures=tuple(gallery.found.values()) if gallery else (),
        credits=dataset.licence if dataset and gallery and gallery.found else "",
        commands=tuple((arm.name, command_of(of, store)) for arm, of in zip(told, runs, strict=True)),
        problem=problem,
    )


def short_settings(records: Sequence[Record]) -> dict[Told, str]:
    """The arms of these records, with what tells each from the others of its own method alone."""
    grouped, names = arms(records), telling(records)
    known = {arm: facts(of[0]) for arm, of in grouped.items()}
    views = {view for record in records for view in record.spec.views}
    found = {}
    for arm in grouped:
        others = [known[other] for other in grouped if other[0] == arm[0]]
        apart = [name for name in names if name not in views and len({str(of.get(name)) for of in others}) > 1]
        found[arm] = " ".join(f"{name}={known[arm][name]}" for name in apart if name in known[arm])
    return found


def _names(rows: Sequence[Row], runs: Sequence[Sequence[Record]], names: Mapping[str, str]) -> list[str]:
    """A name of each row, as short as tells it from the others; the one that a study gives to all of its runs."""
    several = {row.method for row in rows if len({other.backbone for other in rows if other.method == row.method}) > 1}
    alone = len({row.method for row in rows}) == 1
    found = []
    for row, of in zip(rows, runs, strict=True):
        given = {names.get(record.key, "") for record in of}
        words = (row.method * (not alone), row.backbone * (row.method in several), row.settings)
        name = given.pop() if len(given) == 1 else ""
        found.append(name or " ".join(filter(None, words)) or row.method)
    return [
        name if found.count(name) == 1 else f"{name} #{found[:at].count(name) + 1}" for at, name in enumerate(found)
    ]


def _places(means: Sequence[float | None], points: Sequence[Point]) -> list[int]:
    """The place of each arm by its mean over all columns; those that lack one come after, by the mean of the rest."""
    of: dict[int, list[float]] = {}
    for point in points:
        of.setdefault(point.arm, []).append(point.mean)
    order = sorted(range(len(means)), key=lambda at: (means[at] is None, -statistics.fmean(of.get(at, [0.0]))))
    return [order.index(at) for at in range(len(means))]


def _lead(places: Sequence[int], runs: Sequence[Sequence[Record]], partners: Mapping[str, str]) -> tuple[int, ...]:
    """The arms by their places, but what an arm is compared with comes right behind it."""
    arm_of = {record.key: arm for arm, of in enumerate(runs) for record in of}
    found: dict[int, None] = {}
    for arm in sorted(range(len(places)), key=places.__getitem__):
        others = (arm_of.get(partners.get(record.key, "")) for record in runs[arm])
        found |= dict.fromkeys([arm, *(other for other in others if other is not None)])
    return tuple(found)


def _protocol(record: Record, metric: str) -> tuple[tuple[str, str], ...]:
    rules, counts, spec = record.rules, record.counts, record.spec
    sides = [f"{counts[side]:,} {name}" for side, name in (
        ("query", "queries"), ("database", "in the database"), ("train", "for training"),
        ("validation", "for validation"),
    ) if counts.get(side)]  # fmt: skip
    without = counts.get("queries_without_relevant", 0)
    lines = {
        "items": rules.get("items", ""),
        "counts": ", ".join(sides),
        "split": f"{rules.get('split', '')} (digest {spec.split})",
        "text": rules.get("text", ""),
        "relevance": rules.get("relevance", ""),
        "metric": f"{metric}: {_definition(metric)}",
        "ties": rules.get("ties", ""),
        "queries without a relevant item": f"{rules.get('no_relevant', '')} ({without} here)",
        "checkpoint": rules.get("checkpoint", ""),
        "data revision": spec.dataset_revision,
        "evaluation": f"version {record.evaluation_version}",
    }
    return tuple((name, text) for name, text in lines.items() if text)


def _definition(metric: str) -> str:
    try:
        return definition(metric)
    except UsageError:
        return "not known to this version"


def _chance(table: Table, task: str) -> str:
    levels = [level for column, level in zip(table.columns, table.chance, strict=True) if column.task == task]
    return decimals(levels[0]) if levels and levels[0] is not None else "not known"


# the main table


def _groups(table: Table, points: dict[tuple[int, str, int], Point]) -> tuple[tuple[str, tuple[Line, ...]], ...]:
    """The rows by group, with the single values of their :class:`Point` by (arm, task, bits)."""
    head = formats.Head.of(table)
    columns = [(column.task, column.bits) for column in table.columns]
    groups: dict[str, list[Line]] = {}
    for at, row in enumerate(table.rows):
        cells = [_cell(cell, points.get((at, *of))) for cell, of in zip(row.cells, columns, strict=True)]
        cells += [_cell(table.means[at], None)] if table.means else []
        line = Line(arm=at, words=tuple(head.words(row, str)), cells=tuple(cells), seeds=row.seeds)
        groups.setdefault(row.group, []).append(line)
    return tuple((name, tuple(lines)) for name, lines in groups.items())


def _cell(cell: Cell, point: Point | None) -> Shown:
    return Shown(
        mean=cell.printed or "–",
        deviation="" if cell.deviation is None else decimals(cell.deviation, cell.digits),
        each=" ".join(decimals(value, cell.digits) for value in point.values) if point else "",
        value=cell.mean,
        place=cell.place,
    )


def copies(table: Table) -> dict[str, Copies]:
    """The table in the formats that can be copied, row by row; head, all rows and tail are the format's own text."""
    latex = formats.latex(table).splitlines()
    start, end = latex.index(r"\midrule"), latex.index(r"\bottomrule")
    is_row = [line.endswith(r"\\") and not line.startswith(r"\multicolumn") for line in latex]
    markdown = formats.markdown(table).splitlines()
    top = next(at for at, line in enumerate(markdown) if line.startswith("| ---"))
    is_line = [line.startswith("| ") and not line.startswith("| *") for line in markdown]
    plain = formats.csv_text([table]).splitlines()
    rows, width = len(table.rows), len(table.columns)
    in_latex = [at for at in range(start, end) if is_row[at]]
    in_markdown = [at for at in range(top + 1, len(markdown)) if is_line[at]]
    return {
        "LaTeX": _taken(latex, in_latex[:rows], start, end, keep=in_latex[rows:]),
        "Markdown": _taken(markdown, in_markdown[:rows], top + 1, in_markdown[-1] + 1, keep=in_markdown[rows:]),
        "CSV": Copies(
            head=plain[:1], rows=[plain[1 + at * width : 1 + (at + 1) * width] for at in range(rows)], tail=[]
        ),
    }


def _taken(lines: Sequence[str], rows: Sequence[int], start: int, end: int, keep: Sequence[int]) -> Copies:
    """The lines apart; a rule, where the format has them, in front of the rows and of what is kept behind them."""
    rule = [line for line in lines[start : start + 1] if line == r"\midrule"]
    kept = [*rule, *(lines[at] for at in keep)] if keep else []
    return Copies(
        head=[*lines[:start], *rule], rows=[[lines[at]] for at in rows], tail=[*kept, *lines[end:]]
    )  # fmt: skip


# points and curves


def _points(runs: Sequence[Sequence[Record]], tasks: Sequence[str], metric: str) -> tuple[Point, ...]:
    found = []
    for arm, of in enumerate(runs):
        for at, task in enumerate(tasks):
            for bits in sorted({record.spec.bits for record in of}):
                here = sorted(
                    (r for r in of if r.spec.bits == bits and metric in r.metrics.get(task, {})),
                    key=lambda record: record.spec.seed,
                )
                if here:
                    values = [record.metrics[task][metric] for record in here]
                    found.append(Point(
                        arm=arm, task=at, bits=bits,
                        seeds=tuple(record.spec.seed for record in here),
                        keys=tuple(record.key[:16] for record in here),
                        values=tuple(round(value, 6) for value in values),
                        mean=round(statistics.fmean(values), 6),
                        curves=_curves(here, task),
                    ))  # fmt: skip
    return tuple(found)


def _curves(records: Sequence[Record], task: str) -> dict[str, list[float]]:
    """Means over seeds of the curves that all of them have, with as many points."""
    found = {}
    for name in CURVES:
        lines = [record.curves.get(task, {}).get(name) for record in records]
        of = [line for line in lines if line]
        if len(of) == len(records) and len(set(map(len, of))) == 1:
            found[name] = [round(float(mean), PLACES) for mean in np.mean(of, axis=0)]
    return found


def _ranks(records: Sequence[Record], task: str) -> list[int]:
    """The ranks of one protocol's curves: its database decides them."""
    found = [record.curves[task]["rank/rank"] for record in records if "rank/rank" in record.curves.get(task, {})]
    return [int(rank) for rank in found[0]] if found else []


# classes and examples, which need the data


def _dataset(records: Sequence[Record], store: Store) -> tuple[Dataset | None, str]:
    """The data that the runs are measured on, or why it is not to be had."""
    try:
        return stored(store, records[0])[0], ""
    except HashbenchError as error:
        return None, str(error)


def _with_classes(
    points: Sequence[Point], runs: Sequence[Sequence[Record]], tasks: Sequence[str], dataset: Dataset, store: Store
) -> tuple[tuple[Point, ...], tuple[list[int], ...]]:
    """The points with MAP by class, and how many queries with a relevant item each class has in each task."""
    labels = [dataset.labels[rows_with(dataset, "query", task.partition("->")[0])].astype(np.float64) for task in tasks]
    precisions: dict[tuple[int, int, int], list[NDArray[np.float32]]] = {}
    for arm, of in enumerate(runs):
        for record in of:
            try:
                queries = store.queries(record)
            except HashbenchError:  # codes from elsewhere may come without
                continue
            for at, task in enumerate(tasks):
                if task in queries and len(queries[task]) == len(labels[at]):
                    precisions.setdefault((arm, at, record.spec.bits), []).append(queries[task])
    answered = [np.zeros(len(of), np.bool_) for of in labels]
    for (_, at, _), lines in precisions.items():
        answered[at] |= np.any(np.stack(lines) > 0, axis=0)  # AP is 0 only where nothing is relevant
    sizes = [of[with_relevant].sum(axis=0) for of, with_relevant in zip(labels, answered, strict=True)]
    found = []
    for point in points:
        lines = precisions.get((point.arm, point.task, point.bits), [])
        if lines:
            has, size = labels[point.task][answered[point.task]], sizes[point.task]
            mean = np.stack(lines).mean(axis=0, dtype=np.float64)[answered[point.task]]
            sums = has.T @ mean
            point = replace(point, classes=[
                round(float(total / count), PLACES) if count else None for total, count in zip(sums, size, strict=True)
            ])  # fmt: skip
        found.append(point)
    return tuple(found), tuple([int(count) for count in of] for of in sizes)


class Gallery:
    """The pictures of a section, each of them once."""

    def __init__(self, section: str) -> None:
        self._section = section
        self.found: dict[int, Picture] = {}

    def id_of(self, dataset: Dataset, row: int) -> str:
        """Id of an item's picture; empty where it has none or it cannot be read."""
        from PIL import Image

        if row not in self.found:
            try:
                jpeg = thumbnail(dataset, row)
            except HashbenchError:
                return ""
            if jpeg is None:
                return ""
            width, height = Image.open(io.BytesIO(jpeg)).size
            data = base64.b64encode(jpeg).decode("ascii")
            self.found[row] = Picture(id=f"{self._section}-picture-{row}", width=width, height=height, data=data)
        return self.found[row].id


def _examples(
    tasks: Sequence[str], runs: Mapping[int, Sequence[Record]], store: Store, gallery: Gallery | None
) -> tuple[Example, ...]:
    """The same queries of every task, answered by one run of each arm: the longest codes, the first seed."""
    found: dict[tuple[int, int], tuple[Item, list[Answer]]] = {}
    for arm, of in runs.items():
        record = min(of, key=lambda run: (-run.spec.bits, run.spec.seed))
        try:
            dataset, codes = stored(store, record)
        except HashbenchError:  # a damaged run takes no other's examples away
            continue
        binary = has_binary_codes(record)
        for at, task in enumerate(tasks):
            if task not in record.metrics:
                continue
            asking, _, answering = task.partition("->")
            for example in examples_of(dataset, codes, task, EXAMPLE_QUERIES, EXAMPLE_HITS):
                query = _item(dataset, example.row, asking, example.labels, gallery)
                hits = tuple(
                    _item(dataset, hit.row, answering, hit.shared, gallery, _distance(hit.distance, binary))
                    for hit in example.hits
                )
                answer = Answer(arm=arm, key=record.key[:16], bits=record.spec.bits, seed=record.spec.seed, hits=hits)
                found.setdefault((at, example.row), (query, []))[1].append(answer)
    return tuple(Example(task=at, query=query, answers=tuple(of)) for (at, _), (query, of) in found.items())


def _distance(distance: float, binary: bool) -> str:
    return f"{distance:.0f}" if binary else decimals(distance, 3)


def _item(
    dataset: Dataset, row: int, view: str, labels: Sequence[str], gallery: Gallery | None, distance: str = ""
) -> Item:
    """An item as one view of it shows it; its words where there is no picture to show."""
    picture = gallery.id_of(dataset, row) if view == "image" and gallery else ""
    said = "" if picture else words(dataset, row) or str(dataset.ids[row])
    return Item(picture=picture, words=said, labels=", ".join(labels), distance=distance)


# cost, status, environment


def _cost(runs: Sequence[Sequence[Record]], metric: str) -> tuple[Cost, ...]:
    found = []
    for arm, of in enumerate(runs):
        for bits in sorted({record.spec.bits for record in of}):
            here = [record for record in of if record.spec.bits == bits]
            scores = [values[metric] for r in here for values in r.metrics.values() if metric in values]
            if scores:
                found.append(Cost(
                    arm=arm, bits=bits, runs=len(here), fit_seconds=_mean_cost(here, "fit_seconds"),
                    items_per_second=_mean_cost(here, "items_per_second"), peak_bytes=_mean_cost(here, "peak_bytes"),
                    index_bytes=bytes_of_a_code(here[0]) * here[0].counts.get("database", 0),
                    score=statistics.fmean(scores),
                ))  # fmt: skip
    return tuple(found)


def _mean_cost(records: Sequence[Record], name: str) -> float | None:
    values = [record.cost[name] for record in records if name in record.cost]
    return statistics.fmean(values) if values else None


def _standings(records: Sequence[Record]) -> tuple[Standing, ...]:
    found: dict[tuple[str, str, int], Counter[str]] = {}
    for record in records:
        of = found.setdefault((record.spec.dataset, record.spec.method, record.spec.bits), Counter())
        of[record.status] += 1
    return tuple(
        Standing(method=method, dataset=dataset, bits=bits, statuses=dict(counts))
        for (dataset, method, bits), counts in sorted(found.items())
    )


def _warnings(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    found: dict[str, list[Record]] = {}
    for record in records:
        for warning in record.warnings:
            found.setdefault(warning, []).append(record)
    return tuple(
        (warning, ", ".join(f"{r.spec.method} {r.spec.bits} bits seed {r.spec.seed} ({r.key[:16]})" for r in of))
        for warning, of in sorted(found.items(), key=lambda each: -len(each[1]))
    )


def _environment(records: Sequence[Record]) -> tuple[tuple[str, str], ...]:
    """What the runs were made with: every value that occurs, and the time from the first to the last."""
    found: dict[str, Counter[str]] = {}
    for record in records:
        for name, value in record.provenance.items():
            if value is not None and name not in ("command", "time"):
                found.setdefault(name, Counter())[str(value)] += 1
    lines = [
        (name, "; ".join(f"{value} ({count} runs)" if len(of) > 1 else value for value, count in of.most_common()))
        for name, of in found.items()
    ]
    times = sorted(str(record.provenance["time"]) for record in records if "time" in record.provenance)
    return tuple([("made", " to ".join(dict.fromkeys((times[0], times[-1]))))] if times else []) + tuple(lines)
