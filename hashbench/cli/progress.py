"""Progress: live bars on a terminal, plain lines in a pipe. Everything goes to stderr."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from hashbench.cli.output import decimals
from hashbench.runner import Reporter

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from hashbench.spec import Spec
    from hashbench.store import Record

SECONDS_BETWEEN_LINES = 5.0


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

    def __init__(self, total: int, quiet: bool = False) -> None:
        super().__init__(quiet)
        self.total, self.finished_runs = total, 0

    def features(self, view: str, done: int, total: int) -> None:
        self.show("features", f"{view} features", done, total)

    def features_reused(self, view: str) -> None:
        self.line(f"{view} features: reused")

    def starting(self, runs: int, at_once: int) -> None:
        if at_once > 1:
            self.line(f"{runs} runs to make, {at_once} at a time")

    def epoch(self, spec: Spec, phase: str, epoch: int, epochs: int) -> None:
        name = f"{spec.method} {spec.bits} bits seed {spec.seed}"
        self.show("epoch", f"{name}: {phase}", epoch + 1, epochs)

    def finished(self, record: Record, folder: Path, reused: bool) -> None:
        self.finished_runs += 1
        spec = record.spec
        scores = ", ".join(f"{task} {decimals(metrics['map@all'])}" for task, metrics in record.metrics.items())
        how = "reused" if reused else f"{record.cost.get('seconds', 0):.0f} s"
        what = scores if record.status == "done" else f"{record.status}: {record.reason}"
        self.line(
            f"[{self.finished_runs}/{self.total}] {spec.method} {spec.bits} bits seed {spec.seed}: {what} ({how})"
        )
        if not reused:
            for warning in record.warnings:
                self.line(f"    warning: {warning}")
