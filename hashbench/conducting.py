"""Carrying out a study: its arms become runs, settings are chosen where it tunes, and every arm gets its result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hashbench import tuning
from hashbench.claims import LEASE, Holder, holder
from hashbench.config import Config, did_you_mean
from hashbench.errors import HashbenchError, UsageError
from hashbench.grid import Timing, carry_out, specs_of
from hashbench.paths import cache_dir
from hashbench.runner import Reporter
from hashbench.spec import Execution, Spec
from hashbench.store import Record, Store
from hashbench.studies import Arm, Study
from hashbench.worker import Benches, Cell


@dataclass(frozen=True)
class Trial:
    """An arm with its runs: under its own settings, and of every candidate of its tuning."""

    arm: Arm
    own: tuple[Cell, ...]
    """One a seed; none where the arm cannot be run."""
    candidates: Mapping[Config, tuple[Cell, ...]] = field(default_factory=dict)
    """Settings to their runs, one a seed of the tuning; the arm's own settings come first."""
    problem: str = ""
    """Why it cannot be run, such as weights that are not here."""

    def named(self) -> Iterator[tuple[str, Cell]]:
        """Every run with a name that tells it from the study's others."""
        for config, cells in self.candidates.items():
            own, tried = self.arm.config.key_fields(), config.key_fields()
            changed = " ".join(f"{name}={value}" for name, value in tried.items() if own.get(name) != value)
            yield from ((f"{self._name} try {changed}".rstrip(), cell) for cell in cells)
        yield from ((self._name, cell) for cell in self.own)

    @property
    def _name(self) -> str:
        choice = {name: value for name, value in self.arm.choice.items() if name != "bits"}
        return " ".join(map(str, choice.values())) or self.arm.method


@dataclass(frozen=True)
class Result:
    """What became of an arm."""

    trial: Trial
    untuned: tuple[Record, ...] = ()
    """Under its own settings, whatever their status."""
    tuned: tuple[Record, ...] = ()
    """Under the settings that won on validation queries; empty where nothing is tuned."""
    won: Mapping[str, Any] = field(default_factory=dict)
    """Settings in which the winner differs from the arm's own."""

    @property
    def arm(self) -> Arm:
        return self.trial.arm

    @property
    def records(self) -> tuple[Record, ...]:
        """The result proper: tuned where the study tunes."""
        return self.tuned or self.untuned

    @property
    def done(self) -> tuple[Record, ...]:
        """Those of the records that have numbers."""
        return tuple(record for record in self.records if record.status == "done")


def trials(study: Study, cache: Path | None = None, only: Sequence[str] = ()) -> list[Trial]:
    """The runs of every arm. Opens data and backbones for their digests, and computes nothing.

    Args:
        study: The study.
        cache: Folder of features and stages; the usual one where None.
        only: ``name=value[,value]``: arms whose choice, method or code length is one of these.

    Raises:
        UsageError: an arm makes no sense, or ``only`` leaves none.
    """
    benches, found = Benches(cache or cache_dir(), "cpu"), []
    for arm in _chosen(study.arms(), only):
        try:
            own = _cells(benches, arm, arm.config, study.seeds)
            tried = tuning.candidates(arm, study.tune) if study.tune else []
            seeds = study.tune.seeds if study.tune else ()
            found.append(Trial(arm, own, {config: _cells(benches, arm, config, seeds) for config in tried}))
        except HashbenchError as error:  # weights or data that are not here concern this arm alone
            found.append(Trial(arm, (), problem=str(error)))
    return found


def conduct(
    study: Study,
    planned: Sequence[Trial],
    records: Store,
    execution: Execution | None = None,
    reporter: Reporter | None = None,
    *,
    limit: int | None = None,
    retry: Collection[str] = (),
    cache: Path | None = None,
    lease: float = LEASE,
) -> list[Result]:
    """Carry out a study; what is done already is reused, and no failure stops the others.

    Args:
        study: The study.
        planned: Its :func:`trials`.
        records: Where records are and go.
        execution: Devices, workers, engine.
        reporter: Told about progress.
        limit: Make no more runs than that this time.
        retry: Statuses with which a run is made again, such as ``failed``.
        cache: Folder of features and stages; the usual one where None.
        lease: Seconds after which a silent worker is lost.

    Returns:
        One result a trial, in their order.

    Raises:
        DataError: records cannot be written.
    """
    left = limit

    def make(cells: Sequence[Cell]) -> None:
        nonlocal left
        if left is not None:
            fresh = {cell.spec.key: cell for cell in cells if not _is_there(records, cell, retry)}
            cells = list(fresh.values())[:left]
            left -= len(cells)
        if cells:
            carry_out(cells, records, execution, reporter, retry=retry, keep_going=True, cache=cache, lease=lease)

    make([cell for trial in planned for cells in (trial.own, *trial.candidates.values()) for cell in cells])
    if study.tune:
        make([cell for trial in planned for cell in _winner(trial, study, records)[1]])
    return results(study, planned, records)


def results(study: Study, planned: Sequence[Trial], records: Store) -> list[Result]:
    """What the records say of every arm so far."""
    found = []
    for trial in planned:
        result = Result(trial, _there(records, trial.own))
        if study.tune:
            config, cells = _winner(trial, study, records)
            if config is not None:
                own, best = trial.arm.config.key_fields(), config.key_fields()
                won = {name: value for name, value in best.items() if own.get(name) != value}
                result = replace(result, tuned=_there(records, cells), won=won)
        found.append(result)
    return found


def _winner(trial: Trial, study: Study, records: Store) -> tuple[Config | None, tuple[Cell, ...]]:
    """The settings that are best on validation queries, and their runs; None before all candidates are finished."""
    tried = [_there(records, cells) for cells in trial.candidates.values()]
    complete = all(len(of) == len(cells) for of, cells in zip(tried, trial.candidates.values(), strict=True))
    if not tried or not complete:
        return None, ()
    done = [[record for record in of if record.status == "done"] for of in tried]
    if not any(done):
        return None, ()
    metric = next(record for of in done for record in of).rules["metric"]
    best = tuning.choose([[record.validation for record in of] for of in done], metric)
    config, (cell, *_) = list(trial.candidates.items())[best]
    return config, tuple(replace(cell, spec=replace(cell.spec, seed=seed)) for seed in study.seeds)


def _chosen(arms: Sequence[Arm], only: Sequence[str]) -> list[Arm]:
    known = list(dict.fromkeys(name for arm in arms for name in _facts(arm)))
    for condition in only:
        name, equals, values = (part.strip() for part in condition.partition("="))
        if not equals or name not in known:
            raise UsageError(f"--only {condition!r}: expected name=value[,value]. {did_you_mean(name, known)}")
        arms = [arm for arm in arms if str(_facts(arm).get(name)) in values.split(",")]
        if not arms:
            raise UsageError(f"--only {condition!r}: no arm of the study is left")
    return list(arms)


def _facts(arm: Arm) -> dict[str, Any]:
    return {**arm.config.key_fields(), "method": arm.method, "bits": arm.bits, **arm.choice}


def _cells(benches: Benches, arm: Arm, config: Config, seeds: Sequence[int]) -> tuple[Cell, ...]:
    bench = benches.of(arm.setup)
    return tuple(Cell(arm.setup, spec) for spec in specs_of(bench, arm.method, config, [arm.bits], seeds))


def _is_there(records: Store, cell: Cell, retry: Collection[str]) -> bool:
    record = records.find(cell.spec)
    return record is not None and record.status not in retry


def _there(records: Store, cells: Sequence[Cell]) -> tuple[Record, ...]:
    return tuple(record for cell in cells if (record := records.find(cell.spec)))


@dataclass(frozen=True)
class Outlook:
    """Where a study stands, and what the rest of it takes."""

    statuses: Mapping[str, int]
    """Status to number of runs; ``to run`` are those that have no record and no worker."""
    at_work: Sequence[tuple[Spec, Holder]]
    unfinished: Sequence[Record]
    """Records that are not done, with their reasons."""
    problems: Mapping[str, str]
    """Arm to why it cannot be run."""
    seconds: float | None
    """One worker's time for the rest, by runs measured before; None where nothing is known."""
    bytes: int
    """What the records of the rest take on disk, by those measured before, else by their codes."""
    peak_bytes: float | None
    """Most memory that a run like these took."""
    after_tuning: int
    """Runs that follow once the settings are chosen, at most."""


def outlook(study: Study, planned: Sequence[Trial], records: Store, lease: float = LEASE) -> Outlook:
    """Where a study stands. Reads records and claims, and changes nothing."""
    winners = [_winner(trial, study, records)[1] if study.tune else () for trial in planned]
    cells = {
        cell.spec.key: cell
        for trial, won in zip(planned, winners, strict=True)
        for of in (trial.own, *trial.candidates.values(), won)
        for cell in of
    }
    found = {key: record for key, cell in cells.items() if (record := records.find(cell.spec))}
    rest = [cell.spec for key, cell in cells.items() if key not in found]
    at_work = [(spec, now) for spec in rest if (now := holder(records.folder(spec), lease))]
    counts = dict(Counter[str](record.status for record in found.values()))
    measured = records.read_all()[0]
    methods = {spec.method for spec in rest}
    like = [record for record in measured if record.spec.method in methods]
    sizes = [_bytes(records, record) for record in like if record.status == "done"]
    return Outlook(
        statuses={**counts, "at work": len(at_work), "to run": len(rest) - len(at_work)},
        at_work=at_work,
        unfinished=[record for record in found.values() if record.status != "done"],
        problems={trial.arm.label: trial.problem for trial in planned if trial.problem},
        seconds=Timing(measured).left(rest, [], 1),
        bytes=len(rest) * (max(sizes) if sizes else 200_000),
        peak_bytes=max((record.cost["peak_bytes"] for record in like if "peak_bytes" in record.cost), default=None),
        after_tuning=sum(len(t.own) for t, won in zip(planned, winners, strict=True) if study.tune and not won),
    )


def _bytes(records: Store, record: Record) -> int:
    """Of the files of a run, models apart, which studies keep only where they are asked to."""
    total = 0
    for file in records.folder(record.spec).iterdir():
        if file != records.model(record):
            with suppress(FileNotFoundError):  # written elsewhere at this moment
                total += file.stat().st_size
    return total
