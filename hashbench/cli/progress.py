"""Progress: live bars on a terminal, plain lines in a pipe. Everything goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from hashbench.printing import decimals
from hashbench.runner import Reporter, Standing

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from hashbench.spec import Spec
    from hashbench.store import Record

SECONDS_BETWEEN_LINES = 5.0


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


class Meter:
    """Bars and lines; used as a context manager."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_line = 0.0

    def __enter__(self) -> Self:
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns: list[Any] = [TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()]
            self._bars = Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars:
            self._bars.stop()

    def show(self, slot: str, text: str, done: int, total: int) -> None:
        """``done`` of ``total``, in the bar of a slot."""
        if self.quiet:
            return
        if self._bars is not None:
            if slot not in self._tasks:
                self._tasks[slot] = self._bars.add_task(text, total=total)
            self._bars.update(self._tasks[slot], description=text, completed=done, total=total)
        elif done == total or time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            typer.echo(f"{text} {done}/{total}", err=True)

    def below(self, lines: Sequence[str]) -> None:
        """Lines under the bars, in place of those that stood there."""
        if self._bars is None:
            return
        for at, text in enumerate(lines):
            self.show(f"below {at}", text, 0, 1)
        for at in range(len(lines), len([slot for slot in self._tasks if slot.startswith("below ")])):
            self._bars.remove_task(self._tasks.pop(f"below {at}"))

    def line(self, text: str) -> None:
        """Say one line, above the bars where there are any."""
        if self.quiet:
            return
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False)
        else:
            typer.echo(text, err=True)


class Progress(Meter, Reporter):
    """Tells how far features, epochs and runs are."""

    def __init__(self, quiet: bool = False, labels: Mapping[str, str] | None = None) -> None:
        """``labels``: what to call the runs of a study, by key; method, bits and seed tell the others."""
        super().__init__(quiet)
        self._labels = dict(labels or {})
        self.total = self.finished_runs = self.failed_runs = 0

    def features(self, view: str, done: int, total: int) -> None:
        self.show("features", f"{view} features", done, total)

    def features_reused(self, view: str) -> None:
        self.line(f"{view} features: reused")

    def planned(self, runs: int) -> None:
        self.total += runs

    def starting(self, runs: int, at_once: int) -> None:
        if at_once > 1:
            self.line(f"{runs} runs to make, {at_once} at a time")

    def standing(self, standing: Standing) -> None:
        total = self.total - self.finished_runs
        rest = "" if standing.seconds_left is None else f", about {duration(standing.seconds_left)} left"
        failed = f", {self.failed_runs} not done" if self.failed_runs else ""
        done, at_work = self.finished_runs, standing.at_work
        if self.live:
            self.show("grid", f"{done} of {self.total} runs{failed}, {len(at_work)} at work{rest}", done, self.total)
            self.below([f"  {self._name(s)}: {doing or 'starting'} ({duration(t)})" for s, t, doing in at_work])
        elif total and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES * 6:
            self._last_line = time.monotonic()
            self.line(f"{done} of {self.total} runs{failed}, {len(at_work)} at work{rest}")

    def epoch(self, spec: Spec, phase: str, epoch: int, epochs: int) -> None:
        self.show("epoch", f"{self._name(spec)}: {phase}", epoch + 1, epochs)

    def finished(self, record: Record, folder: Path, reused: bool) -> None:
        self.finished_runs += 1
        self.failed_runs += record.status != "done"
        spec = record.spec
        scores = ", ".join(f"{task} {decimals(metrics['map@all'])}" for task, metrics in record.metrics.items())
        how = "reused" if reused else f"{record.cost.get('seconds', 0):.0f} s"
        what = scores if record.status == "done" else f"{record.status}: {record.reason}"
        self.line(f"[{self.finished_runs}/{self.total}] {self._name(spec)}: {what} ({how})")
        if not reused:
            for warning in record.warnings:
                self.line(f"    warning: {warning}")

    def _name(self, spec: Spec) -> str:
        return f"{self._labels.get(spec.key, spec.method)} {spec.bits} bits seed {spec.seed}"
