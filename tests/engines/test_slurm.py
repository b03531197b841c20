"""SLURM as an engine: submitit's local executor makes the same records as one process does, and arrays are arrays."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hashbench import claims
from hashbench.engines import open_engine, slurm
from hashbench.engines.slurm import Slurm
from hashbench.errors import UsageError
from hashbench.grid import carry_out
from hashbench.spec import Execution
from hashbench.store import Store
from hashbench.worker import Plan
from tests.test_grid import cells, outcome, times

LOCAL = Execution(engine="slurm", workers=2, engine_options={"cluster": "local"})


def test_makes_what_one_process_makes(diary: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alone = carry_out(cells(), Store(tmp_path / "alone"))
    capfd.readouterr()
    assert outcome(carry_out(cells(), Store(tmp_path / "slurm"), LOCAL)) == outcome(alone)
    assert capfd.readouterr() == ("", "")
    assert times(diary) == {2}


def test_a_killed_job_is_replaced_and_its_run_made(diary: Path, tmp_path: Path) -> None:
    todo = [*cells([0], [0], deaths=1), *cells([1], [0, 1])]
    records = carry_out(todo, Store(tmp_path / "results"), LOCAL)
    assert [record.status for record in records] == ["done"] * 3
    assert sorted(diary.read_text().splitlines()) == ["0 16 0", "0 16 0", "1 16 0", "1 16 1"]
    assert not list((tmp_path / "results").rglob("claim.*"))


@pytest.mark.parametrize("blow", ["time", "cancel"])
def test_a_job_that_must_end_gives_its_run_back(diary: Path, tmp_path: Path, blow: str) -> None:
    """SLURM sends USR2 some time before a job's time is up, and TERM when it is cancelled."""
    (cell,) = todo = cells([0], [0], seconds=600)
    plan = Plan(cells=tuple(todo), results=tmp_path / "results", cache=Path(os.environ["HASHBENCH_CACHE"]))
    plan.write(tmp_path / "plan.json")
    engine = open_engine("slurm", tmp_path / "plan.json", ["cpu"], {"cluster": "local"})
    job = engine.start(0)
    folder = Store(plan.results).folder(cell.spec)
    while (holder := claims.holder(folder)) is None or not diary.exists():
        assert job.poll() is None, job.said()
        time.sleep(0.05)
    if blow == "time":
        os.kill(holder.pid, signal.SIGUSR2)
    else:
        job.stop()
    engine.close()
    assert job.poll() == 128 + (signal.SIGUSR2 if blow == "time" else signal.SIGTERM) and "past its time" in job.said()
    assert not list(folder.glob("claim.*")) and not (folder / "record.json").exists()


SBATCH = """#!{python}
import os, re, subprocess, sys
from pathlib import Path
log, queue = Path({log!r}), Path({queue!r})
number = 100 + len(list(log.iterdir()))
script = Path(sys.argv[1])
(log / str(number)).write_text(script.read_text())
array = re.search(r"--array=0-(\\d+)", script.read_text())
for task in range(int(array[1]) + 1) if array else [None]:
    whole = str(number) if task is None else f"{{number}}_{{task}}"
    seen = {{"SLURM_JOB_ID": str(number)}}
    if task is not None:
        seen |= {{"SLURM_ARRAY_JOB_ID": str(number), "SLURM_ARRAY_TASK_ID": str(task)}}
    (queue / whole).touch()
    subprocess.Popen(["bash", "-c", 'bash "$1"; rm "$2"', "job", script, queue / whole],
                     env={{**os.environ, **seen}}, start_new_session=True,
                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(f"Submitted batch job {{number}}")
"""

SRUN = """#!/bin/bash
while [ "$1" != "{python}" ]; do shift; done
exec "$@"
"""

SQUEUE = """#!/bin/sh
ls {queue}
"""


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Programs by the names of SLURM's, with no more to them than that they run what is submitted, and keep it."""
    programs = tmp_path / "bin"
    folders = {"log": str(tmp_path / "submitted"), "queue": str(tmp_path / "queue")}
    for folder in (programs, *map(Path, folders.values())):
        folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("squeue", SQUEUE), ("scancel", "#!/bin/sh\n")):
        (programs / name).write_text(text.format(python=sys.executable, **folders))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "submitted"


def test_workers_started_together_are_one_array_and_a_lost_one_is_replaced(
    diary: Path, tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Slurm, "pause", 0.0)
    monkeypatch.setattr(slurm, "ASK_EVERY", 0.5)
    options = {
        "partition": "short", "time": "01:00:00", "mem_gb": "3.5", "array_parallelism": "2", "mail-type": "END",
        "exclusive": "true", "setup": "export MODULES=cuda",
    }  # fmt: skip
    todo = [*cells([0], [0], deaths=2), *cells([1], [0])]  # two of the array may die of it, and then there is none
    records = carry_out(todo, Store(tmp_path / "results"), Execution(engine="slurm", workers=3, engine_options=options))
    assert [record.status for record in records] == ["done"] * 2
    assert sorted(diary.read_text().splitlines()) == ["0 16 0", "0 16 0", "0 16 0", "1 16 0"]
    first, *others = (file.read_text().splitlines() for file in sorted(scheduler.iterdir()))
    flags = {line.removeprefix("#SBATCH ") for line in first if line.startswith("#SBATCH")}
    expected = {
        "--array=0-1%2", "--partition=short", "--time=01:00:00", "--mem=3584MB", "--mail-type=END", "--exclusive",
        "--job-name=hashbench",
    }  # fmt: skip
    assert expected <= flags and not any("gpu" in flag for flag in flags) and "export MODULES=cuda" in first
    assert others, "of the two none is left"


@pytest.mark.parametrize("said", [{}, {"gres": "gpu:a100:1"}])
def test_a_gpu_is_asked_for_where_workers_compute_on_one(tmp_path: Path, scheduler: Path, said: dict[str, str]) -> None:
    engine = Slurm(tmp_path / "plan.json", ["cuda:3"], said)
    engine.start(0)
    (script,) = (file.read_text() for file in scheduler.iterdir())
    assert ("--gpus-per-node=1" in script) == (not said) and ("--gres=gpu:a100:1" in script) == bool(said)


def test_what_sbatch_refuses_is_told_in_its_words(tmp_path: Path, scheduler: Path) -> None:
    refusal = "#!/bin/sh\necho 'sbatch: error: invalid partition specified: shrt' >&2\nexit 1\n"
    (tmp_path / "bin" / "sbatch").write_text(refusal)
    with pytest.raises(UsageError, match=r"--engine slurm: sbatch: error: invalid partition specified: shrt$"):
        Slurm(tmp_path / "plan.json", ["cpu"], {"partition": "shrt"}).start(0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cluster": "lokal"}, "expected slurm or local"),
        ({"cluster": "local", "partition": "gpu"}, "a local job has none"),
        ({"cluster": "local", "timeout_min": "1h"}, "expected int"),
        ({"nodes": "2"}, "--workers"),
        ({"ntasks-per-node": "2"}, "--workers"),
    ],
)
def test_an_option_must_make_sense(tmp_path: Path, options: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Slurm(tmp_path / "plan.json", ["cpu"], options)


def test_without_slurm_or_the_package_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="cluster=local"):
        Slurm(tmp_path / "plan.json", ["cpu"], {})
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UsageError, match=r"--engine slurm needs: pip install 'hashbench\[slurm\]'"):
        open_engine("slurm", tmp_path / "plan.json", ["cpu"], {})
