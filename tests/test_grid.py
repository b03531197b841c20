"""Grids: every run is made once, whatever happens to workers and parents, and by whomever; results never differ."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hashbench import grid
from hashbench.config import override
from hashbench.errors import DataError, HashbenchError, UsageError
from hashbench.grid import Timing, carry_out, specs_of
from hashbench.registry import methods
from hashbench.runner import Bench, Reporter
from hashbench.setup import Setup
from hashbench.spec import Execution
from hashbench.store import Record, Store
from hashbench.worker import MOST_LOST, Cell, Plan

SETUP = Setup(dataset="shapes", backbones={"image": "lite@32", "text": "bow"})


@pytest.fixture
def diary(stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the method ``counted`` writes down that it was run."""
    monkeypatch.syspath_prepend(stranger)
    monkeypatch.setenv("COUNTED_DIARY", str(tmp_path / "diary"))
    return tmp_path / "diary"


def cells(values: Sequence[int] = (0, 1), seeds: Sequence[int] = (0, 1), **settings: Any) -> list[Cell]:
    bench = Bench(SETUP)
    found = []
    for value in values:
        words = [f"{name}={setting}" for name, setting in {"value": value, **settings}.items()]
        config = override(methods.get("counted").config_class(), words)
        found += [Cell(SETUP, spec) for spec in specs_of(bench, "counted", config, [16], seeds)]
    return found


def outcome(records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """All of a record that must not depend on who made it."""
    return [(r.key, r.status, r.code_digests, r.metrics, r.validation, r.diagnostics) for r in records]


def times(diary: Path) -> set[int]:
    """How often each run was begun."""
    return set(Counter(diary.read_text().splitlines()).values())


def test_workers_make_what_one_process_makes(diary: Path, tmp_path: Path) -> None:
    todo = cells(values=(0, 1, 2))
    alone = carry_out(todo, Store(tmp_path / "alone"))
    together = carry_out(todo, Store(tmp_path / "together"), Execution(workers=3))
    places = carry_out(todo, Store(tmp_path / "places"), Execution(devices=("cpu", "cpu")), keep_going=True)
    assert outcome(alone) == outcome(together) == outcome(places)
    assert [record.key for record in alone] == [cell.spec.key for cell in todo]
    assert times(diary) == {3}
    assert not (tmp_path / "together" / grid.WORK).exists() or not list((tmp_path / "together" / grid.WORK).iterdir())


def test_what_is_done_is_not_done_again(diary: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    first = carry_out(cells(), store)
    assert outcome(carry_out([*cells(), *cells()], store)) == outcome([*first, *first])
    assert times(diary) == {1}
    forced = carry_out(cells(), store, Execution(force=True, workers=2))
    assert outcome(forced) == outcome(first) and times(diary) == {2}


def test_only_named_statuses_are_tried_again(diary: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    (failed,) = carry_out(cells([0], [0], deaths=99), store, keep_going=True)
    assert failed.status == "failed" and f"{MOST_LOST} workers were lost" in failed.reason
    begun = len(diary.read_text().splitlines())
    carry_out(cells([0], [0], deaths=99), store, keep_going=True, retry=())
    assert len(diary.read_text().splitlines()) == begun == MOST_LOST
    (again,) = carry_out(cells([0], [0], deaths=99), store, keep_going=True, retry=("failed",))
    assert again.status == "failed" and len(diary.read_text().splitlines()) == 2 * begun


def test_one_failing_cell_stops_no_other(diary: Path, tmp_path: Path) -> None:
    """One run kills its workers for good, another twice; the others and the second are done all the same."""
    todo = [*cells([0], [0], deaths=99), *cells([1], [0], deaths=2), *cells([2], [0, 1])]
    records = carry_out(todo, Store(tmp_path / "results"), Execution(workers=2), keep_going=True)
    assert [record.status for record in records] == ["failed", "done", "done", "done"]


def test_a_killed_worker_costs_nothing_but_time(diary: Path, tmp_path: Path) -> None:
    todo = cells(values=range(4), seeds=[0, 1], seconds=0.5)
    undisturbed = carry_out(todo, Store(tmp_path / "quiet"), Execution(workers=2))
    diary.unlink()

    class Killer(Reporter):
        killed = 0

        def standing(self, standing: Any) -> None:
            workers = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "hashbench.worker"], capture_output=True)
            pids = [int(pid) for pid in workers.stdout.split()]
            if standing.at_work and pids and self.killed < MOST_LOST - 1:  # all may hit the same run
                os.kill(random.Random(self.killed).choice(pids), signal.SIGKILL)
                self.killed += 1

    killer = Killer()
    disturbed = carry_out(todo, Store(tmp_path / "loud"), Execution(workers=2), killer)
    assert killer.killed == MOST_LOST - 1
    assert outcome(disturbed) == outcome(undisturbed)
    assert not list((tmp_path / "loud").rglob("claim.*")) and not list((tmp_path / "loud").rglob("*.partial"))


PARENT = """
import sys
from pathlib import Path
from hashbench.grid import carry_out
from hashbench.spec import Execution
from hashbench.store import Store
from hashbench.worker import Plan
plan = Plan.read(Path(sys.argv[1]))
carry_out(plan.cells, Store(plan.results), Execution(workers=int(sys.argv[2])), keep_going=True)
"""


def _parent(todo: Sequence[Cell], results: Path, workers: int) -> subprocess.Popen[bytes]:
    plan = results.with_suffix(".json")
    Plan(cells=tuple(todo), results=results, cache=Path(os.environ["HASHBENCH_CACHE"])).write(plan)
    seen = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, "-c", PARENT, str(plan), str(workers)], env=seen)


def test_a_killed_parent_loses_nothing_and_a_repeat_goes_on(diary: Path, tmp_path: Path) -> None:
    todo = cells(values=range(3), seeds=[0, 1], seconds=1.0)
    store = Store(tmp_path / "results")
    parent = _parent(todo, store.root, 2)
    deadline = time.monotonic() + 120
    while sum(store.find(cell.spec) is not None for cell in todo) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    done = {cell.spec.key: store.find(cell.spec) for cell in todo if store.find(cell.spec)}
    assert 2 <= len(done) < len(todo)
    records = carry_out(todo, store, Execution(workers=2), keep_going=True)
    assert [record.status for record in records] == ["done"] * len(todo)
    assert all(store.find(cell.spec) == done[cell.spec.key] for cell in todo if cell.spec.key in done)
    assert outcome(records) == outcome(carry_out(todo, Store(tmp_path / "quiet"), Execution(workers=2)))


@pytest.mark.parametrize(("workers", "runs"), [(1, 12), pytest.param(4, 50, marks=pytest.mark.slow)])
def test_many_workers_in_one_store_make_every_run_once(diary: Path, tmp_path: Path, workers: int, runs: int) -> None:
    """Two parents that know nothing of each other, each with so many workers, share the runs."""
    todo = cells(values=range(2), seeds=range(runs // 2), seconds=0.05)
    parents = [_parent(todo, tmp_path / "results", workers) for _ in range(2)]
    assert [parent.wait(240) for parent in parents] == [0, 0]
    assert len(diary.read_text().splitlines()) == runs and times(diary) == {1}
    assert len(list((tmp_path / "results").glob("*/*/*/record.json"))) == runs


def test_a_full_disk_ends_the_grid_with_what_was_done(
    diary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second record cannot be written; the first stays, and with room again the rest is made."""
    store, todo = Store(tmp_path / "results"), cells(values=range(3), seeds=[0])
    save, saved = Store.save, []

    def full(self: Store, record: Record, *rest: Any, **more: Any) -> Path:
        if saved:
            raise DataError("the record could not be written: No space left on device")
        saved.append(record)
        return save(self, record, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", full)
        with pytest.raises(DataError, match="No space left"):
            carry_out(todo, store)
    assert store.find(todo[0].spec) == saved[0] and store.find(todo[1].spec) is None
    assert [record.status for record in carry_out(todo, store)] == ["done"] * 3
    assert Counter(diary.read_text().splitlines())["0 16 0"] == 1


def test_a_worker_without_room_says_so_and_the_grid_ends(
    diary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import sys\nif 'hashbench.worker' in ' '.join(sys.orig_argv):\n"
        "    import resource\n    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "    import signal\n    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    )  # every file that the workers write is cut off, as on a full disk
    monkeypatch.syspath_prepend(site)
    with pytest.raises(DataError, match="could not be written"):
        carry_out(cells(), Store(tmp_path / "results"), Execution(workers=2), keep_going=True)
    assert not list((tmp_path / "results").rglob("record.json"))


def test_data_that_is_gone_fails_its_own_cells(diary: Path, tmp_path: Path) -> None:
    lost = replace(SETUP, backbones={"image": f"lite:{tmp_path}/gone.safetensors@32", "text": "bow"})
    good = cells([0], [0])
    bad = [Cell(lost, replace(cell.spec, seed=7)) for cell in good]
    records = carry_out([*bad, *good], Store(tmp_path / "results"), keep_going=True)
    assert [record.status for record in records] == ["failed", "done"] and "gone.safetensors" in records[0].reason
    with pytest.raises(HashbenchError, match="gone"):
        carry_out(bad, Store(tmp_path / "others"))


def test_workers_that_cannot_start_are_not_started_for_ever(
    diary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(grid, "LOOK_EVERY", 0.01)
    with pytest.raises(HashbenchError, match="workers end before they finish anything"):
        carry_out(cells(), Store(tmp_path / "results"), Execution(workers=2))


def test_an_engine_must_be_known_and_so_must_its_options(diary: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such engine"):
        carry_out(cells(), Store(tmp_path), Execution(engine="cloud"))
    with pytest.raises(UsageError, match="the local engine has none"):
        carry_out(cells(), Store(tmp_path), Execution(workers=2, engine_options={"partition": "gpu"}))


def test_a_plan_survives_its_file(diary: Path, tmp_path: Path) -> None:
    setup = replace(SETUP, views=("image", "text"))
    plan = Plan(
        cells=tuple(Cell(setup, cell.spec) for cell in cells()), results=tmp_path, cache=tmp_path / "c",
        redo=frozenset({"a", "b"}), since=12.5, keep_going=True, at_once=3, lease=7.0, models=True,
    )  # fmt: skip
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan
    json.loads((tmp_path / "plan.json").read_text())


def test_time_left_follows_from_runs_like_these(diary: Path, tmp_path: Path) -> None:
    records = carry_out(cells(), Store(tmp_path / "results"))
    timed = [
        replace(record, cost={"seconds": seconds}) for record, seconds in zip(records, (4, 6, 30, 50), strict=True)
    ]
    timing = Timing(timed)
    known, other = timed[0].spec, replace(timed[0].spec, method="another")
    assert timing.of(known) == 5.0, "alike but for the seed"
    assert timing.of(replace(known, bits=99)) == 18.0, "another length: the method's median"
    assert timing.of(other) is None and Timing().left([known], [], 1) is None
    assert timing.left([known, known], [(known, 2.0, "")], 2) == (5 + 5 - 2) / 2
    assert timing.left([known, other], [], 1) == 10.0, "what nothing is known of counts as the others do"
