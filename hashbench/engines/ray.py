"""Workers as tasks of Ray, on a cluster or on this machine."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hashbench.config import did_you_mean
from hashbench.engines import Engine, needed
from hashbench.engines.elsewhere import LOST, assigned, modules, take_part
from hashbench.errors import UsageError

OPTIONS = ("address", "num_cpus", "num_gpus")

PATIENCE = 10.0
"""Seconds that workers have to leave before they are killed."""

OBJECT_STORE = 100 * 2**20
"""Bytes; nothing but exit codes goes through it."""

TOLD = ("HASHBENCH_", "HF_", "TORCH_", "CUBLAS_", "OMP_", "MKL_", "OPENBLAS_")
"""Beginnings of the names of environment variables that say where things are or how sums are made."""


class Task:
    """A worker that is a task."""

    def __init__(self, ray: Any, promise: Any) -> None:
        self.promise = promise
        self._ray = ray
        self._code: int | None = None
        self._said = ""

    def poll(self) -> int | None:
        if self._code is None and self._ray.wait([self.promise], timeout=0)[0]:
            self._code, self._said = self._outcome()
        return self._code

    def _outcome(self) -> tuple[int, str]:
        try:
            code, said = self._ray.get(self.promise)
            return code, said
        except self._ray.exceptions.RayTaskError as error:  # a defect; its traceback would fill the screen
            return LOST, f"{type(error.cause).__name__}: {error.cause}".splitlines()[0]
        except self._ray.exceptions.RayError as error:  # killed, for memory or with its node
            return LOST, f"{error}".strip().splitlines()[0]

    def stop(self) -> None:
        if self.poll() is None:
            self._ray.cancel(self.promise)  # a KeyboardInterrupt in it, which unwinds

    def said(self) -> str:
        return self._said


class Ray(Engine):
    """One task a place, on the cluster of an address, or on a Ray that is started here for this plan.

    Options: ``address`` (RAY_ADDRESS where it is not given; ``auto`` joins what runs here, ``local`` starts one), and
    ``num_cpus`` and ``num_gpus`` of a worker. Ray chooses the GPU; as many workers share one as there are of the
    same place.
    """

    def __init__(self, plan: Path, places: Sequence[str], options: Mapping[str, str]) -> None:
        super().__init__(plan, places, options)
        for name in options:
            if name not in OPTIONS:
                raise UsageError(f"--engine-option {name}: the ray engine has none. {did_you_mean(name, OPTIONS)}")
        self._cpus, self._gpus = self._number("num_cpus"), self._number("num_gpus")
        self._ray: Any = needed("ray", "ray")
        self._tasks: list[Task] = []
        self._own = not self._ray.is_initialized()
        if self._own and not self._joined():
            self._start()
        hosts = {node["NodeManagerHostname"] for node in self._ray.nodes() if node["Alive"]}
        self.here = hosts == {socket.gethostname()}
        self._path = modules() if self.here else ()
        self._told = {name: value for name, value in os.environ.items() if self.here or name.startswith(TOLD)}
        self._work = self._ray.remote(max_retries=0, max_calls=1)(work)
        there = self._ray.cluster_resources().get("GPU", 0)
        if self.here and max(map(self._share, self.places)) > there:  # elsewhere more nodes may come
            self.close()
            raise UsageError(f"--devices {','.join(self.places)}: Ray sees {there:g} GPUs on this machine")

    def _number(self, name: str) -> float | None:
        if name not in self.options:
            return None
        try:
            number = float(self.options[name])
        except ValueError:
            number = -1.0
        if not 0 <= number < math.inf or (number > 1 and number % 1):
            raise UsageError(
                f"--engine-option {name}={self.options[name]}: expected a whole number, or a share such as 0.5"
            )
        return number

    def _joined(self) -> bool:
        address = self.options.get("address") or os.environ.get("RAY_ADDRESS") or "local"
        if address == "local":
            return False
        try:
            if ":" in address:  # Ray itself would knock for a quarter of an hour
                host, _, port = address.rpartition("/")[2].rpartition(":")
                socket.create_connection((host, int(port)), PATIENCE).close()
            self._ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, RuntimeError, ValueError) as error:  # gone, of another version, or no address at all
            reason = f"{error}".strip().splitlines()[0]
            hint = "a cluster that asks for a token wants RAY_AUTH_MODE=token"
            raise UsageError(f"--engine ray: no Ray to join at {address}: {reason} ({hint})") from error
        return True

    def _start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # what runs here is nobody else's business
        wanted = math.ceil(len(self.places) * (1 if self._cpus is None else self._cpus))
        self._ray.init(
            "local", num_cpus=max(wanted, os.cpu_count() or 1), object_store_memory=OBJECT_STORE,
            include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip

    def _share(self, place: str) -> float:
        """GPUs of a worker, in the ten thousandths that Ray counts in."""
        if self._gpus is not None:
            return self._gpus
        return math.floor(1e4 / self.places.count(place)) / 1e4 if assigned(place) == "cuda" else 0.0

    def start(self, index: int) -> Task:
        place = self.places[index]
        work = self._work.options(
            num_cpus=1 if self._cpus is None else self._cpus, num_gpus=self._share(place), name=f"hashbench-{index}"
        )
        promise = work.remote(str(self.plan), index, assigned(place), self._path, str(Path.cwd()), self._told)
        self._tasks.append(Task(self._ray, promise))
        return self._tasks[-1]

    def close(self) -> None:
        """Wait for workers that were asked to leave, kill those that do not, and leave Ray."""
        left = [task.promise for task in self._tasks if task.poll() is None]
        if left:
            _, left = self._ray.wait(left, num_returns=len(left), timeout=PATIENCE)
        for promise in left:
            self._ray.cancel(promise, force=True)
        if self._own:
            self._ray.shutdown()


def work(
    plan: str, index: int, device: str, path: Sequence[str], folder: str, told: Mapping[str, str]
) -> tuple[int, str]:
    """What a task does: the worker, in its parent's working directory and with its parent's environment.

    Of the variables that the task has already, such as CUDA_VISIBLE_DEVICES, only those of :data:`TOLD` are replaced.
    """
    with suppress(OSError):  # a machine without this folder has absolute paths or none
        os.chdir(folder)
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it; sums in another order would be other codes
    for name, value in told.items():
        os.environ[name] = value if name.startswith(TOLD) else os.environ.get(name, value)
    return take_part(plan, index, device, path)
