"""Workers as processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hashbench.engines import Engine, last_line
from hashbench.errors import UsageError

PATIENCE = 10.0
"""Seconds that a worker has to leave before it is killed."""


class Process:
    """A worker that is a process."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        return last_line(self._log)


class Local(Engine):
    """One process a place; they end with their parent, however it goes."""

    here = True

    def __init__(self, plan: Path, places: Sequence[str], options: Mapping[str, str]) -> None:
        super().__init__(plan, places, options)
        if options:
            raise UsageError(f"--engine-option {next(iter(options))}: the local engine has none")

    def start(self, index: int) -> Process:
        log = self.plan.with_name(f"worker-{index}.log")
        command = [sys.executable, "-m", "hashbench.worker", str(self.plan), str(index), self.places[index]]
        seen = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # workers see the same plug-ins
        with log.open("ab") as said:
            process = subprocess.Popen(
                [*command, str(os.getpid())], env=seen, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            )  # fmt: skip
        return Process(process, log)
