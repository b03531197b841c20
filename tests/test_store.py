"""Records on disk: what was saved comes back, a record means a whole run, and damage is told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hashbench.errors import DataError, UsageError
from hashbench.spec import Spec
from hashbench.store import SCHEMA, Record, Store, bytes_of_a_code, facts, has_binary_codes, read_record, telling

SPEC = Spec(
    method="soda",
    method_version=1,
    config={"alpha": 0.05, "epochs": 30, "teacher": "two_stage", "teacher_epochs": None},
    dataset="pictograms",
    dataset_revision="r1",
    protocol="concepts@1",
    split="0123abcd",
    views={"image": "lite/ab12", "text": "lite/cd34"},
    prompts="77",
    bits=12,
    seed=0,
)
RECORD = Record(
    spec=SPEC,
    status="done",
    rules={"relevance": "a label is shared"},
    counts={"query": 2, "queries_without_relevant": 0},
    evaluation_version=1,
    metrics={"image->text": {"map@all": 0.1 + 0.2, "chance": 1 / 3}},
    validation={"image->text": {"map@all": 0.25}},
    curves={"image->text": {"rank/precision": [1.0, 0.5, 1 / 3]}},
    code_digests={"query/image": "ff"},
    warnings=["stage 1 hardly learned: Φ1 is 0.95 of a constant's"],
    cost={"seconds": 1.25},
    provenance={"time": "2025-01-01T00:00:00Z", "git": None},
)
CODES = {
    "query/image": np.array([[1, 16], [255, 240]], np.uint8),
    "database/text": np.zeros((3, 2), np.uint8),
}
QUERIES = {"image->text": np.array([0.1, 0.9], np.float32)}
EVENTS: list[dict[str, Any]] = [{"epoch": 0, "phi1": 0.7}, {"epoch": 1, "phi1": 0.6}]


def write_model(path: Path) -> None:
    path.write_bytes(b"model")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_round_trip(store: Store) -> None:
    assert store.find(SPEC) is None
    folder = store.save(RECORD, CODES, QUERIES, EVENTS)
    assert folder == store.root / "pictograms" / "soda" / SPEC.key[:16]
    assert store.find(SPEC) == RECORD
    assert store.read_all() == ([RECORD], [])
    for kept, found in ((CODES, store.codes(RECORD)), (QUERIES, store.queries(RECORD))):
        assert kept.keys() == found.keys()
        for name, array in kept.items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)
    assert [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()] == EVENTS
    assert sorted(file.name for file in folder.iterdir()) == [
        "codes.safetensors", "log.jsonl", "queries.safetensors", "record.json",
    ]  # fmt: skip


def test_arrays_of_any_layout_are_kept(store: Store) -> None:
    codes = {"query/image": np.arange(24, dtype=np.uint8).reshape(4, 6)[::2, ::3]}
    store.save(RECORD, codes, {}, [])
    assert np.array_equal(store.codes(RECORD)["query/image"], codes["query/image"])


@pytest.mark.parametrize("status", ["failed", "skipped", "diverged"])
def test_a_run_that_did_not_end_well_is_kept_with_its_reason(store: Store, status: Any) -> None:
    record = Record(spec=SPEC, status=status, reason="the loss became nan")
    store.save(record, {}, {}, [])
    assert store.find(SPEC) == record


def test_another_spec_is_another_record(store: Store) -> None:
    store.save(RECORD, CODES, QUERIES, EVENTS)
    for other in (replace(SPEC, bits=16), replace(SPEC, seed=1), replace(SPEC, config={})):
        assert store.find(other) is None


def test_merging_two_machines_is_copying_folders(store: Store, tmp_path: Path) -> None:
    other = replace(RECORD, spec=replace(SPEC, seed=1))
    store.save(RECORD, CODES, QUERIES, EVENTS)
    Store(tmp_path / "other").save(other, CODES, QUERIES, EVENTS)
    folder = Path(Store(tmp_path / "other").folder(other.spec))
    folder.rename(store.folder(other.spec))
    assert {record.key for record in store.read_all()[0]} == {RECORD.key, other.key}


def test_a_record_means_a_whole_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk fill up at the first rename, at the second, and so on."""
    rename = Path.replace
    for allowed in range(5):  # codes, model, queries, log, record
        left = [allowed]

        def fill_up(self: Path, target: Path, left: list[int] = left) -> Path:
            if not left[0]:
                raise OSError(28, "No space left on device")
            left[0] -= 1
            return rename(self, target)

        monkeypatch.setattr(Path, "replace", fill_up)
        with pytest.raises(DataError, match=r"could not be written: .*No space left on device$"):
            store.save(RECORD, CODES, QUERIES, EVENTS, model=write_model)
        assert store.find(SPEC) is None, "a record without the rest of the run"
        assert not list(store.folder(SPEC).glob(".*")), "a partial file was left"
    monkeypatch.setattr(Path, "replace", rename)
    store.save(RECORD, CODES, QUERIES, EVENTS, model=write_model)
    assert store.find(SPEC) == RECORD and store.model(RECORD)
    assert np.array_equal(store.codes(RECORD)["query/image"], CODES["query/image"])


def test_a_run_has_the_model_of_its_last_making_or_none(store: Store) -> None:
    store.save(RECORD, CODES, QUERIES, EVENTS)
    assert store.model(RECORD) is None
    store.save(RECORD, CODES, QUERIES, EVENTS, model=write_model)
    found = store.model(RECORD)
    assert found and found.read_bytes() == b"model" and store.find(SPEC) == RECORD
    store.rewrite(RECORD, {})
    assert store.model(RECORD) == found
    store.save(RECORD, CODES, QUERIES, EVENTS)
    assert store.model(RECORD) is None, "an old model beside new codes"


def test_a_kill_between_model_and_record_leaves_no_run(store: Store) -> None:
    store.save(RECORD, CODES, QUERIES, EVENTS, model=write_model)

    def killed(path: Path) -> None:
        path.write_bytes(b"mod")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.save(RECORD, CODES, QUERIES, EVENTS, model=killed)
    assert store.find(SPEC) is None and store.model(RECORD) is None


def test_rewriting_changes_the_record_alone(store: Store) -> None:
    folder = store.save(RECORD, CODES, QUERIES, EVENTS)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    store.rewrite(replace(RECORD, metrics={"image->text": {"map@all": 0.5}}), {})
    changed = {file.name for file in folder.iterdir() if file.read_bytes() != before[file.name]}
    assert changed == {"record.json"}
    found = store.find(SPEC)
    assert found is not None
    assert found.metrics == {"image->text": {"map@all": 0.5}}


def _edit(**changes: Any) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


def _edit_spec(**changes: Any) -> Callable[[Path], None]:
    def edit(file: Path) -> None:
        record = json.loads(file.read_text())
        file.write_text(json.dumps(record | {"spec": record["spec"] | changes}))

    return edit


def _drop(name: str) -> Callable[[Path], None]:
    def drop(file: Path) -> None:
        record = json.loads(file.read_text())
        del record[name]
        file.write_text(json.dumps(record))

    return drop


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda file: file.write_text(""), "damaged"),
        (lambda file: file.write_text(file.read_text()[:200]), "damaged"),
        (lambda file: file.write_bytes(b"\xff\xfe\x00"), "damaged"),
        (lambda file: file.write_text("[]"), "damaged"),
        (lambda file: file.write_text("null"), "damaged"),
        (_drop("key"), "damaged"),
        (_drop("schema"), "damaged"),
        (_drop("status"), "damaged"),
        (_drop("spec"), "damaged"),
        (_edit(status="splendid"), "damaged"),
        (_edit(schema="one"), "damaged"),
        (_edit(metrics=[1, 2]), "damaged"),
        (_edit_spec(bits="many"), "damaged"),
        (_edit(schema=SCHEMA + 1), "newer hashbench"),
        (_edit_spec(seed=3), "edited by hand"),
        (_edit_spec(config={"alpha": 0.1}), "edited by hand"),
        (_edit(key="0" * 64), "edited by hand"),
    ],
)
def test_damage_is_told_in_one_line_with_the_file(store: Store, damage: Any, said: str) -> None:
    file = store.save(RECORD, CODES, QUERIES, EVENTS) / "record.json"
    damage(file)
    assert store.read_all()[0] == [] and said in str(store.read_all()[1][0])
    for read in (lambda: read_record(file), lambda: store.find(SPEC)):
        with pytest.raises(DataError) as error:
            read()
        assert str(error.value).startswith(f"{file}: ")
        assert said in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["codes", "queries"])
def test_damaged_or_missing_arrays_are_told_with_the_file(store: Store, name: str) -> None:
    file = store.save(RECORD, CODES, QUERIES, EVENTS) / f"{name}.safetensors"
    read = getattr(store, name)
    file.write_bytes(file.read_bytes()[:-1])
    for _ in range(2):  # damaged, then missing
        with pytest.raises(DataError) as error:
            read(RECORD)
        assert str(error.value).startswith(f"{file}: cannot be read")
        assert "\n" not in str(error.value)
        file.unlink(missing_ok=True)


def test_by_prefix(store: Store) -> None:
    records = [replace(RECORD, spec=replace(SPEC, seed=seed)) for seed in range(3)]
    for record in records:
        store.save(record, CODES, QUERIES, EVENTS)
    for record in records:
        assert store.by_prefix(record.key[:12]) == record
        assert store.by_prefix(record.key) == record
    with pytest.raises(UsageError, match="found 0"):
        store.by_prefix("no key")
    with pytest.raises(UsageError, match="found 3"):
        store.by_prefix("")


def test_runs_that_differ_in_their_views_alone_are_told_apart_by_them(store: Store) -> None:
    three = replace(SPEC, views={**SPEC.views, "tags": "minilm/ef56"})
    records = [replace(RECORD, spec=replace(spec, seed=seed)) for spec in (SPEC, three) for seed in (0, 1)]
    assert telling(records) == ["views"]
    assert [facts(record)["views"] for record in records] == ["image+text"] * 2 + ["image+text+tags"] * 2


@pytest.mark.parametrize(
    ("curves", "binary", "size"),
    [(("rank/rank", "radius/radius"), True, 2), (("rank/rank",), False, 48), ((), True, 2)],
)
def test_codes_without_a_radius_are_real_numbers(curves: tuple[str, ...], binary: bool, size: int) -> None:
    of = replace(RECORD, curves={"image->text": {name: [1.0] for name in curves}} if curves else {})
    assert (has_binary_codes(of), bytes_of_a_code(of)) == (binary, size)
