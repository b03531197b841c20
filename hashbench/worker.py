"""A worker: takes the runs of a plan that nobody has, one after the other, until none is left to take.

Any number of workers, started by whatever engine on whatever machine, share one results folder and need nothing
else: the records say what is done, the claims who is at work. ``python -m hashbench.worker PLAN INDEX DEVICE``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from hashbench.claims import LEASE, Claim, claimed
from hashbench.errors import DataError, HashbenchError, NoRoom
from hashbench.files import write_text
from hashbench.runner import Bench, Reporter, run_one
from hashbench.setup import Setup
from hashbench.spec import Spec
from hashbench.store import Record, Store, provenance

MOST_LOST = 3
"""Workers that one run may cost before it counts as failed."""

OPEN_BENCHES = 4
"""Setups that a worker keeps open at a time."""


@dataclass(frozen=True)
class Cell:
    """One run of a grid: what it sees of the world, and all that decides its result."""

    setup: Setup
    spec: Spec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Runs to make, and where."""

    cells: tuple[Cell, ...]
    results: Path
    cache: Path
    redo: frozenset[str] = frozenset()
    """Keys of runs that have a record from before this plan, and shall get a new one."""
    since: float = 0.0
    """When the plan was made, by the clock of the results folder."""
    keep_going: bool = False
    """Whether data that cannot be read fails the one run, and not all."""
    at_once: int = 1
    """Workers on one machine."""
    lease: float = LEASE
    """Seconds after which a silent worker is lost."""
    models: bool = False
    """Whether hash functions are kept with their codes."""

    def made(self, cell: Cell) -> bool:
        """Whether a run has the record that this plan wants."""
        file = Store(self.results).folder(cell.spec) / "record.json"
        try:
            return file.stat().st_mtime > self.since or cell.spec.key not in self.redo
        except FileNotFoundError:
            return False

    def write(self, path: Path) -> None:
        """As JSON, for workers that are other processes."""
        cells = [{"setup": asdict(cell.setup), "spec": cell.spec.key_fields()} for cell in self.cells]
        plan = {**vars(self), "cells": cells, "redo": sorted(self.redo)}
        write_text(path, json.dumps(plan, default=str))

    @classmethod
    def read(cls, path: Path) -> Plan:
        """What :meth:`write` wrote."""
        from pydantic import TypeAdapter

        plan: Plan = TypeAdapter(cls).validate_python(json.loads(path.read_text("utf-8")))
        return plan


class Benches:
    """Opened setups, the last few kept."""

    def __init__(self, cache: Path | None, device: str) -> None:
        self._cache, self._device = cache, device
        self._open: dict[str, Bench] = {}

    def of(self, setup: Setup) -> Bench:
        """The bench of a setup."""
        bench = self._open.pop(setup.digest, None) or Bench(setup, self._cache, self._device)
        self._open[setup.digest] = bench
        while len(self._open) > OPEN_BENCHES:
            del self._open[next(iter(self._open))]
        return bench


class Doing(Reporter):
    """Tells onlookers through the claim, and passes on, how far a run is."""

    def __init__(self, claim: Claim, reporter: Reporter) -> None:
        self._claim, self._reporter = claim, reporter

    def epoch(self, spec: Spec, phase: str, epoch: int, epochs: int) -> None:
        self._claim.doing = f"{phase} {epoch + 1}/{epochs}"
        self._reporter.epoch(spec, phase, epoch, epochs)


def work(plan: Plan, benches: Benches, reporter: Reporter, first: int = 0) -> Iterator[Record]:
    """Carry out every run that has no record and no holder; a pass over the plan, beginning with cell ``first``.

    Raises:
        DataError: a record cannot be written; or, where the plan does not keep going, data that cannot be read.
    """
    records = Store(plan.results)
    for cell in (*plan.cells[first:], *plan.cells[:first]):
        if plan.made(cell):
            continue
        record = None
        with claimed(records.folder(cell.spec), plan.lease) as mine:
            if mine and not plan.made(cell):
                record = _carry_out(plan, cell, benches, records, Doing(mine, reporter), mine.lost_before)
        if record:
            yield record


def _carry_out(
    plan: Plan, cell: Cell, benches: Benches, records: Store, reporter: Reporter, lost_before: int
) -> Record:
    if lost_before >= MOST_LOST:
        return _failed(records, cell.spec, f"{lost_before} workers were lost on it, killed from outside or for memory")
    try:
        return run_one(benches.of(cell.setup), cell.spec, records, reporter, plan.at_once, models=plan.models)
    except HashbenchError as error:
        if isinstance(error, NoRoom) or not plan.keep_going:
            raise
        return _failed(records, cell.spec, str(error))


def _failed(records: Store, spec: Spec, reason: str) -> Record:
    record = Record(spec=spec, status="failed", reason=reason, provenance=provenance("none"))
    records.save(record, {}, {}, [])
    return record


def work_through(path: Path, index: int, device: str) -> None:
    """What a worker process does: its passes over a plan file, until a pass finds nothing to take.

    Args:
        path: The plan.
        index: Which of the workers this is; they begin at different places of the plan.
        device: Where it computes.
    """
    plan = Plan.read(path)
    benches, reporter = Benches(plan.cache, device), Reporter()
    first = index * len(plan.cells) // max(plan.at_once, 1) % max(len(plan.cells), 1)
    while sum(1 for _ in work(plan, benches, reporter, first)):
        pass  # while it was busy, others may have been lost


def main(arguments: Sequence[str]) -> int:
    """The worker as a program; its exit code is that of the error that ended it."""
    path, index, device, *parent = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends its workers in order
    signal.signal(signal.SIGTERM, _leave)
    if parent:
        threading.Thread(target=_end_with, args=(int(parent[0]),), daemon=True).start()
    try:
        work_through(Path(path), int(index), device)
    except DataError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)  # unwinds, so that the claim is released


def _end_with(parent: int) -> None:
    """Leave when the parent is gone, however it went: nobody would start another worker in this one's place."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
