"""What starts workers, here or elsewhere. What is done and who is at work stands in the results folder alone."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from hashbench.config import did_you_mean
from hashbench.errors import UsageError

ENGINES = {
    "local": "hashbench.engines.local:Local",
    "ray": "hashbench.engines.ray:Ray",
    "slurm": "hashbench.engines.slurm:Slurm",
}


class Worker(Protocol):
    """A worker that was started."""

    def poll(self) -> int | None:
        """Its exit code, None while it runs or waits for its turn."""
        ...

    def stop(self) -> None:
        """Ask it to leave; its run is given back."""
        ...

    def said(self) -> str:
        """The last line of what it complained of."""
        ...


class Engine(abc.ABC):
    """Starts workers for one plan."""

    here: bool = False
    """Whether its workers run on this machine, so that it may prepare what they share."""

    pause: float = 0.0
    """Least seconds between two looks at its workers, where looking is dear."""

    def __init__(self, plan: Path, places: Sequence[str], options: Mapping[str, str]) -> None:
        """
        Args:
            plan: File of the plan; workers read it, so it lies where they can.
            places: The device of every worker.
            options: What the user passes through to the engine.

        Raises:
            UsageError: the engine is not installed, or an option it does not know.
        """
        self.plan, self.places, self.options = plan, tuple(places), dict(options)

    @abc.abstractmethod
    def start(self, index: int) -> Worker:
        """Start worker ``index`` on its place."""

    def start_many(self, indices: Sequence[int]) -> Sequence[Worker]:
        """Start several at once, one after the other where the engine has no better way.

        Raises:
            UsageError: a scheduler refuses what the options ask for.
        """
        return [self.start(index) for index in indices]

    def close(self) -> None:  # noqa: B027 (most hold nothing)
        """Give back what the engine itself holds."""


def open_engine(name: str, plan: Path, places: Sequence[str], options: Mapping[str, str]) -> Engine:
    """The engine of a name.

    Raises:
        UsageError: no such engine, it is not installed, or an option that it does not know.
    """
    if name not in ENGINES:
        raise UsageError(f"--engine {name!r}: no such engine. {did_you_mean(name, ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Any = getattr(import_module(module), attribute)
    found: Engine = engine(plan, places, options)
    return found


def needed(engine: str, package: str) -> Any:
    """The package that an engine stands on.

    Raises:
        UsageError: it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"--engine {engine} needs: pip install 'hashbench[{engine}]'") from error


def last_line(log: Path) -> str:
    """The last line of a worker's log that says something."""
    try:
        lines = log.read_text("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
