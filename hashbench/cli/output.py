"""How the command line speaks: tables and lines on stdout, progress and complaints on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from hashbench.errors import DataError, UsageError
from hashbench.printing import decimals, mean_and_deviation

if TYPE_CHECKING:
    from rich.console import Console

    from hashbench.store import Record, Store


def complain(line: str) -> None:
    """One line on stderr."""
    typer.echo(f"hashbench: {' '.join(line.split())}", err=True)


def console() -> Console:
    """Stdout; in a pipe it is as wide as its content needs, so that no cell is cut."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def print_json(value: Any) -> None:
    """One JSON document, the only thing on stdout."""
    typer.echo(json.dumps(value, indent=1, sort_keys=True, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table; numbers are right-aligned. Cells are data, never markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [[str(cell) for cell in row] for row in rows]
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        cells = [row[position] for row in rows]
        numeric = any(cells) and all(c[:1].isdigit() or c[:1] in ".-" for c in cells if c)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)


def matching(store: Store, where: Sequence[str], flag: str = "--where") -> list[Record]:
    """The records of a store that :func:`chosen` keeps; see :func:`readable` for those that cannot be read."""
    return chosen(readable(store)[0], where, flag)


def readable(store: Store) -> tuple[list[Record], list[DataError]]:
    """Every record that can be read, and what is wrong with the others, which is complained about.

    Raises:
        DataError: there are records, and none can be read.
    """
    records, damaged = store.read_all()
    if damaged and not records:
        raise damaged[0]
    for error in damaged:
        complain(str(error))
    return records, damaged


def chosen(records: Sequence[Record], where: Sequence[str], flag: str = "--where") -> list[Record]:
    """Records for which every ``name=value[,value]`` holds; names are those of :func:`hashbench.store.facts`.

    Raises:
        UsageError: no ``=``, or a name that no record has.
    """
    from hashbench.config import did_you_mean
    from hashbench.store import facts

    known = [facts(record) for record in records]
    names = list(dict.fromkeys(name for of in known for name in of))
    kept = [True] * len(records)
    for text in where:
        name, equals, values = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(f"{flag} {text!r}: expected name=value, for example {flag} bits=64")
        if records and name not in names:
            raise UsageError(f"{flag} {name!r}: no such property of a run. {did_you_mean(name, names)}")
        wanted = {_plain(value) for value in values.split(",")}
        kept = [so_far and name in of and _plain(of[name]) in wanted for so_far, of in zip(kept, known, strict=True)]
    return [record for record, keep in zip(records, kept, strict=True) if keep]


def _plain(value: object) -> str:
    """Numbers as numbers (0.10 is 0.1), everything else as its words."""
    try:
        return repr(float(str(value)))
    except ValueError:
        return str(value).strip()


def print_results(records: Sequence[Record], store: Store, metric: str | None = None) -> None:
    """One row for each method, setting and code length; seeds are summed up; one table a protocol and split.

    Without a metric, each table shows its protocol's own.
    """
    for rules in dict.fromkeys(map(_measured_by, records)):
        _print_protocol([record for record in records if _measured_by(record) == rules], metric)
    for record in records:
        if record.status != "done":
            where = store.folder(record.spec)
            complain(f"{record.spec.method} {record.spec.bits} bits seed {record.spec.seed}: {record.status}: "
                     f"{record.reason} ({where})")  # fmt: skip


def _measured_by(record: Record) -> tuple[str, ...]:
    """What two numbers must share to stand in one table."""
    spec = record.spec
    return spec.dataset, spec.dataset_revision, spec.protocol, spec.split


MOST_TASKS_ABREAST = 2
"""More tasks than these stand below each other, each with its own chance level."""


def _print_protocol(records: Sequence[Record], metric: str | None) -> None:
    from hashbench.report.stored import arms
    from hashbench.store import own_metric

    done = [record for record in records if record.status == "done"]
    metric = metric or own_metric(done)
    done = [record for record in done if all(metric in values for values in record.metrics.values())]
    if not done:
        return
    tasks = list(dict.fromkeys(task for record in done for task in record.metrics))
    groups = {
        (*arm, bits): [record for record in of if record.spec.bits == bits]
        for arm, of in arms(done).items()
        for bits in dict.fromkeys(record.spec.bits for record in of)
    }
    columns = ["method", "backbone", "settings", "bits"]
    rows: list[list[Any]]
    if len(tasks) <= MOST_TASKS_ABREAST:
        columns += [*tasks, "seeds"]
        rows = [
            [*group, *(_over_seeds(of, task, metric) for task in tasks), len(of)]
            for group, of in sorted(groups.items())
        ]
    else:
        columns += ["task", metric, "chance", "seeds"]
        rows = [
            [*group, task, _over_seeds(of, task, metric), decimals(of[0].metrics[task]["chance"]), len(of)]
            for group, of in sorted(groups.items())
            for task in of[0].metrics
        ]
    if not any(settings for _, _, settings, _ in groups):
        del columns[2]
        for row in rows:
            del row[2]
    print_table(f"{metric} on {done[0].spec.dataset}", columns, rows)
    for line in protocol_lines(done, metric):
        typer.echo(line)


def _over_seeds(records: Sequence[Record], task: str, metric: str) -> str:
    values = [record.metrics[task][metric] for record in records if task in record.metrics]
    return mean_and_deviation(values) if values else ""


def protocol_lines(records: Sequence[Record], metric: str) -> list[str]:
    """What the numbers above mean: protocol, split, counts, definitions, chance, seeds."""
    first = records[0]
    rules, counts = first.rules, first.counts
    levels = {decimals(metrics["chance"]): None for record in records for metrics in record.metrics.values()}
    chance = next(iter(levels)) if len(levels) == 1 else "beside each task"
    if len(levels) > 1 and len(first.metrics) <= MOST_TASKS_ABREAST:
        chance = ", ".join(f"{decimals(metrics['chance'])} {task}" for task, metrics in first.metrics.items())
    sides = [f"{counts['query']} queries, {counts['database']} in the database"]
    sides += [f"{counts[side]} for {name}" for side, name in (("train", "training"), ("validation", "validation"))
              if counts.get(side)]  # fmt: skip
    seeds = sorted({record.spec.seed for record in records})
    named = "1 seed: no deviation can be given" if len(seeds) == 1 else f"{len(seeds)} seeds, mean ± deviation"
    return [
        f"protocol {rules['id']}, split {first.spec.split}: {', '.join(sides)}",
        f"text: {rules['text']}",
        f"{metric}: {rules['relevance']}; ties: {rules['ties']}; {rules['no_relevant']} "
        f"({counts['queries_without_relevant']} here)",
        f"checkpoint: {rules['checkpoint']}; chance {chance}; {named}",
    ]
