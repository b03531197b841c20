"""The one table that every format shows: methods down, tasks and code lengths across, and what each cell is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from hashbench.errors import UsageError
from hashbench.printing import decimals

Mark = Literal["run", "printed", "missing"]
Place = Literal["best", "second", ""]
Sign = Literal["+", "-", ""]

DIGITS = 4
"""Decimals of our own numbers."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number: run here, printed in a paper, or missing."""

    mark: Mark = "missing"
    mean: float | None = None
    deviation: float | None = None
    """Standard deviation over seeds (n - 1); None for one seed, and for what papers print."""
    seeds: int = 0
    digits: int = DIGITS
    """Decimals, as many as the paper prints."""
    place: Place = ""
    sign: Sign = ""
    """``+`` where it is shown to be higher than the row named in :attr:`Table.against`, ``-`` where lower."""
    doubtful: bool = False
    """Whether seeds do not bear the sign out; see :attr:`hashbench.significance.Difference.beyond_seeds`."""

    @property
    def printed(self) -> str:
        """The mean as it stands in the table; empty where it is missing."""
        return "" if self.mean is None else decimals(self.mean, self.digits)


MISSING = Cell()


@dataclass(frozen=True, kw_only=True)
class Column:
    """A task at one code length."""

    task: str
    bits: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method, or one arm of it."""

    method: str
    backbone: str = ""
    settings: str = ""
    """What tells arms of one method apart."""
    source: str = ""
    """Where it is printed; empty where it was run here."""
    group: str = ""
    """Kind of the method, under which it stands."""
    year: int | None = None
    ranked: bool = True
    """Whether it may be best: not where it is only a reference."""
    cells: tuple[Cell, ...]
    """One for each column."""

    @property
    def name(self) -> str:
        """Method, backbone and settings in one line."""
        return " ".join(filter(None, (self.method, self.backbone, self.settings)))

    @property
    def mean(self) -> Cell:
        """Over all columns where none is missing, otherwise missing."""
        means = [cell.mean for cell in self.cells if cell.mean is not None]
        if len(means) < len(self.cells):
            return MISSING
        digits = min(cell.digits for cell in self.cells)
        return Cell(mark=self.cells[0].mark, mean=statistics.fmean(means), digits=digits)

    @property
    def seeds(self) -> str:
        """How many stand behind the cells, ``3`` or ``1-3``; empty for what papers print."""
        counts = sorted({cell.seeds for cell in self.cells if cell.mark == "run"})
        return "-".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One protocol's numbers. :func:`table` makes it; every format of :mod:`hashbench.report.formats` shows it."""

    caption: str
    dataset: str
    protocol: str
    split: str
    metric: str
    columns: tuple[Column, ...]
    """Those of one task stand together."""
    rows: tuple[Row, ...]
    """Those of one group stand together."""
    means: tuple[Cell, ...]
    """Of each row over all columns; empty where there is one column."""
    chance: tuple[float | None, ...] = ()
    """Of each column; empty where nobody knows it."""
    against: str = ""
    """Name of the row that signs refer to."""
    notes: tuple[str, ...] = field(default=())
    """What stands underneath, a line each: protocol and reading."""

    @property
    def tasks(self) -> dict[str, int]:
        """Task to the number of its columns, in their order."""
        return {column.task: sum(c.task == column.task for c in self.columns) for column in self.columns}

    @property
    def groups(self) -> dict[str, list[tuple[Row, Cell | None]]]:
        """Group to its rows, each with its mean where the table has means."""
        means: Sequence[Cell | None] = self.means or [None] * len(self.rows)
        found: dict[str, list[tuple[Row, Cell | None]]] = {}
        for row, mean in zip(self.rows, means, strict=True):
            found.setdefault(row.group, []).append((row, mean))
        return found


def table(
    *,
    caption: str,
    dataset: str,
    protocol: str,
    split: str,
    metric: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    chance: Sequence[float | None] = (),
    against: str = "",
    notes: Sequence[str] = (),
) -> Table:
    """A table with its places given out, its means made and its rows in order.

    Rows are ordered by group (:data:`GROUPS` first, then by name), year and name. In each column the highest number is
    best and the next one second, where two or more compete; equal as printed is equal. Only what was run here
    competes: a printed number was measured on other queries. The chance row and references never do.

    Raises:
        UsageError: rows and columns do not fit, or a column stands twice.
    """
    if len(set(columns)) != len(columns):
        raise UsageError("table: a column stands twice")
    for row in rows:
        if len(row.cells) != len(columns):
            raise UsageError(f"table: {row.name!r} has {len(row.cells)} cells for {len(columns)} columns")
    if chance and len(chance) != len(columns):
        raise UsageError(f"table: {len(chance)} levels of chance for {len(columns)} columns")
    rows = sorted(rows, key=_order)
    ranked = [row.ranked for row in rows]
    placed = [_placed([row.cells[at] for row in rows], ranked) for at in range(len(columns))]
    means = _placed([row.mean for row in rows], ranked) if len(columns) > 1 else []
    return Table(
        caption=caption, dataset=dataset, protocol=protocol, split=split, metric=metric, columns=tuple(columns),
        rows=tuple(replace(row, cells=tuple(column[at] for column in placed)) for at, row in enumerate(rows)),
        means=tuple(means), chance=tuple(chance), against=against, notes=tuple(notes),
    )  # fmt: skip


GROUPS = ("shallow", "unsupervised", "semi-supervised", "supervised", "distilled", "reference")
"""Groups in the order in which tables show them; others come after."""


def _order(row: Row) -> tuple[int, str, int, str, str, str]:
    known = row.group in GROUPS
    place = GROUPS.index(row.group) if known else len(GROUPS)
    return place, "" if known else row.group, row.year or 9999, row.method.casefold(), row.source, row.name


def _placed(column: Sequence[Cell], ranked: Sequence[bool]) -> list[Cell]:
    competing = [cell.mark == "run" and may for cell, may in zip(column, ranked, strict=True)]
    values = [round(cell.mean or 0.0, cell.digits) for cell in column]
    highest = sorted({value for value, competes in zip(values, competing, strict=True) if competes}, reverse=True)
    places: dict[float, Place] = {}
    if sum(competing) > 1:
        places = dict(zip(highest, ("best", "second"), strict=False))
    return [
        replace(cell, place=places.get(value, "")) if competes else cell
        for cell, value, competes in zip(column, values, competing, strict=True)
    ]
