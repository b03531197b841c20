"""``table`` and ``compare --published`` on small stored runs."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from hashbench.store import Store
from tests.report.made import stored

from .conftest import Hashbench


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "results")
    for seed in (0, 1):
        stored(found, "dcmh", 0.1, seed=seed)
        stored(found, "cvh", seed=seed)
    return found


def test_each_format_shows_each_protocol_in_a_table_of_its_own(hashbench: Hashbench, store: Store) -> None:
    stored(store, "soda", protocol="mir-a-dcmh@1")
    for form, mark in {"terminal": "map@all on mirflickr25k", "markdown": "| --- |", "latex": r"\toprule",
                       "html": "<caption>"}.items():  # fmt: skip
        done = hashbench("table", "--format", form)
        assert done.code == 0 and done.out.count(mark) == 2, done.err
        assert done.out.count("protocol mir-a-mith@1, split 0123abcd: 2000 queries") == 1
    rows = list(csv.DictReader(io.StringIO(hashbench("table", "--format", "csv").out)))
    assert {(row["method"], row["protocol"]) for row in rows} == {
        ("dcmh", "mir-a-mith@1"), ("cvh", "mir-a-mith@1"), ("soda", "mir-a-dcmh@1"),
    }  # fmt: skip


def test_signs_files_and_conditions(hashbench: Hashbench, store: Store, tmp_path: Path) -> None:
    done = hashbench("table", "--against", "cvh", "--format", "markdown", "--out", "t.md")
    assert done.code == 0 and done.out == "t.md\n", done.err
    text = (tmp_path / "t.md").read_text()
    assert text.count("<sup>\\+</sup>") == 2 and "higher and lower than cvh lite \\+ bow" in text.replace("+", "\\+")
    assert "dcmh" not in hashbench("table", "--where", "method=cvh").out


def test_what_is_refused_is_refused_in_one_line(hashbench: Hashbench, store: Store) -> None:
    stored(store, "scm", status="failed")
    assert "1 of 5 runs are not done" in hashbench("table").err
    for words, said in [
        (("table", "--where", "method=soda"), "no finished run"),
        (("table", "--metric", "map"), "no run of mir-a-mith@1 has it"),
        (("table", "--against", "soda"), "mir-a-mith@1 has no row of it"),
        (("compare",), "expected two settings"),
        (("compare", "dcmh"), "expected two settings"),
        (("compare", "dcmh", "cvh", "--where", "bits=16"), "--where goes with --published"),
        (("compare", "dcmh", "cvh", "--published"), "leave out A, B and --bits"),
        (("compare", "--published", "--where", "method=soda"), "no finished run"),
    ]:
        done = hashbench(*words)
        assert done.code == 2 and said in done.err and done.err.count("\n") == 1, (words, done.err)


def test_papers_beside_our_runs_and_how_they_differ(hashbench: Hashbench, store: Store) -> None:
    done = hashbench("compare", "--published", "--where", "method=dcmh")
    assert done.code == 0, done.err
    assert "and the MITH paper" in done.out and ".7321" in done.out and "they differ in" in done.out
    assert "Deep Joint-Semantics" not in done.out
    found = hashbench("compare", "--published", "--json").json
    mith = next(each for each in found["compared"] if each["source"] == "MITH paper" and each["arm"].startswith("dcmh"))
    number = mith["numbers"][0]
    assert number["printed"] == ".7321" and number["difference"] == pytest.approx(sum(number["here"]) / 2 - 0.7321)
    aspects = {way["aspect"] for way in mith["ways"]}
    assert "features" in aspects and not aspects & {"items", "queries", "training items", "database", "metric"}
    unknown = next(each for each in found["compared"] if each["source"] == "QDCMH paper")
    assert {"aspect": "items", "ours": "mir-20015: items with at least one of 24 labels", "theirs": "unknown"} in (
        unknown["ways"]
    )
    assert unknown["printed_protocol"] == "unknown" and unknown["metric"] == "map@all"


def test_methods_without_printed_numbers_are_told(hashbench: Hashbench, tmp_path: Path) -> None:
    stored(Store(tmp_path / "results"), "soda")
    done = hashbench("compare", "--published")
    assert done.code == 0 and "soda on mirflickr25k: no printed number is stored" in done.out
    assert "soda" in hashbench("table", "--published").out
