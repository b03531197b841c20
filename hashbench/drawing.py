"""Drawing a figure of records into files, with the numbers it shows beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hashbench import registry
from hashbench.errors import UsageError
from hashbench.files import replacing, write_text
from hashbench.store import Record, Store

FORMATS = (".pdf", ".png", ".svg")


def draw(
    name: str, records: Sequence[Record], files: Sequence[Path], kind: str | None = None, *, store: Store | None = None
) -> list[Path]:
    """Draw finished runs, of one protocol unless the figure takes several.

    Args:
        name: A registered figure.
        records: The runs; those without numbers are left out.
        files: Where it goes; the suffix says the format. The numbers go to a .csv beside the first.
        kind: Variant of the figure; its first where None.
        store: Where the runs lie; some figures read what is stored beside the records.

    Returns:
        The files that were written.

    Raises:
        UsageError: no such figure, variant or format, no finished run, runs of several protocols for a figure of
            one, runs that do not fit the figure, or no store where it needs one.
        DataError: what is stored beside the records is damaged, or their data set is no longer what it was.
    """
    figure = registry.plots.get(name)(store)
    kind = kind or figure.kinds[0]
    if kind not in figure.kinds:
        raise UsageError(f"--kind {kind!r}: {name} knows {', '.join(figure.kinds)}")
    for file in files:
        if file.suffix not in FORMATS:
            raise UsageError(f"--out {str(file)!r}: expected a file ending in {', '.join(FORMATS)}")
    done = [record for record in records if record.status == "done"]
    if not done:
        raise UsageError("no finished run to draw; hashbench run makes one")
    protocols = {(record.spec.protocol, record.spec.split, record.spec.dataset_revision) for record in done}
    if len(protocols) > 1 and not figure.several_protocols:
        names = ", ".join(sorted(f"{protocol} (split {split})" for protocol, split, _ in protocols))
        raise UsageError(f"these runs follow different protocols: {names}; choose one with --where protocol=...")
    table = figure.table(done, kind)
    drawing = figure.draw(table, kind)
    for file in files:
        with replacing(file) as partial:
            drawing.savefig(partial, format=file.suffix[1:], dpi=200)
    numbers = files[0].with_suffix(".csv")
    write_text(numbers, table.to_csv(index=False))
    return [*files, numbers]
