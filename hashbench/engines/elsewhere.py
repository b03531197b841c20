"""What a worker does that an engine starts in a Python of its own: a task of Ray, a job of SLURM."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hashbench.errors import DataError

TOLD = ("HASHBENCH_", "HF_", "TORCH_", "CUBLAS_", "OMP_", "MKL_", "OPENBLAS_")
"""Beginnings of the names of environment variables that say where things are or how sums are made."""


@dataclass(frozen=True)
class Surroundings:
    """What a worker sees as its parent does."""

    folder: str
    """Working directory, where relative paths begin."""
    path: tuple[str, ...]
    """Where modules and plug-ins are looked for; empty where the worker's machine has its own."""
    environment: dict[str, str]
    """Of the variables that the worker's machine sets too, only those that begin as :data:`TOLD` says count."""

    @classmethod
    def of_here(cls, *, whole: bool) -> Surroundings:
        """Those of this process; ``whole`` where the worker's machine is this one or set up as this one is."""
        told = {name: value for name, value in os.environ.items() if whole or name.startswith(TOLD)}
        return cls(str(Path.cwd()), tuple(filter(None, sys.path)) if whole else (), told)

    def enter(self) -> None:
        """Make them those of this process, before anything is imported that looks at them."""
        with suppress(OSError):  # a machine without this folder has absolute paths or none
            os.chdir(self.folder)
        sys.path[:] = [*self.path, *(entry for entry in sys.path if entry not in self.path)]
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it; sums in another order would be other codes
        for name, value in self.environment.items():
            os.environ[name] = value if name.startswith(TOLD) else os.environ.get(name, value)


def take_part(plan: str, index: int, device: str, surroundings: Surroundings) -> tuple[int, str]:
    """Work through a plan as :func:`hashbench.worker.work_through` does; exit code and complaint."""
    surroundings.enter()
    from hashbench.worker import work_through

    try:
        work_through(Path(plan), index, device)
    except DataError as error:
        return error.exit_code, str(error)
    return 0, ""


def assigned(place: str) -> str:
    """The device of a place where a scheduler chooses the GPU and shows the worker no other."""
    return place.partition(":")[0]
