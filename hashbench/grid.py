"""Many runs: what is done is reused, the rest is carried out by as many workers as asked, and kept as it comes.

What ``hashbench run`` does is :func:`run`; studies bring cells of many setups and go through :func:`carry_out` too.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from hashbench import registry
from hashbench.claims import LEASE, holder
from hashbench.config import Config, validated
from hashbench.engines import Engine, Worker, open_engine
from hashbench.errors import CELLS_FAILED, DataError, Diverged, HashbenchError, UsageError
from hashbench.paths import cache_dir, results_dir
from hashbench.runner import Bench, Reporter, Standing, resolve_device
from hashbench.setup import Setup
from hashbench.spec import Execution, Spec
from hashbench.store import Record, Store, read_record
from hashbench.worker import MOST_LOST, Benches, Cell, Plan, work

WORK = ".work"
"""Folder in the results folder where plans and the logs of workers lie while they are needed."""

LOOK_EVERY = 0.5
"""Seconds between two looks at what the workers did."""


def run(
    method: str,
    *,
    setup: Setup | None = None,
    config: Config | None = None,
    bits: Sequence[int] = (64,),
    seeds: Sequence[int] = (0,),
    results: Path | None = None,
    execution: Execution | None = None,
    reporter: Reporter | None = None,
) -> list[Record]:
    """Train, encode and measure a method at every code length and seed; what is done already is reused.

    Args:
        method: Registered name, e.g. ``soda``.
        setup: Data, protocol and backbones; the built-in data with the offline backbone by default.
        config: The method's settings; its defaults where None.
        bits: Code lengths.
        seeds: One run each.
        results: Folder of the records; ``results`` or HASHBENCH_RESULTS where None.
        execution: Device, workers, whether to run again what is done, whether to keep the models; where None, they are
            kept.
        reporter: Told about progress.

    Returns:
        One record for every code length and seed, in that order, whatever became of it.

    Raises:
        UsageError: a name or a value that makes no sense.
        DataError: data or weights that are missing or damaged.
    """
    execution = execution or Execution(models=True)
    bench = Bench(setup or Setup(), device=resolve_device(execution.device))
    cells = [Cell(bench.setup, spec) for spec in specs_of(bench, method, config, bits, seeds)]
    return carry_out(cells, Store(results or results_dir()), execution, reporter)


def specs_of(bench: Bench, method: str, config: Config | None, bits: Sequence[int], seeds: Sequence[int]) -> list[Spec]:
    """The specs of a method at every code length and seed.

    Raises:
        UsageError: a code length, a view or a setting that cannot be.
    """
    if not bits or min(bits) < 1 or max(bits) > 4096:
        raise UsageError(f"--bits: expected code lengths from 1 to 4096, found {list(bits)}")
    if not seeds:
        raise UsageError("--seeds: expected at least one seed")
    found = registry.methods.get(method)
    missing = [view for view in bench.views_of(found) if view not in bench.backbones]
    if missing:
        raise UsageError(
            f"{method} needs the view {missing[0]!r}, and there are {', '.join(bench.backbones)} (--views, --dataset)"
        )
    settings = config or found.config_class()
    if not isinstance(settings, found.config_class):
        raise UsageError(f"{method}: expected a {found.config_class.__name__}, found a {type(settings).__name__}")
    settings = validated(settings)
    return [bench.spec(found, method, settings, k, seed) for k in dict.fromkeys(bits) for seed in dict.fromkeys(seeds)]


def carry_out(
    cells: Sequence[Cell],
    records: Store,
    execution: Execution | None = None,
    reporter: Reporter | None = None,
    *,
    retry: Collection[str] = ("failed",),
    keep_going: bool = False,
    cache: Path | None = None,
    lease: float = LEASE,
) -> list[Record]:
    """Run what is not done; records come back in the order of the cells.

    Several processes may carry out the same cells at once: each run is made by one of them, and all get its record.

    Args:
        cells: The runs.
        records: Where their records are and go.
        execution: Devices, workers, engine; ``force``, which runs everything again; ``models``, which are kept of what
            is run now.
        reporter: Told about progress.
        retry: Statuses with which a record does not count as done.
        keep_going: Whether runs go to worker processes in any case, and data that one cannot read fails that one
            alone, as a grid wants it.
        cache: Folder of features and stages; the usual one where None.
        lease: Seconds after which a worker that shows no sign of life is lost.

    Raises:
        DataError: a record cannot be written; or data that cannot be read, where the grid does not keep going.
        HashbenchError: workers end as soon as they are started.
    """
    execution, reporter = execution or Execution(), reporter or Reporter()
    records.check_writable()
    reporter.planned(len(cells))
    found = {cell.spec.key: record for cell in cells if (record := records.find(cell.spec))}
    again = {key for key, record in found.items() if execution.force or record.status in retry}
    for cell in cells:
        if cell.spec.key in found.keys() - again:
            reporter.finished(found[cell.spec.key], records.folder(cell.spec), True)
    unique = {cell.spec.key: cell for cell in cells if cell.spec.key not in found.keys() - again}
    plan = Plan(
        cells=tuple(unique.values()), results=records.root.absolute(), cache=cache or cache_dir(),
        redo=frozenset(again), since=_now(records.root), keep_going=keep_going, at_once=len(execution.places),
        lease=lease, models=execution.models,
    )  # fmt: skip
    if plan.cells:
        alone = execution.engine == "local" and not keep_going and min(len(execution.places), len(plan.cells)) == 1
        made = _alone(plan, execution, reporter) if alone else _together(plan, execution, reporter, [*found.values()])
        for record in made:
            found[record.key] = record
            reporter.finished(record, records.folder(record.spec), False)
    return [found[cell.spec.key] for cell in cells]


def _now(folder: Path) -> float:
    """The time by the clock of whoever stores the folder."""
    probe = folder / f".now.{uuid4().hex[:8]}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _prepare(plan: Plan, benches: Benches, reporter: Reporter) -> None:
    """Make the features that runs share, before the first of them."""
    methods: dict[str, dict[str, Cell]] = {}
    for cell in plan.cells:
        methods.setdefault(cell.setup.digest, {})[cell.spec.method] = cell
    for of in methods.values():
        try:
            bench = benches.of(next(iter(of.values())).setup)
            bench.compute_features(map(registry.methods.get, of), reporter)
        except HashbenchError:
            if not plan.keep_going:
                raise  # otherwise every run says it for itself


def _alone(plan: Plan, execution: Execution, reporter: Reporter) -> Iterator[Record]:
    """In this process; where others are at work on the same runs, theirs are awaited."""
    benches = Benches(plan.cache, execution.places[0])
    _prepare(plan, benches, reporter)
    reporter.starting(len(plan.cells), 1)
    waiting = {cell.spec.key: cell for cell in plan.cells}
    while waiting:
        for record in work(plan, benches, reporter):
            waiting.pop(record.key, None)
            yield record
        for key, cell in list(waiting.items()):
            if plan.made(cell):
                del waiting[key]
                yield read_record(Store(plan.results).folder(cell.spec) / "record.json")
        if waiting:
            time.sleep(LOOK_EVERY)


def _together(plan: Plan, execution: Execution, reporter: Reporter, known: Sequence[Record]) -> Iterator[Record]:
    """By workers that an engine starts."""
    folder = plan.results / WORK / uuid4().hex[:12]
    plan.write(folder / "plan.json")
    engine = open_engine(execution.engine, folder / "plan.json", execution.places, execution.engine_options)
    try:
        if engine.here:
            _prepare(plan, Benches(plan.cache, execution.places[0]), reporter)
        reporter.starting(len(plan.cells), min(len(execution.places), len(plan.cells)))
        yield from _watched(plan, engine, reporter, known)
    finally:
        engine.close()
    shutil.rmtree(folder, ignore_errors=True)  # after an error the logs stay


def _watched(plan: Plan, engine: Engine, reporter: Reporter, known: Sequence[Record]) -> Iterator[Record]:
    """Keep as many workers as there are places and runs to take, until every run has its record."""
    store, timing = Store(plan.results), Timing(known)
    waiting, workers = list(plan.cells), dict[int, Worker]()
    fruitless = 0  # workers that ended before their time since the last run was made
    try:
        while True:
            began = time.monotonic()
            for cell in [cell for cell in waiting if plan.made(cell)]:
                waiting.remove(cell)
                record = read_record(store.folder(cell.spec) / "record.json")
                timing.add(record)
                fruitless = 0
                yield record
            if not waiting:
                return
            for index, code in [(index, worker.poll()) for index, worker in workers.items()]:
                if code is None:
                    continue
                said = workers.pop(index).said()
                if code == DataError.exit_code:
                    raise DataError(said)
                fruitless += code != 0
                if fruitless > MOST_LOST * (len(engine.places) + 1):
                    raise HashbenchError(f"workers end before they finish anything: {said} ({engine.plan.parent})")
            held = [(cell.spec, now) for cell in waiting if (now := holder(store.folder(cell.spec), plan.lease))]
            free = len(waiting) - len(held)
            idle = [index for index in range(len(engine.places)) if index not in workers]
            if free and (wanted := idle[: max(len(waiting) - len(workers), 0)]):
                workers.update(zip(wanted, engine.start_many(wanted), strict=True))
            at_work = [(spec, time.time() - now.since, now.doing) for spec, now in held]
            left = timing.left([cell.spec for cell in waiting], at_work, len(engine.places))
            reporter.standing(Standing(len(waiting), at_work, left))
            time.sleep(max(LOOK_EVERY, engine.pause, 30 * (time.monotonic() - began)))  # looking costs little
    finally:
        with ThreadPoolExecutor(len(engine.places)) as at_once:
            list(at_once.map(lambda worker: worker.stop(), workers.values()))


class Timing:
    """How long runs take, from records of runs like them."""

    def __init__(self, records: Collection[Record] = ()) -> None:
        self._seconds: dict[tuple[Any, ...], list[float]] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> None:
        """Learn from a run that is done."""
        if record.status == "done" and "seconds" in record.cost:
            for kind in _kinds(record.spec):
                self._seconds.setdefault(kind, []).append(record.cost["seconds"])

    def of(self, spec: Spec) -> float | None:
        """Median seconds of the runs most like this one: alike but for the seed, or of the method at this code
        length, or of the method; None where there is none."""
        measured = next((self._seconds[kind] for kind in _kinds(spec) if kind in self._seconds), None)
        return statistics.median(measured) if measured else None

    def left(self, waiting: Sequence[Spec], at_work: Sequence[tuple[Spec, float, str]], workers: int) -> float | None:
        """Seconds until all are done; runs that nothing is known of count as the others do on average.

        None where nothing is known of any.
        """
        each = [self.of(spec) for spec in waiting]
        known = [seconds for seconds in each if seconds is not None]
        if not known:
            return None
        middle = statistics.fmean(known)
        spent = sum(min(seconds, self.of(spec) or middle) for spec, seconds, _ in at_work)
        return (sum(middle if seconds is None else seconds for seconds in each) - spent) / max(workers, 1)


def _kinds(spec: Spec) -> Iterator[tuple[Any, ...]]:
    """Descriptions of a spec, from the narrowest to the widest."""
    yield "alike", replace(spec, seed=0).key
    yield "length", spec.method, spec.dataset, str(spec.views), spec.tuning, spec.bits
    yield "method", spec.method, spec.dataset, str(spec.views), spec.tuning


def exit_code(records: Sequence[Record]) -> int:
    """0 when every run is done; 4 when the only run diverged; 5 when some are not done."""
    undone = [record for record in records if record.status != "done"]
    if not undone:
        return 0
    return Diverged.exit_code if len(records) == 1 and undone[0].status == "diverged" else CELLS_FAILED
