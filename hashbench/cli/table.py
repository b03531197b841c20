"""``hashbench table``: stored runs as a table for a paper or a page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from hashbench.cli.browse import ResultsOption, WhereOption
from hashbench.cli.output import complain, console, matching, protocol_lines
from hashbench.errors import UsageError

FormatName = Literal["terminal", "markdown", "latex", "csv", "html"]


def table(
    where: WhereOption = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric of the table, such as map@50/standard; the protocol's own.")
    ] = None,
    format: Annotated[FormatName, typer.Option(help="How it is written.")] = "terminal",
    out: Annotated[Path | None, typer.Option(help="File, in place of the screen.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Method that the others are tested against; + and - mark what differs.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Show numbers of papers that follow the same protocol, too.")
    ] = False,
    results: ResultsOption = None,
) -> None:
    """Write stored runs as a table: methods by task and code length, a table for each protocol."""
    from hashbench.files import write_text
    from hashbench.paths import results_dir
    from hashbench.report import formats, stored
    from hashbench.report.published import read_all
    from hashbench.store import Store

    store = Store(results or results_dir())
    records = matching(store, where or [])
    groups = stored.by_protocol(records)
    if not groups:
        raise UsageError(f"no finished run like that in {store.root}; hashbench run makes one")
    printed = read_all() if published else []
    tables = [
        stored.table_of(of, store, metric=metric, against=against, published=printed, notes=protocol_lines)
        for of in groups
    ]
    if left_out := sum(record.status != "done" for record in records):
        complain(f"{left_out} of {len(records)} runs are not done and not in the table; hashbench results says why")
    if format == "csv":
        text = formats.csv_text(tables)
    elif format == "html":
        text = formats.page("hashbench", tables)
    elif format == "terminal":
        styled = out is None and sys.stdout.isatty()
        text = "\n".join(formats.terminal(each, styled=styled, width=console().width) for each in tables)
    else:
        text = "\n".join({"markdown": formats.markdown, "latex": formats.latex}[format](each) for each in tables)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_text(out, text)
    typer.echo(out)
