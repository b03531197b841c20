"""``hashbench report``: stored runs as one HTML file that opens anywhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hashbench.cli.browse import ResultsOption, WhereOption
from hashbench.cli.output import chosen, complain, protocol_lines, readable
from hashbench.cli.studies import Full
from hashbench.errors import UsageError

USUAL = Path("report.html")


def report(
    study: Annotated[
        str | None, typer.Argument(help="Name of a built-in study, or a TOML file; all stored runs when none is named.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = USUAL,
    where: WhereOption = None,
    full: Full = False,
    no_images: Annotated[
        bool, typer.Option("--no-images", help="Leave the pictures of examples out, as licences may ask.")
    ] = False,
    results: ResultsOption = None,
) -> None:
    """Write stored runs, or those of a study, as one HTML file: tables, charts, classes, cost, examples, failures."""
    from hashbench import studies
    from hashbench.files import write_text
    from hashbench.paths import results_dir
    from hashbench.repeat import in_place
    from hashbench.report import page
    from hashbench.store import Store

    if study and where:
        raise UsageError("--where chooses among all stored runs; leave it out with a study")
    if full and not study:
        raise UsageError("--full is a size of a study; name the study")
    store = Store(results or results_dir())
    sized = [study, *["--full"] * full] if study else []
    if study:
        records, part = page.of_study(studies.find(study, "full" if full else "quick"), store)
        damaged: list[str] = []
    else:
        found, errors = readable(store)
        records, part = chosen(found, where or []), None
        damaged = [str(error) for error in errors]
    place = in_place(store)
    again = ["hashbench", "report", *sized, *(word for each in where or [] for word in ("--where", each))]
    again += [*["--no-images"] * no_images, *place, *(["-o", str(out)] if out != USUAL else [])]
    made = page.page_of(
        records, store, study=part, damaged=damaged, images=not no_images, notes=protocol_lines,
        command=shlex.join(again), repeat=shlex.join(["hashbench", "ablate", *sized, *place]) if study else "",
    )  # fmt: skip
    if left_out := sum(record.status != "done" for record in records):
        complain(f"{left_out} of {len(records)} runs are not done; the report says why")
    write_text(out, page.html(made))
    typer.echo(out)
