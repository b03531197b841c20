"""``compare`` on small stored runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench.dataset import Rules
from hashbench.store import Record, Store
from tests.test_store import RECORD, SPEC

from .conftest import SMALL, Hashbench

Make = Callable[..., Record]
TASKS = ("image->text", "text->image")
RULES = asdict(Rules(id=SPEC.protocol, items="all", split="by concept", text="words", checkpoint="the last epoch"))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Store a run: AP of 60 queries that are ``higher`` on average by what is said."""

    def stored(method: str, higher: float = 0.0, seed: int = 0, status: Any = "done", **changed: Any) -> Record:
        spec = replace(SPEC, method=method, seed=seed, **changed)
        draw = np.random.default_rng(seed)
        queries = {task: (draw.uniform(0.2, 0.5, 60) + higher).astype(np.float32) for task in TASKS}
        metrics = {task: {"map@all": float(each.mean()), "chance": 0.1} for task, each in queries.items()}
        counts = {"query": 60, "database": 90, "queries_without_relevant": 0}
        record = replace(RECORD, spec=spec, status=status, metrics=metrics, rules=RULES, counts=counts)
        Store(tmp_path / "results").save(record, {}, queries, [])
        return record

    return stored


def test_the_table_the_protocol_and_the_sentences(hashbench: Hashbench, make: Make) -> None:
    for seed in (0, 1, 2):
        make("soda", 0.1 + 0.01 * seed, seed)
        make("dcmh", 0.0, seed)
    done = hashbench("compare", "soda", "dcmh")
    assert done.code == 0, done.err
    assert "map@all on pictograms: A = soda, B = dcmh" in done.out
    row = next(line for line in done.out.splitlines() if line.lstrip().startswith("12   image->text"))
    assert row.count("±") == 2 and ".1100" in row and "100%" in row and "3 of 3" in row
    assert "protocol concepts@1, split 0123abcd: 60 queries" in done.out and "chance .1000; 3 seeds" in done.out
    assert "image->text: soda is .1100 higher in MAP than dcmh" in done.out and "all 3 seeds agree" in done.out
    turned = hashbench("compare", "dcmh", "soda").out
    assert "text->image: dcmh is .1100 lower in MAP than soda" in turned


def test_json_holds_what_the_table_holds(hashbench: Hashbench, make: Make) -> None:
    a, b = make("soda", 0.1), make("dcmh")
    found = hashbench("compare", "soda", "dcmh", "--json").json
    assert [row["task"] for row in found["differences"]] == list(TASKS)
    for row in found["differences"]:
        assert row["p"] == 1e-4 and row["p_holm"] == 2e-4 and row["shown"] and row["beyond_seeds"] is None
        assert row["a"]["runs"] == [a.key] and row["b"]["runs"] == [b.key] and row["b"]["bits"] == 12
        assert row["mean"] == pytest.approx(row["a"]["map@all"][0] - row["b"]["map@all"][0], abs=1e-6)
        assert "one seed" in row["words"]


def test_a_key_a_method_and_conditions_name_the_same_runs(hashbench: Hashbench, make: Make) -> None:
    a, b = make("soda", 0.1, 1), make("dcmh", 0.0, 1)
    make("soda", 0.1, 2)
    expected = hashbench("compare", a.key[:10], b.key[:10], "--json").json["differences"]
    for one, other in (("soda,seed=1", "dcmh"), ("method=soda, seed=1", "method=dcmh,dlfh,alpha=0.050")):
        found = hashbench("compare", one, other, "--json").json["differences"]
        assert [row["a"]["runs"] + row["b"]["runs"] for row in found] == [[a.key, b.key]] * 2
        assert [row["mean"] for row in found] == [row["mean"] for row in expected]


def test_every_code_length_of_both_is_a_row_and_holm_is_over_all(hashbench: Hashbench, make: Make) -> None:
    for bits in (8, 16, 32):
        make("soda", 0.1, bits=bits)
        if bits < 32:
            make("dcmh", bits=bits)
    found = hashbench("compare", "soda", "dcmh", "--json").json["differences"]
    assert [row["a"]["bits"] for row in found] == [8, 8, 16, 16]
    assert [row["p_holm"] for row in found] == [4e-4] * 4
    assert "16 bits, image->text: soda is" in hashbench("compare", "soda", "dcmh").out
    (first, _) = hashbench("compare", "soda", "dcmh", "--bits", "16", "--json").json["differences"]
    assert first["p_holm"] == 2e-4
    missing = hashbench("compare", "soda", "dcmh", "--bits", "16,32")
    assert missing.code == 2 and "--bits 32: 'dcmh'" in missing.err
    across = hashbench("compare", "soda,bits=32", "dcmh,bits=8", "--json").json["differences"]
    assert [(row["a"]["bits"], row["b"]["bits"]) for row in across] == [(32, 8)] * 2
    unasked = hashbench("compare", "soda,bits=32", "dcmh,seed=0")
    assert unasked.code == 2 and unasked.err.count("\n") == 1


def test_several_settings_are_told_and_not_averaged(hashbench: Hashbench, make: Make) -> None:
    make("soda", 0.1)
    make("soda", 0.1, 1, config={**SPEC.config, "alpha": 1.0})
    make("dcmh")
    done = hashbench("compare", "soda", "dcmh")
    assert done.code == 2 and "alpha (0.05, 1.0)" in done.err and "narrow it, as with alpha=0.05" in done.err
    assert hashbench("compare", "soda,alpha=0.05", "dcmh").code == 0
    of_settings = hashbench("compare", "soda,alpha=1", "soda,alpha=0.05")
    assert of_settings.code == 0 and "the sides have different seeds" in of_settings.out


def test_what_is_refused_is_refused_in_one_line(hashbench: Hashbench, make: Make) -> None:
    make("soda", 0.1)
    make("dcmh", split="ffff")
    make("dlfh", status="diverged")
    for words, expected in [
        (("soda", "soda"), "both hold run"),
        (("soda", "dcmh"), "differ in split (0123abcd and ffff)"),
        (("soda", "dlfh"), "expected done, found diverged"),
        (("soda", "scm"), "'scm': no such run"),
        (("soda,bit=12", "dcmh"), "Did you mean 'bits'"),
        (("0123456789", "dcmh"), "found 0"),
        (("soda", "dcmh", "--bits", "many"), "--bits"),
    ]:
        done = hashbench("compare", *words)
        assert done.code == 2 and expected in done.err and done.err.count("\n") == 1, (words, done.err)


def test_runs_just_made_are_compared(hashbench: Hashbench) -> None:
    for method in ("cca-itq", "random"):
        hashbench("run", "--method", method, *SMALL, "--bits", "6")
    found = hashbench("compare", "cca-itq", "random", "--json").json["differences"]
    assert {row["task"] for row in found} == set(TASKS)
    for row in found:
        assert row["mean"] == pytest.approx(np.mean(row["a"]["map@all"]) - np.mean(row["b"]["map@all"]), abs=1e-6)
        assert row["mean"] > 0 and row["seeds"] == [row["mean"]]
