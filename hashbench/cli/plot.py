"""``hashbench plot``: draw stored runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hashbench import registry
from hashbench.cli.browse import ResultsOption, WhereOption
from hashbench.cli.output import matching
from hashbench.errors import UsageError

FORMATS = (".pdf", ".png", ".svg")


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
    figure = registry.plots.get(name)()
    kind = kind or figure.kinds[0]
    if kind not in figure.kinds:
        raise UsageError(f"--kind {kind!r}: {name} knows {', '.join(figure.kinds)}")
    if out is not None and out.suffix not in FORMATS:
        raise UsageError(f"--out {str(out)!r}: expected a file ending in {', '.join(FORMATS)}")
    from hashbench.files import replacing, write_text
    from hashbench.paths import results_dir
    from hashbench.store import Store

    store = Store(results or results_dir())
    done = [record for record in matching(store, where or []) if record.status == "done"]
    if not done:
        raise UsageError(f"no finished run to draw in {store.root}; hashbench run makes one")
    protocols = {(record.spec.protocol, record.spec.split, record.spec.dataset_revision) for record in done}
    if len(protocols) > 1:
        names = ", ".join(sorted(f"{protocol} (split {split})" for protocol, split, _ in protocols))
        raise UsageError(f"these runs follow different protocols: {names}; choose one with --where protocol=...")
    table = figure.table(done, kind)
    drawing = figure.draw(table, kind)
    default = Path("figures") / f"{name}-{kind}"
    files = [out] if out else [default.with_suffix(".pdf"), default.with_suffix(".png")]
    for file in files:
        with replacing(file) as partial:
            drawing.savefig(partial, format=file.suffix[1:], dpi=200)
    numbers = files[0].with_suffix(".csv")
    write_text(numbers, table.to_csv(index=False))
    for file in [*files, numbers]:
        typer.echo(file)
