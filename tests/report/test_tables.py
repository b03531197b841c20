"""The model of a table: what is best, what a mean is over, and in which order rows stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashbench.errors import UsageError
from hashbench.printing import decimals
from hashbench.report.tables import MISSING, Cell, Column, Row, Table, table

from .made import golden, run

VALUES = st.one_of(st.none(), st.sampled_from([0.5, 0.50004, 0.50006, 0.6]), st.floats(0, 1))
LINES = st.lists(st.tuples(VALUES, VALUES, st.sampled_from(["run", "printed"]), st.booleans()), min_size=1, max_size=8)


def made(rows: list[Row], columns: int = 2) -> Table:
    return table(
        caption="c", dataset="d", protocol="p", split="s", metric="map@all",
        columns=[Column(task="image->text", bits=8 * (at + 1)) for at in range(columns)], rows=rows,
    )  # fmt: skip


@given(LINES)
def test_best_and_second_are_those_of_a_plain_count(lines: list[tuple[float | None, float | None, str, bool]]) -> None:
    rows = []
    for at, (one, other, mark, ranked) in enumerate(lines):
        cells = tuple(MISSING if v is None else Cell(mark=mark, mean=v) for v in (one, other))  # type: ignore[arg-type]
        rows.append(Row(method=f"m{at}", ranked=ranked, cells=cells))
    found = made(rows)
    columns = [[row.cells[at] for row in found.rows] for at in (0, 1)] + [list(found.means)]
    for column in columns:
        competing = [c for row, c in zip(found.rows, column, strict=True) if row.ranked and c.mark == "run"]
        for cell in column:
            higher = {c.printed for c in competing if c.mean > cell.mean and c.printed != cell.printed} if (
                cell in competing) else set()  # fmt: skip
            expected = ""
            if cell in competing and len(competing) > 1:
                expected = {0: "best", 1: "second"}.get(len(higher), "")
            assert cell.place == expected


@given(LINES)
def test_a_mean_is_over_complete_rows_alone(lines: list[tuple[float | None, float | None, str, bool]]) -> None:
    for one, other, _, _ in lines:
        row = Row(method="m", cells=tuple(MISSING if v is None else run(v) for v in (one, other)))
        if one is None or other is None:
            assert row.mean == MISSING
        else:
            assert row.mean.mean == pytest.approx((one + other) / 2)


def test_printed_numbers_and_references_do_not_compete() -> None:
    found = golden()
    by_name = {(row.method, row.source): row for row in found.rows}
    assert [cell.place for cell in by_name["soda", ""].cells] == ["best", "best", "best", ""]
    assert [cell.place for cell in by_name["dcmh", ""].cells] == ["best", "second", "second", ""]
    for name in (("real", ""), ("DCMH", "SSAH paper")):
        assert {cell.place for cell in by_name[name].cells} == {""}
    assert by_name["DCMH", "SSAH paper"].mean.printed == ".750"


def test_rows_stand_by_kind_year_and_name() -> None:
    places = [("supervised", 2019, "a"), ("shallow", None, "z"), ("new", 2000, "b"), ("supervised", 2017, "c")]
    rows = [Row(method=name, group=group, year=year, cells=(run(0.5),)) for group, year, name in places]
    found = made(rows, 1)
    assert [row.method for row in found.rows] == ["z", "c", "a", "b"]
    assert list(found.groups) == ["shallow", "supervised", "new"] and found.means == ()


def test_seeds_are_told_where_they_differ() -> None:
    assert Row(method="m", cells=(run(0.5, 0.1, 3), run(0.5, None, 1), MISSING)).seeds == "1-3"
    assert Row(method="m", cells=(run(0.5, 0.1, 3), MISSING)).seeds == "3"
    assert Row(method="m", cells=(MISSING,)).seeds == ""


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="'m' has 1 cells for 2 columns"):
        made([Row(method="m", cells=(MISSING,))])
    with pytest.raises(UsageError, match="twice"):
        table(caption="", dataset="", protocol="", split="", metric="", columns=[Column(task="t", bits=8)] * 2, rows=[])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.62174, ".6217"), (-0.0031, "-.0031"), (1.0, "1.0000"), (0.99999, "1.0000"), (10.5, "10.5000")],
)
def test_decimals(value: float, text: str) -> None:
    assert decimals(value) == text
