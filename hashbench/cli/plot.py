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

    store = Store(results or results_dir())
    default = Path("figures") / f"{name}-{kind}"
    files = [out] if out else [default.with_suffix(".pdf"), default.with_suffix(".png")]
    for file in draw(name, matching(store, where or []), files, kind, store=store):
        typer.echo(file)
