"""Claims: one holder at a time, lost ones are taken over once, and nothing is left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hashbench.claims import Claim, claim, claimed, holder

LEASE = 30.0


def _lost(folder: Path, generation: int = 0, *, host: str = "", pid: int | None = None, age: float = 0.0) -> Path:
    """A claim as a worker leaves it that was killed."""
    if pid is None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        pid = ended.pid
    file = folder / f"claim.{generation}"
    folder.mkdir(exist_ok=True)
    file.write_text(json.dumps({"host": host or socket.gethostname(), "pid": pid, "since": 0.0, "doing": ""}))
    os.utime(file, (time.time() - age,) * 2)
    return file


def _claim(folder: Path) -> Claim:
    found = claim(folder, LEASE)
    assert found
    return found


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    first = _claim(tmp_path)
    assert claim(tmp_path, LEASE) is None
    first.release()
    assert list(tmp_path.iterdir()) == []
    _claim(tmp_path).release()


def test_others_see_who_holds_it_and_what_it_does(tmp_path: Path) -> None:
    assert holder(tmp_path, 0.6) is None
    with claimed(tmp_path, 0.6) as mine:
        assert mine
        mine.doing = "student 3/30"
        deadline = time.monotonic() + 10
        while (seen := holder(tmp_path, 0.6)) and seen.doing != "student 3/30" and time.monotonic() < deadline:
            time.sleep(0.02)
        assert seen and (seen.host, seen.pid, seen.doing) == (socket.gethostname(), os.getpid(), "student 3/30")
    assert holder(tmp_path, 0.6) is None


def test_a_dead_process_of_this_machine_is_lost_at_once(tmp_path: Path) -> None:
    _lost(tmp_path)
    assert holder(tmp_path, LEASE) is None
    assert _claim(tmp_path).lost_before == 1


@pytest.mark.parametrize("age", [0.0, 29.0, 31.0])
def test_another_machine_is_lost_after_the_lease(tmp_path: Path, age: float) -> None:
    _lost(tmp_path, host="elsewhere", age=age)
    assert (claim(tmp_path, LEASE) is not None) == (age > LEASE)


def test_a_holder_shows_signs_of_life(tmp_path: Path) -> None:
    mine = claim(tmp_path, 0.3)
    assert mine
    mine.file.write_text(mine.file.read_text().replace(socket.gethostname(), "elsewhere"))  # age alone tells
    for _ in range(10):
        time.sleep(0.1)
        assert claim(tmp_path, 0.3) is None
    mine.release()


def test_every_lost_worker_counts_and_is_cleared_away(tmp_path: Path) -> None:
    for generation in range(3):
        _lost(tmp_path, generation)
    mine = _claim(tmp_path)
    assert mine.lost_before == 3
    mine.release()
    assert list(tmp_path.iterdir()) == []


def test_half_a_claim_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    (tmp_path / "claim.0").write_text('{"host": "')
    assert claim(tmp_path, LEASE) is None
    assert claim(tmp_path, 0.0) is not None


def _race(folder: Path, rounds: int, wins: Path, all_done: Any) -> None:
    all_done.wait()
    for turn in range(rounds):
        if claim(folder / str(turn), LEASE):
            with (wins / str(turn)).open("a") as file:
                file.write(f"{os.getpid()}\n")
    all_done.wait()  # a racer that ended would be lost, and another might rightly take over


@pytest.mark.parametrize("begin", ["free", "lost"])
def test_of_many_that_want_it_one_gets_it(tmp_path: Path, begin: str) -> None:
    runs, wins = tmp_path / "runs", tmp_path / "wins"
    wins.mkdir()
    for turn in range(40):
        (runs / str(turn)).mkdir(parents=True)
        if begin == "lost":
            _lost(runs / str(turn), pid=2**22 + 1)  # more than Linux gives out
    context = multiprocessing.get_context("fork")
    all_done = context.Barrier(6)
    racers = [context.Process(target=_race, args=(runs, 40, wins, all_done)) for _ in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert [len((wins / str(turn)).read_text().split()) for turn in range(40)] == [1] * 40
