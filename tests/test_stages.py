"""Stages on disk: what was kept comes back, and what is damaged counts as absent."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hashbench.method import Run, Stage
from hashbench.stages import StageFiles

EVENTS: list[dict[str, Any]] = [
    {"phase": "teacher", "epoch": 0, "phi1": 0.1 + 0.2, "tiny": 5e-324},
    {"warning": "Φ1 is 0.95 of a constant's", "values": [1, None, True]},
]
TENSORS = {
    "net.0.weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
    "double": torch.tensor([0.1, float("inf")], dtype=torch.float64),
    "count": torch.tensor(7),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "empty": torch.zeros(0, 8),
}


def _same(a: Stage, b: Stage) -> None:
    assert a.tensors.keys() == b.tensors.keys()
    for name in a.tensors:
        assert a.tensors[name].dtype == b.tensors[name].dtype
        assert torch.equal(a.tensors[name], b.tensors[name])
    assert a.events == b.events


def test_round_trip(tmp_path: Path) -> None:
    kept = Stage(TENSORS, EVENTS)
    StageFiles(tmp_path / "stages")["ab12"] = kept
    _same(StageFiles(tmp_path / "stages")["ab12"], kept)


def test_it_is_a_mapping(tmp_path: Path) -> None:
    stages = StageFiles(tmp_path / "none yet")
    assert (list(stages), len(stages), "a" in stages) == ([], 0, False)
    for key in ("b", "a"):
        stages[key] = Stage({"x": torch.zeros(1)}, [{"made": key}])
    stages["a"] = Stage({"x": torch.ones(2)}, [])
    assert (list(stages), len(stages)) == (["a", "b"], 2)
    assert stages["a"].tensors["x"].tolist() == [1, 1]
    assert stages["b"].events == [{"made": "b"}]
    del stages["a"]
    assert "a" not in stages
    for absent in (lambda: stages["a"], lambda: stages.__delitem__("a")):
        with pytest.raises(KeyError):
            absent()


def _cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def _without_events(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, file)


def _with_broken_events(file: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, file, {"events": "[{"})


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: _cut(file, 0),
        lambda file: _cut(file, 0.01),
        lambda file: _cut(file, 0.5),
        lambda file: _cut(file, 0.99),
        lambda file: file.write_bytes(b"\xff" * 1000),
        _without_events,
        _with_broken_events,
    ],
)
def test_a_damaged_file_counts_as_absent_and_is_made_again(tmp_path: Path, damage: Any) -> None:
    stages = StageFiles(tmp_path)
    stages["key"] = Stage(TENSORS, EVENTS)
    (file,) = tmp_path.iterdir()
    damage(file)
    assert "key" not in stages
    assert stages.get("key") is None
    stages["key"] = Stage(TENSORS, EVENTS)
    _same(stages["key"], Stage(TENSORS, EVENTS))


def test_a_run_makes_a_stage_once_and_remembers_what_it_logged(tmp_path: Path) -> None:
    made: list[int] = []

    def run_once() -> tuple[Tensor, list[dict[str, Any]]]:
        run = Run(8, stages=StageFiles(tmp_path))

        def make() -> dict[str, Tensor]:
            made.append(1)
            run.log(loss=0.1 + 0.2)
            return {"x": torch.randn(4, 3).T}  # not contiguous

        run.log(phase="before")
        return run.stage("teacher", {"lr": 0.1}, make)["x"], run.events

    (first, first_events), (second, second_events) = run_once(), run_once()
    assert len(made) == 1
    assert torch.equal(first, second)
    assert first_events == second_events == [{"phase": "before"}, {"loss": 0.1 + 0.2}]


def _makes(folder: Path, diary: Path) -> None:
    files = StageFiles(folder)
    run = Run(bits=8, stages=files, making=files.making)

    def make() -> dict[str, torch.Tensor]:
        with diary.open("a") as lines:
            lines.write("made\n")
        time.sleep(0.3)
        return {"codes": torch.ones(2)}

    assert run.stage("teacher", {"alpha": 1}, make)["codes"].tolist() == [1.0, 1.0]


def test_of_processes_that_need_the_same_stage_one_makes_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_makes, args=(tmp_path / "stages", tmp_path / "diary")) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "diary").read_text() == "made\n"
