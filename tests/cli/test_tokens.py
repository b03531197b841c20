"""A method that reads token sequences, beside others on the same data; and on data that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import SMALL, Hashbench
from .test_data import own_views

READABLE = ("--dataset", "shapes", "--image-backbone", "lite@32", "--text-backbone", "minilm")
MITH = ("run", "--method", "mith", "--bits", "8", "-q", "--no-model", "--set", "epochs=1", "--set", "width=32")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("own_cache")
def test_sequences_and_vectors_of_one_backbone_live_side_by_side(hashbench: Hashbench) -> None:
    plan = hashbench(*MITH, *READABLE, "--dry-run", "--json").json
    assert set(plan["features"].values()) == {"to compute"}
    (record,) = hashbench(*MITH, *READABLE, "--json").json
    assert record["status"] == "done"
    assert {view: words.split()[0] for view, words in record["spec"]["views"].items()} == {
        "image": "lite@32+tokens",
        "text": "minilm+tokens",
    }
    (other,) = hashbench("run", "--method", "cca-itq", *READABLE, "--bits", "6", "--json", "-q").json
    assert {view: words.split()[0] for view, words in other["spec"]["views"].items()} == {
        "image": "lite@32",
        "text": "minilm",
    }
    kept = {
        entry["backbone"].split()[0]: entry["width"] for entry in hashbench("cache", "ls", "--json").json["features"]
    }
    assert kept == {"lite@32": 1280, "minilm": 384, "lite@32+tokens": 2 * 1280, "minilm+tokens": 25 * 384}
    plan = hashbench(*MITH, *READABLE, "--dry-run", "--json").json
    assert set(plan["features"].values()) == {"cached"} and plan["runs"][0]["state"] == "done"
    (changed,) = hashbench(*MITH, *READABLE, "--text-keep", "0.5", "--json").json  # texts of one run alone
    assert changed["status"] == "done", changed["reason"]


@pytest.mark.slow
def test_encoders_that_give_sequences_are_trained_from_raw_items(hashbench: Hashbench) -> None:
    small = ("--image-backbone", "lite@32", "--text-backbone", "minilm", "--tuning", "full")
    (record,) = hashbench(*MITH, "--dataset", "shapes", *small, "--json").json
    assert record["status"] == "done", record["reason"]


def test_without_sequences_the_run_is_skipped_with_the_reason(hashbench: Hashbench, tmp_path: Path) -> None:
    bag = hashbench(*MITH, *SMALL)
    assert bag.code == 5
    assert "skipped: needs token sequences, and bow gives one vector an item; take lite" in bag.err
    own_views(tmp_path / "clips.npz")
    hashbench("data", "import", tmp_path / "clips.npz", "--name", "clips", "-q")
    vectors = hashbench(*MITH, "--dataset", "clips")
    assert vectors.code == 5
    assert "skipped: needs token sequences, and views of vectors have none" in vectors.err
