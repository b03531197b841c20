"""What a worker does that an engine starts in a Python of its own: a task of Ray, a job of SLURM."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hashbench.errors import DataError

LOST = 1
"""Exit code of a worker that came to no end of its own."""


def modules() -> tuple[str, ...]:
    """Where this process looks for modules and plug-ins."""
    return tuple(filter(None, sys.path))


def take_part(plan: str, index: int, device: str, path: Sequence[str]) -> tuple[int, str]:
    """Work through a plan as :func:`hashbench.worker.work_through` does.

    Args:
        plan: File of the plan.
        index: Which of the workers this is.
        device: Where it computes.
        path: The parent's :func:`modules`; empty where the worker's machine has its own.

    Returns:
        Exit code and complaint.
    """
    sys.path[:] = [*path, *(entry for entry in sys.path if entry not in path)]
    from hashbench.worker import work_through

    try:
        work_through(Path(plan), index, device)
    except DataError as error:
        return error.exit_code, str(error)
    return 0, ""


def assigned(place: str) -> str:
    """The device of a place where a scheduler chooses the GPU and shows the worker no other."""
    return place.partition(":")[0]
