"""Workers as jobs of SLURM, by submitit; or, to try a study, as jobs of submitit's local executor."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hashbench.config import did_you_mean
from hashbench.engines import Engine, last_line, needed
from hashbench.engines.elsewhere import LOST, assigned, modules, take_part
from hashbench.errors import UsageError

MINUTES = 240
"""Time of a job where nothing is said; a worker whose time is up gives its run back, and another is started."""

CLUSTERS = ("slurm", "local")

TYPES: Mapping[str, tuple[str, type]] = {
    "timeout_min": ("timeout_min", int),
    "mem_gb": ("mem_gb", float),
    "cpus_per_task": ("cpus_per_task", int),
    "name": ("name", str),
    "array_parallelism": ("slurm_array_parallelism", int),
    "signal_delay_s": ("slurm_signal_delay_s", int),
}
"""Options that submitit has a word of its own for: its name of them and their type."""

GPUS = ("gpus", "gpus_per_node", "gpus_per_task", "gres")

OURS = ("array", "error", "nodes", "ntasks", "ntasks_per_node", "output", "signal", "tasks_per_node")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What a job gets before it is ended: cancelled, preempted, or its time nearly up."""

PATIENCE = 10.0
"""Seconds that jobs on this machine have to leave; those of SLURM have its KillWait."""

ASK_EVERY = 30.0
"""Seconds between two questions to SLURM."""


class Queue:
    """The user's jobs that wait or run. Unlike accounts of jobs, which submitit asks for, every SLURM has it."""

    def __init__(self) -> None:
        self._ids: set[str] | None = None
        self._asked = 0.0

    def renew(self) -> None:
        """Ask again before the next answer."""
        self._asked = 0.0

    def holds(self, job: str) -> bool:
        """Whether a job is in it, as far as is known."""
        if not self._asked or time.monotonic() - self._asked > ASK_EVERY:
            command = ["squeue", "--noheader", "--array", f"--user={os.getuid()}", "--format=%i"]
            found = subprocess.run(command, capture_output=True, text=True)
            if found.returncode == 0:  # else it is too busy to answer, which says nothing of the jobs
                self._ids = set(found.stdout.split())
            self._asked = time.monotonic()
        return self._ids is None or job in self._ids


class Job:
    """A worker that is a job, of SLURM where there is a queue and of this machine where there is none."""

    def __init__(self, job: Any, queue: Queue | None) -> None:
        self._job, self._queue = job, queue
        self._code: int | None = None
        self._said = ""

    def poll(self) -> int | None:
        if self._code is None and self._ended():
            self._code, self._said = self._outcome()
        return self._code

    def _ended(self) -> bool:
        if self._queue is None:
            return bool(self._job.done())
        return self._job.paths.result_pickle.exists() or not self._queue.holds(self._job.job_id)

    def _outcome(self) -> tuple[int, str]:
        if self._job.paths.result_pickle.exists() and self._job.exception() is None:
            code, said = self._job.result()
            return code, said
        return LOST, last_line(self._job.paths.stderr) or f"job {self._job.job_id} ended before its work"

    def stop(self) -> None:
        if self.poll() is not None:
            return
        if self._queue is None:
            os.kill(int(self._job.job_id), signal.SIGTERM)  # submitit's own way leaves it a second, and a traceback
        else:
            self._job.cancel(check=False)

    def said(self) -> str:
        return self._said


class Slurm(Engine):
    """One job a place; those that are started together are one array.

    Options: ``cluster`` (``local`` for jobs on this machine), those of :data:`TYPES`, ``setup`` (a command of the
    shell before the worker, such as ``module load cuda``), and every other one as ``sbatch`` has it: ``partition``,
    ``account``, ``qos``, ``constraint``, ``time``, ``gres``. SLURM chooses the GPU, one a worker where nothing is said.
    """

    pause = 5.0  # every look is one at files of a disk that nodes share

    def __init__(self, plan: Path, places: Sequence[str], options: Mapping[str, str]) -> None:
        super().__init__(plan, places, options)
        cluster = options.get("cluster", "slurm")
        if cluster not in CLUSTERS:
            raise UsageError(f"--engine-option cluster={cluster}: expected {' or '.join(CLUSTERS)}")
        given = {name.replace("-", "_"): value for name, value in options.items() if name != "cluster"}
        self.here = cluster == "local"
        parameters = self._local(given) if self.here else self._slurm(given)
        submitit: Any = needed("slurm", "submitit")
        logging.getLogger("submitit").setLevel(logging.CRITICAL)  # it would write to stdout
        try:
            self._executor = submitit.AutoExecutor(folder=plan.parent / "jobs", cluster=cluster)
        except RuntimeError as error:
            raise UsageError(
                "--engine slurm: there is no srun here; call it where jobs are submitted, or try a study on this "
                "machine with --engine-option cluster=local"
            ) from error
        self._executor.update_parameters(**parameters)
        self._failed: type[Exception] = submitit.core.utils.FailedJobError
        self._jobs: list[Job] = []
        self._queue = None if self.here else Queue()
        if self.here:
            self.pause = 0.0

    def _local(self, given: Mapping[str, str]) -> dict[str, Any]:
        for name in given:
            if name != "timeout_min":
                known = ("cluster", "timeout_min")
                raise UsageError(f"--engine-option {name}: a local job has none. {did_you_mean(name, known)}")
        indices = [int(place.partition(":")[2] or 0) for place in self.places if assigned(place) == "cuda"]
        return {"gpus_per_node": max(indices, default=-1) + 1, "timeout_min": MINUTES, **_typed(given)}

    def _slurm(self, given: Mapping[str, str]) -> dict[str, Any]:
        for name in given:
            if name in OURS:
                raise UsageError(f"--engine-option {name}: a worker is one task of one node; use --workers for more")
        parameters = {"name": "hashbench", "timeout_min": MINUTES, **_typed(given)}
        if "setup" in given:
            parameters["slurm_setup"] = [given["setup"]]
        flags: dict[str, Any] = {
            name: value == "true" or value for name, value in given.items() if name not in TYPES and name != "setup"
        }
        if any(assigned(place) == "cuda" for place in self.places) and not flags.keys() & set(GPUS):
            flags["gpus_per_node"] = 1
        return {**parameters, "slurm_additional_parameters": flags}

    def start(self, index: int) -> Job:
        return self.start_many([index])[0]

    def start_many(self, indices: Sequence[int]) -> list[Job]:
        devices = [place if self.here else assigned(place) for place in (self.places[index] for index in indices)]
        plans, paths = [str(self.plan)] * len(indices), [modules()] * len(indices)
        try:
            with _undisturbed():
                jobs = self._executor.map_array(work, plans, indices, devices, paths)
        except self._failed as error:
            said = [line for line in f"{error}".splitlines() if line.strip()]
            raise UsageError(f"--engine slurm: {said[-1] if said else 'sbatch refused the job'}") from error
        if self._queue:
            self._queue.renew()
        started = [Job(job, self._queue) for job in jobs]
        self._jobs += started
        return started

    def close(self) -> None:
        """Wait for jobs of this machine that were asked to leave."""
        ends = time.monotonic() + PATIENCE
        while self.here and time.monotonic() < ends and any(job.poll() is None for job in self._jobs):
            time.sleep(0.05)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until what is submitted is known, so that it can be cancelled; local jobs never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _typed(given: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for name, value in given.items():
        if name in TYPES:
            called, kind = TYPES[name]
            try:
                found[called] = kind(value)
            except ValueError:
                raise UsageError(f"--engine-option {name}={value}: expected {kind.__name__}") from None
    return found


def work(plan: str, index: int, device: str, path: Sequence[str]) -> tuple[int, str]:
    """What a job does: the worker, which gives its run back when the job is about to be ended."""
    for number in SIGNALS:
        signal.signal(number, _leave)
    try:
        return take_part(plan, index, device, path)
    except SystemExit as left:
        code = left.code if isinstance(left.code, int) else LOST
        return code, "the job was ended: cancelled, preempted, or past its time"


def _leave(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:  # the next one must not stop it from giving its run back
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)
