"""``hashbench compare --published``: our numbers beside those that papers print, and how the protocols differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hashbench.cli.output import matching, print_json, print_table
from hashbench.errors import UsageError
from hashbench.printing import decimals, mean_and_deviation

if TYPE_CHECKING:
    from hashbench.report.published import Number, Printed
    from hashbench.store import Record


def compare_with_papers(where: Sequence[str], results: Path | None, json: bool) -> None:
    """Print every stored setting beside each printed number of its method, data set, task and code length."""
    from hashbench.paths import results_dir
    from hashbench.report.published import read_all
    from hashbench.report.stored import arms, by_protocol
    from hashbench.store import Store

    store = Store(results or results_dir())
    groups = by_protocol(matching(store, where))
    if not groups:
        raise UsageError(f"no finished run like that in {store.root}; hashbench run makes one")
    tables = read_all()
    found: list[dict[str, Any]] = []
    without: dict[str, None] = {}
    for group in groups:
        for (method, backbone, settings), records in arms(group).items():
            name = " ".join(filter(None, (method, backbone, settings)))
            of_arm = [_compared(table, numbers, records) for table, numbers in _numbers(tables, records)]
            found += [{"arm": name, "protocol": records[0].spec.protocol, **each} for each in of_arm if each["numbers"]]
            if not any(each["numbers"] for each in of_arm):
                without[f"{method} on {records[0].spec.dataset}"] = None
    if json:
        print_json({"compared": found, "no_printed_number": list(without)})
        return
    for each in found:
        print_table(
            f"{each['arm']}, protocol {each['protocol']}, and the {each['source']}",
            ["task", "bits", f"here, {each['metric']}", "printed", "here - printed"],
            [[n["task"], n["bits"], mean_and_deviation(n["here"]), n["printed"], decimals(n["difference"])]
             for n in each["numbers"]],
        )  # fmt: skip
        typer.echo(f"source: {each['paper']}, table {each['table']}; its protocol: {each['printed_protocol']}")
        if each["note"]:
            typer.echo(f"note: {each['note']}")
        print_table("they differ in", ["what", "here", "printed"], [list(way.values()) for way in each["ways"]])
    for name in without:
        typer.echo(f"{name}: no printed number is stored for these tasks and code lengths")


def _numbers(tables: Sequence[Printed], records: Sequence[Record]) -> list[tuple[Printed, list[Number]]]:
    """Tables with their numbers of the method and data set of some runs, one entry for each kind of features."""
    spec = records[0].spec
    found = []
    for table in tables:
        of_method = [n for n in table.numbers if n.dataset == spec.dataset and n.method.casefold() == spec.method]
        for features in dict.fromkeys(number.features for number in of_method):
            found.append((table, [number for number in of_method if number.features == features]))
    return found


def _compared(table: Printed, numbers: Sequence[Number], records: Sequence[Record]) -> dict[str, Any]:
    from hashbench.report.published import ways
    from hashbench.store import own_metric

    has = all(table.metric in metrics for record in records for metrics in record.metrics.values())
    metric = table.metric if has else own_metric(records)
    rows = []
    for number in numbers:
        values = [
            record.metrics[number.task][metric]
            for record in records
            if record.spec.bits == number.bits and number.task in record.metrics
        ]
        if values:
            difference = sum(values) / len(values) - number.value
            rows.append({"task": number.task, "bits": number.bits, "here": values, "printed": number.printed,
                         "difference": difference})  # fmt: skip
    notes = dict.fromkeys(filter(None, (table.words["note"], *(number.note for number in numbers))))
    return {
        "source": table.name, "paper": table.paper, "table": table.table, "metric": metric, "note": "; ".join(notes),
        "printed_protocol": table.data[records[0].spec.dataset].protocol, "numbers": rows,
        "ways": [asdict(way) for way in ways(table, numbers[0], records, metric)],
    }  # fmt: skip
