"""``hashbench plot``: draw stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hashbench import registry
from hashbench.cli.browse import ResultsOption, WhereOption
from hashbench.cli.output import matching


def plot(
    name: Annotated[str, typer.Argument(help="Figure; hashbench list names them.")],
    kind: Annotated[str | None, typer.Option(help="Variant of the figure; its first when nothing is said.")] = None,
    where: WhereOption = None,
    out: Annotated[
        Path | None, typer.Option(help="File, .pdf, .png or .svg; figures/NAME-KIND, .pdf and .png.")
    ] = None,
    results: ResultsOption = None,
) -> None:
    """Draw a figure of stored runs; the numbers it shows are written beside it as CSV."""
    kind = kind or registry.plots.get(name).kinds[0]
    from hashbench.drawing import draw
    from hashbench.paths import results_dir
    from hashbench.store import Store

    records = matching(Store(results or results_dir()), where or [])
    default = Path("figures") / f"{name}-{kind}"
    for file in draw(name, records, [out] if out else [default.with_suffix(".pdf"), default.with_suffix(".png")], kind):
        typer.echo(file)
