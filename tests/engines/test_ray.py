"""Ray as an engine: a local Ray makes the same records as one process does, whatever happens to its workers."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hashbench.engines import open_engine
from hashbench.engines.ray import Ray
from hashbench.errors import UsageError
from hashbench.grid import carry_out
from hashbench.runner import Reporter, Standing
from hashbench.spec import Execution
from hashbench.store import Store
from tests.test_grid import cells, outcome, times

RAY = Execution(engine="ray", workers=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray that thinks it has two GPUs, as a program that uses Ray itself has one."""
    import ray

    ray.init(
        "local", num_cpus=4, num_gpus=2, object_store_memory=100 * 2**20, include_dashboard=False,
        log_to_driver=False, logging_level=logging.ERROR,
    )  # fmt: skip
    yield ray
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_makes_what_one_process_makes(diary: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    alone = carry_out(cells(), Store(tmp_path / "alone"))
    capfd.readouterr()
    assert outcome(carry_out(cells(), Store(tmp_path / "ray"), RAY)) == outcome(alone)
    assert capfd.readouterr() == ("", "")
    assert times(diary) == {2}


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_is_replaced_and_its_run_made(diary: Path, tmp_path: Path) -> None:
    todo = [*cells([0], [0], deaths=1), *cells([1], [0, 1])]
    records = carry_out(todo, Store(tmp_path / "results"), RAY)
    assert [record.status for record in records] == ["done"] * 3
    assert sorted(diary.read_text().splitlines()) == ["0 16 0", "0 16 0", "1 16 0", "1 16 1"]
    assert not list((tmp_path / "results").rglob("claim.*"))


class Impatient(Reporter):
    """Presses Ctrl-C once a run is at work."""

    def standing(self, standing: Standing) -> None:
        if standing.at_work:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("cluster")
def test_an_interrupted_worker_gives_its_run_back(diary: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    with pytest.raises(KeyboardInterrupt):
        carry_out(cells([0], [0], seconds=20), store, Execution(engine="ray"), Impatient())
    assert not list(store.root.rglob("claim.*")) and not list(store.root.rglob("record.json"))


@pytest.mark.usefixtures("cluster", "diary")
def test_a_defect_of_a_worker_is_told_in_a_line(tmp_path: Path) -> None:
    engine = open_engine("ray", tmp_path / "no-plan.json", ["cpu"], {})
    worker = engine.start(0)
    while worker.poll() is None:
        time.sleep(0.05)
    engine.close()
    assert worker.poll() == 1 and worker.said().startswith("FileNotFoundError") and "no-plan.json" in worker.said()


@pytest.mark.usefixtures("cluster")
def test_ray_chooses_the_gpu_and_workers_of_a_place_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(plan: str, index: int, device: str, *surroundings: object) -> tuple[int, str]:
        import ray

        return (
            index,
            f"{device} {os.environ['CUDA_VISIBLE_DEVICES']} {ray.get_runtime_context().get_assigned_resources()}",
        )

    monkeypatch.setattr("hashbench.engines.ray.work", told)
    engine = open_engine("ray", tmp_path / "plan.json", ["cuda:0", "cuda:0", "cuda:7"], {"num_cpus": "0.5"})
    workers = engine.start_many([0, 1, 2])
    while any(worker.poll() is None for worker in workers):
        time.sleep(0.05)
    said = [worker.said() for worker in workers]
    engine.close()
    assert [worker.poll() for worker in workers] == [0, 1, 2]
    assert all(words.startswith(("cuda 0 ", "cuda 1 ")) and "'CPU': 0.5" in words for words in said)
    assert ["'GPU': 0.5" in words for words in said] == [True, True, False] and "'GPU': 1.0" in said[2]


@pytest.mark.usefixtures("cluster")
def test_more_gpus_than_there_are_is_said_and_not_awaited(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Ray sees 2 GPUs"):
        Ray(tmp_path / "plan.json", ["cuda"], {"num_gpus": "3"})


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ({"num_cpu": "1"}, "Did you mean 'num_cpus'"),
        ({"num_cpus": "many"}, "expected a whole number"),
        ({"num_gpus": "1.5"}, "expected a whole number"),
        ({"num_gpus": "-1"}, "expected a whole number"),
    ],
)
def test_an_option_must_make_sense(tmp_path: Path, option: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        Ray(tmp_path / "plan.json", ["cpu"], option)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port", "nowhere"])
def test_an_address_where_no_ray_is_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(UsageError, match=f"no Ray to join at {address}"):
        Ray(tmp_path / "plan.json", ["cpu"], {"address": address})


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--engine ray needs: pip install 'hashbench\[ray\]'"):
        open_engine("ray", tmp_path / "plan.json", ["cpu"], {})


STUDY = """
question = "Does it run?"
[fixed]
method = "random"
bits = 8
dataset = "shapes"
image_backbone = "lite@32"
text_backbone = "bow"
"""


def test_one_is_started_where_there_is_none_and_nothing_is_left_of_it(stranger: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    with tempfile.TemporaryDirectory(prefix="ray") as place:  # sockets need a short name
        seen = {**os.environ, "PYTHONPATH": str(stranger), "RAY_TMPDIR": place, "HASHBENCH_RESULTS": "results"}
        words = ["grid", "study.toml", "--engine", "ray", "--workers", "1", "--json"]
        done = subprocess.run(
            [sys.executable, "-m", "hashbench", *words], cwd=tmp_path, env=seen, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"] and not done.stderr
        assert Path(place, "ray").exists(), "it was Ray"
        for _ in range(100):
            if subprocess.run(["pgrep", "-f", place], capture_output=True).returncode:
                return
            time.sleep(0.1)
    pytest.fail("Ray was left behind")
