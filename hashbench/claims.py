"""Who works on a run: claims on its folder, so that any number of processes and machines share one results folder.

A claim is a file ``claim.G`` that only one process can create. Its holder touches it all the time; one that was not
touched for a lease, or whose process is gone from this machine, is lost, and whoever creates ``claim.G+1`` takes over.
Files are never renamed or stolen, so two can never both believe that they took over, and G counts lost workers.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

LEASE = 60.0
"""Seconds without a sign of life after which a claim is lost."""

NAME = "claim."


@dataclass(eq=False)
class Claim:
    """The right to work on one run, kept alive by a thread until it is released."""

    file: Path
    lease: float
    lost_before: int
    """Workers that were lost on this run."""
    doing: str = ""
    """What the holder is doing, for whoever looks on."""
    _ended: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Show signs of life from now on."""
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        told = ""
        while not self._ended.wait(self.lease / 6):
            with suppress(OSError):  # a share that is gone for a moment; the lease is longer
                if self.doing != told:
                    told = self.doing
                    self.file.write_text(_about(told))
                else:
                    os.utime(self.file)

    def release(self) -> None:
        """End the claim, and clear away those that were lost before it."""
        self._ended.set()
        for generation in range(self.lost_before):
            self.file.with_name(f"{NAME}{generation}").unlink(missing_ok=True)
        self.file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Holder:
    """Who works on a run, as others see it."""

    host: str
    pid: int
    since: float
    """Seconds since 1970, by the holder's clock."""
    doing: str


def claim(folder: Path, lease: float = LEASE) -> Claim | None:
    """The right to work on the run of a folder, or None while somebody else has it.

    Whoever gets it must look for the run's record again: it may have been finished meanwhile.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = _latest(folder)
    if last is not None and _alive(last, lease):
        return None
    generation = 0 if last is None else _generation(last) + 1
    file = folder / f"{NAME}{generation}"
    try:
        with file.open("x") as made:
            made.write(_about(""))
    except FileExistsError:  # another was faster
        return None
    if _latest(folder) != file:  # somebody took over from one that we did not see
        file.unlink(missing_ok=True)
        return None
    found = Claim(file, lease, generation)
    found.keep()
    return found


@contextmanager
def claimed(folder: Path, lease: float = LEASE) -> Iterator[Claim | None]:
    """:func:`claim` for the length of a block."""
    found = claim(folder, lease)
    try:
        yield found
    finally:
        if found:
            found.release()


def holder(folder: Path, lease: float = LEASE) -> Holder | None:
    """Who works on the run of a folder now; None when nobody does, or whoever did is lost."""
    last = _latest(folder)
    if last is None or not _alive(last, lease):
        return None
    with suppress(OSError, ValueError, TypeError, KeyError):
        about = json.loads(last.read_text())
        return Holder(about["host"], about["pid"], about["since"], about["doing"])
    return Holder("?", 0, time.time(), "")  # being written


def _latest(folder: Path) -> Path | None:
    found = [file for file in folder.glob(f"{NAME}*") if file.name[len(NAME) :].isdecimal()]
    return max(found, key=_generation, default=None)


def _generation(file: Path) -> int:
    return int(file.name[len(NAME) :])


def _alive(file: Path, lease: float) -> bool:
    try:
        about = json.loads(file.read_text())
        if about["host"] == socket.gethostname() and not _runs(about["pid"]):
            return False
    except (OSError, ValueError, TypeError, KeyError):
        pass  # being written this moment, or its writer died before it could: its age tells
    try:
        return _now(file.parent) - file.stat().st_mtime < lease
    except FileNotFoundError:
        return False


def _now(folder: Path) -> float:
    """The time by the clock of whoever stores the folder, which stamps the claims: no other clock compares with it."""
    probe = folder / f".now.{uuid4().hex[:8]}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    """Whether the process ended and waits for its parent to notice."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


def _about(doing: str) -> str:
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), "doing": doing})
