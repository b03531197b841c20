"""The command that makes runs again: read by ``hashbench run``, it means these very runs."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashbench import grid
from hashbench.conditions import Conditions
from hashbench.labelled import AS_GIVEN
from hashbench.paths import results_dir
from hashbench.registry import methods
from hashbench.repeat import command_of
from hashbench.runner import Bench
from hashbench.setup import Setup
from hashbench.store import Record, Store
from tests.report.made import stored

from .conftest import Hashbench
from .test_data import own_views

SMALL = {"image": "lite@32", "text": "bow"}
DISTURBED = Conditions(label_drop=0.25, text_keep=0.9, text_junk=2)
BITS, SEEDS = (12, 24), (3, 5)


def records_of(method: str, setup: Setup, **settings: Any) -> list[Record]:
    """Runs as they would be stored, at every length and seed."""
    config = replace(methods.get(method).config_class(), **settings)
    specs = grid.specs_of(Bench(setup), method, config, BITS, SEEDS)
    return [Record(spec=spec, status="done", settings=vars(config)) for spec in specs]


@pytest.mark.parametrize(
    ("method", "setup"),
    [
        ("cvh", Setup(dataset="shapes", backbones=SMALL)),
        ("dcmh", Setup(dataset="shapes", backbones=SMALL, views=("image", "text"), conditions=DISTURBED)),
        ("soda", Setup(dataset="shapes", backbones={**SMALL, "label": "minilm"}, precision="bf16")),
        ("dcmh", Setup(dataset="shapes", protocol="shapes-swapped@1", backbones={"image": "resnet10t:scratch@32"},
                       tuning="full", conditions=replace(DISTURBED, labelled=0.5, label_spurious=0.1))),
        ("mith", Setup(dataset="shapes", backbones={"image": "lite@32", "text": "minilm"})),
        ("mith", Setup(dataset="shapes", tuning="full")),
        ("dcmh", Setup(dataset="clips")),
        ("soda", Setup(dataset="clips", backbones={"label": "minilm"})),
        ("cvh", Setup(dataset="clips", views=("image", "audio"))),
    ],
)  # fmt: skip
def test_the_command_means_the_runs_that_it_is_of(
    method: str, setup: Setup, hashbench: Hashbench, tmp_path: Path
) -> None:
    if setup.dataset == "clips":
        own_views(tmp_path / "clips.npz")
        hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    settings = {"epochs": 7} if hasattr(methods.get(method).config_class(), "epochs") else {}
    records = records_of(method, setup, **settings)
    words = shlex.split(command_of(records, Store(results_dir())))
    planned = hashbench(*words[1:], "--dry-run", "--json")
    assert planned.code == 0, planned.err
    assert {run["key"] for run in planned.json["runs"]} == {record.key for record in records}


def test_only_what_is_not_usual_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHBENCH_RESULTS", str(tmp_path))
    store = Store(tmp_path)
    runs = [
        stored(store, "soda", bits=bits, seed=1, config={"alpha": 0.5, "teacher_epochs": None, "heads": "x y"},
               conditions={"label_drop": 0.2})
        for bits in (16, 32)
    ]  # fmt: skip
    usual = (
        "hashbench run --method soda --dataset mirflickr25k --protocol mir-a-mith@1 --views image,text "
        "--image-backbone lite --text-backbone bow --label-drop 0.2 --set alpha=0.5 --set 'heads=x y' --bits 16,32 "
        "--seeds 1"
    )
    assert command_of(runs, store) == usual
    assert command_of(runs, store, "--force") == f"{usual} --force"
    fast = [replace(r, spec=replace(r.spec, tuning="full", precision="bf16", method="gone")) for r in runs[:1]]
    said = command_of(fast, store)
    assert "--tuning full --precision bf16" in said and "--set teacher_epochs=None" in said


def test_runs_that_lie_elsewhere_are_made_there(tmp_path: Path) -> None:
    store = Store(tmp_path / "my results")
    assert command_of([stored(store)], store).endswith(f" --results '{store.root}'")


def test_codes_of_a_file_have_the_command_that_measured_them(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = replace(stored(store, protocol=AS_GIVEN.id), provenance={"command": "hashbench eval codes.mat"})
    assert command_of([record], store) == "hashbench eval codes.mat"
