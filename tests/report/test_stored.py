"""Tables of stored runs: protocols apart, seeds summed up, differences tested, printed rows beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashbench.errors import UsageError
from hashbench.report.published import read
from hashbench.report.stored import by_protocol, table_of
from hashbench.significance import compare, corrected
from hashbench.store import Record, Store

from .made import stored


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_what_may_not_be_mixed_is_apart(store: Store) -> None:
    records = [
        stored(store), stored(store, "dcmh"), stored(store, protocol="mir-a-dcmh@1"),
        stored(store, "scm", evaluation_version=2), stored(store, "cvh", status="failed"),
    ]  # fmt: skip
    assert [len(group) for group in by_protocol(records)] == [2, 1, 1]


def test_cells_are_means_over_seeds(store: Store) -> None:
    records = [stored(store, "soda", 0.1 * seed, seed=seed) for seed in (0, 1, 2)] + [stored(store, "dcmh", bits=32)]
    found = table_of(records, store)
    assert [(column.task, column.bits) for column in found.columns] == [
        ("image->text", 16), ("image->text", 32), ("text->image", 16), ("text->image", 32),
    ]  # fmt: skip
    dcmh, soda = found.rows
    assert (dcmh.group, dcmh.year, soda.group) == ("supervised", 2017, "distilled")
    values = [record.metrics["image->text"]["map@all"] for record in records[:3]]
    assert soda.cells[0].mean == pytest.approx(sum(values) / 3) and soda.cells[0].seeds == 3
    assert soda.cells[0].deviation is not None and dcmh.cells[1].deviation is None
    assert [cell.mark for cell in soda.cells] == ["run", "missing", "run", "missing"]
    assert found.chance == (0.55,) * 4 and found.means == (soda.mean, dcmh.mean)


def test_arms_of_one_method_are_rows(store: Store) -> None:
    found = table_of([stored(store, config={"alpha": alpha}) for alpha in (0.1, 0.2)], store)
    assert [row.settings for row in found.rows] == ["alpha=0.1", "alpha=0.2"]
    with pytest.raises(
        UsageError, match=r"found 2 .*alpha=0\.1; soda lite \+ bow alpha=0\.2\); choose one with --where"
    ):
        table_of([stored(store, config={"alpha": alpha}) for alpha in (0.1, 0.2)], store, against="soda")


def test_the_protocols_own_metric_is_shown_where_all_have_it(store: Store) -> None:
    own = {"rules": {"metric": "map@50/hits"}, "metrics": {"map@50/hits": 0.9}}
    records = [stored(store, **own)]  # type: ignore[arg-type]
    assert table_of(records, store).metric == "map@50/hits"
    assert table_of(records, store, metric="map@all").metric == "map@all"
    assert table_of([*records, stored(store, "dcmh")], store).metric == "map@all"
    with pytest.raises(UsageError, match=r"--metric 'map@5': no run of mir-a-mith@1 has it\. Did you mean"):
        table_of(records, store, metric="map@5")
    with pytest.raises(UsageError, match="add --metric map@all"):
        table_of(records, store, against="soda")


def test_signs_are_those_of_the_comparison_with_holm_over_the_table(store: Store) -> None:
    def runs(method: str, higher: float) -> list[Record]:
        return [stored(store, method, higher, bits=bits, seed=seed) for bits in (16, 32) for seed in (0, 1)]

    sides = {"dcmh": runs("dcmh", 0.0), "soda": runs("soda", 0.1), "scm": runs("scm", -0.1), "cvh": runs("cvh", 1e-9)}
    records = [record for of in sides.values() for record in of]
    found = table_of(records, store, against="dcmh")
    signs = {row.method: [cell.sign for cell in row.cells] for row in found.rows}
    assert signs == {"dcmh": [""] * 4, "soda": ["+"] * 4, "scm": ["-"] * 4, "cvh": signs["cvh"]}
    family = corrected([
        difference for name, of in sides.items() if name != "dcmh" for bits in (16, 32)
        for difference in compare(store, *([r for r in side if r.spec.bits == bits] for side in (of, sides["dcmh"])))
    ])  # fmt: skip
    assert sum(difference.shown for difference in family) == sum(bool(sign) for of in signs.values() for sign in of)
    assert found.against == "dcmh lite + bow"
    with pytest.raises(UsageError, match=r"--against 'dcm': mir-a-mith@1 has no row of it\. Did you mean 'dcmh'"):
        table_of(records, store, against="dcm")


def test_printed_rows_appear_where_the_protocol_is_the_same_and_are_named_where_not(store: Store) -> None:
    folder = Path(__file__).parents[2] / "benchmarks" / "published"
    papers = [read(folder / f"{name}.toml") for name in ("mith", "djsrh", "vtm-uch")]
    found = table_of([stored(store, "dcmh"), stored(store, "real")], store, published=papers)
    printed = {row.method: row for row in found.rows if row.source}
    assert {row.source for row in printed.values()} == {"MITH paper"} and {"DCMH", "GCH", "MITH"} <= printed.keys()
    assert [cell.printed for cell in printed["DCMH"].cells] == [".7321", ".7640"]
    assert printed["GCH"].group == "not in the bench" and printed["DCMH"].group == "supervised"
    assert "(DJSRH paper, VTM-UCH README); hashbench compare --published" in found.notes[-1]
    assert not any(row.source for row in table_of([stored(store, counts={"train": 7})], store, published=papers).rows)
    assert next(row for row in found.rows if row.method == "real").group == "reference"
