"""How the command line speaks: tables and lines on stdout, progress and complaints on stderr."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from hashbench.errors import UsageError

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


def decimals(value: float) -> str:
    """``.6217``: four decimals without the leading zero, as the field prints MAP."""
    return f"{value:.4f}".replace("0.", ".", 1) if value < 1 else f"{value:.4f}"


def mean_and_deviation(values: Sequence[float]) -> str:
    """``.6217 ± .0031`` over seeds; the mean alone for one seed."""
    mean = decimals(statistics.fmean(values))
    return f"{mean} ± {decimals(statistics.stdev(values))}" if len(values) > 1 else mean


def matching(records: Iterable[Record], where: Sequence[str]) -> list[Record]:
    """Records for which every ``name=value[,value]`` holds; names are those of :func:`facts`.

    Raises:
        UsageError: no ``=``, or a name that no record has.
    """
    conditions: list[tuple[str, list[str]]] = []
    for text in where:
        name, equals, values = text.partition("=")
        if not equals:
            raise UsageError(f"--where {text!r}: expected name=value, for example --where bits=64")
        conditions.append((name.strip(), [v.strip() for v in values.split(",")]))
    found = []
    for record in records:
        known = facts(record)
        for name, _ in conditions:
            if name not in known:
                from hashbench.config import did_you_mean

                raise UsageError(f"--where {name!r}: no such property of a run. {did_you_mean(name, known)}")
        if all(str(known[name]) in values for name, values in conditions):
            found.append(record)
    return found


def facts(record: Record) -> dict[str, Any]:
    """What a record can be chosen by: the spec's scalars and every setting of the method."""
    spec = record.spec
    return {
        **spec.config,
        "method": spec.method,
        "dataset": spec.dataset,
        "protocol": spec.protocol,
        "image": spec.views.get("image", "").partition(" ")[0],
        "text": spec.views.get("text", "").partition(" ")[0],
        "tuning": spec.tuning,
        "precision": spec.precision,
        "bits": spec.bits,
        "seed": spec.seed,
        "status": record.status,
        "key": record.key[:16],
    }


def print_results(records: Sequence[Record], store: Store, metric: str = "map@all") -> None:
    """One row for each method, setting and code length; seeds are summed up; one table a protocol."""
    for protocol in dict.fromkeys(record.spec.protocol for record in records):
        _print_protocol([record for record in records if record.spec.protocol == protocol], metric)
    for record in records:
        if record.status != "done":
            where = store.folder(record.spec)
            complain(f"{record.spec.method} {record.spec.bits} bits seed {record.spec.seed}: {record.status}: "
                     f"{record.reason} ({where})")  # fmt: skip


def _print_protocol(records: Sequence[Record], metric: str) -> None:
    done = [record for record in records if record.status == "done"]
    if not done:
        return
    tasks = list(dict.fromkeys(task for record in done for task in record.metrics))
    settings = _changed_settings(done)
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in done:
        known = facts(record)
        encoders = " + ".join(dict.fromkeys([known["image"], known["text"]]))
        changed = " ".join(f"{name}={known[name]}" for name in settings if name in known)
        groups.setdefault((record.spec.method, encoders, changed, record.spec.bits), []).append(record)
    columns = ["method", "backbone", "settings", "bits", *tasks, "seeds"]
    rows = [
        [*group, *(mean_and_deviation([r.metrics[task][metric] for r in of]) for task in tasks), len(of)]
        for group, of in sorted(groups.items(), key=lambda g: (g[0][0], g[0][1], g[0][2], g[0][3]))
    ]
    if not settings:
        del columns[2]
        for row in rows:
            del row[2]
    print_table(f"{metric} on {done[0].spec.dataset}", columns, rows)
    for line in protocol_lines(done, metric):
        typer.echo(line)


def _changed_settings(records: Sequence[Record]) -> list[str]:
    """Settings in which runs of one method differ, and conditions in which any runs differ."""
    changed: dict[str, None] = {}
    by_method: dict[str, list[Record]] = {}
    for record in records:
        by_method.setdefault(record.spec.method, []).append(record)
    for of in by_method.values():
        for name in of[0].spec.config:
            if len({str(record.spec.config.get(name)) for record in of}) > 1:
                changed[name] = None
    for name in ("tuning", "precision"):
        if len({facts(record)[name] for record in records}) > 1:
            changed[name] = None
    return list(changed)


def protocol_lines(records: Sequence[Record], metric: str) -> list[str]:
    """What the numbers above mean: protocol, split, counts, definitions, chance, seeds."""
    first = records[0]
    rules, counts = first.rules, first.counts
    chance = next(iter(first.metrics.values()))["chance"]
    seeds = sorted({record.spec.seed for record in records})
    named = "1 seed: no deviation can be given" if len(seeds) == 1 else f"{len(seeds)} seeds, mean ± deviation"
    return [
        f"protocol {rules['id']}, split {first.spec.split}: {counts['query']} queries, {counts['database']} in the "
        f"database, {counts['train']} of them for training, {counts['validation']} for validation",
        f"text: {rules['text']}",
        f"{metric}: {rules['relevance']}; ties: {rules['ties']}; {rules['no_relevant']} "
        f"({counts['queries_without_relevant']} here)",
        f"checkpoint: {rules['checkpoint']}; chance {decimals(chance)}; {named}",
    ]
