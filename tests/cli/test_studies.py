"""``hashbench ablate``, ``grid`` and ``status`` on a small study: what they print, write and return."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hashbench import studies

from .conftest import Hashbench

STUDY = """
question = "Does the method matter?"
figures = ["components"]
[fixed]
dataset = "shapes"
image_backbone = "lite@32"
text_backbone = "bow"
bits = 16
[axes]
method = ["random", "counted"]
seed = [0, 1]
[compare]
against = {method = "random"}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTED_DIARY", str(tmp_path / "diary"))
    file = tmp_path / "own.toml"
    file.write_text(STUDY)
    (tmp_path / "figure.toml").write_text(STUDY.replace("components", "compnents"))
    return file


def test_a_study_ends_with_table_figure_and_words(hashbench: Hashbench, study: Path, tmp_path: Path) -> None:
    before = hashbench("grid", study, "--dry-run")
    assert before.code == 0 and "4 to run" in before.out and "unknown" in before.out
    done = hashbench("grid", study, "--workers", 2)
    assert done.code == 0, done.err
    assert "Does the method matter?" in done.err
    for shown in ("map@all on shapes", "protocol shapes@1", "chance", "2 seeds", "higher than random: counted +"):
        assert shown in done.out
    folder = tmp_path / "results" / "studies" / "own-quick"
    assert {file.name for file in folder.iterdir()} == {
        "table.csv", "comparisons.csv", "components.pdf", "components.png", "components.csv",
    }  # fmt: skip
    rows = list(csv.DictReader((folder / "table.csv").open()))
    assert [(row["method"], row["task"]) for row in rows] == [
        (method, task) for method in ("random", "counted") for task in ("image->text", "text->image")
    ]
    status = hashbench("status", study)
    assert "4 done, 0 at work, 0 to run" in status.out
    diary = (tmp_path / "diary").read_text()
    again = hashbench("grid", study, "--json", "--out", tmp_path / "elsewhere").json
    assert (tmp_path / "diary").read_text() == diary and (tmp_path / "elsewhere" / "table.csv").exists()
    assert [row["mean"] for row in again["rows"]] == [float(row["mean"]) for row in rows]
    assert set(again["runs"]) == {"random", "counted"} and again["comparisons"][0]["p_holm"] < 0.05


def test_a_failing_cell_is_told_and_tried_again_on_request(hashbench: Hashbench, study: Path, tmp_path: Path) -> None:
    study.write_text(STUDY.replace('"counted"', '"exploding"'))
    done = hashbench("grid", study)
    assert done.code == 5 and "RuntimeError: a defect" in done.err and "map@all on shapes" in done.out
    status = hashbench("status", study)
    assert "failed: exploding 16 bits seed 0: RuntimeError" in status.out and "2 done" in status.out
    record = next((tmp_path / "results").glob("shapes/exploding/*/record.json"))
    stamp = record.stat().st_mtime_ns
    assert hashbench("grid", study).code == 5 and record.stat().st_mtime_ns == stamp
    assert hashbench("grid", study, "--retry", "failed").code == 5 and record.stat().st_mtime_ns > stamp
    assert hashbench("grid", study, "--retry", "lost").code == 2
    only = hashbench("grid", study, "--only", "method=random", "--limit", 1)
    assert only.code == 0 and "exploding" not in only.out
    assert not list((tmp_path / "results").rglob("model.safetensors")), "models are kept where they are asked for"
    kept = hashbench("grid", study, "--only", "method=random", "--models", "--results", tmp_path / "kept")
    assert kept.code == 0 and len(list((tmp_path / "kept").rglob("model.safetensors"))) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ablate", "promts"), "Did you mean 'prompts'"),
        (("grid", "none.toml"), "none.toml: no such file"),
        (("grid", "own.toml", "--only", "methd=random"), "Did you mean 'method'"),
        (("grid", "own.toml", "--engine-option", "partition"), "expected name=value"),
        (("grid", "own.toml", "--engine-option", "partition=gpu"), "the local engine has none"),
        (("grid", "own.toml", "--devices", "cuda:99"), "--device 'cuda:99'"),
        (("status", "nothing"), "no study 'nothing'"),
        (("grid", "figure.toml"), "no plot 'compnents'. Did you mean 'components'"),
    ],
)
def test_what_makes_no_sense_is_told_before_any_work(
    hashbench: Hashbench, study: Path, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    ended = hashbench(*words)
    assert ended.code == 2 and told in ended.err
    assert not list(tmp_path.glob("results/*/*/*/record.json"))


def test_all_studies_are_listed_with_their_questions(hashbench: Hashbench) -> None:
    listed = hashbench("ablate")
    assert listed.code == 0
    for name, file in studies.names().items():
        assert name in listed.out and studies.question(file) in listed.out


def test_interrupted_it_ends_cleanly_and_a_repeat_goes_on(hashbench: Hashbench, study: Path, tmp_path: Path) -> None:
    study.write_text(STUDY.replace("seed = [0, 1]", "seed = [0, 1, 2]") + "[settings.counted]\nseconds = 5.0\n")
    seen = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "hashbench", "grid", str(study), "--workers", "2", "--quiet"]
    running = subprocess.Popen(command, env=seen, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    results, deadline = tmp_path / "results", time.monotonic() + 120
    while len(list(results.glob("*/*/*/record.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    assert running.wait(60) == 130
    assert running.stderr and "the same command goes on from there" in running.stderr.read()
    assert not list(results.rglob("claim.*")), "whoever was at work gave its run back"
    kept = {file: file.stat().st_mtime_ns for file in results.glob("*/*/*/record.json")}
    assert 3 <= len(kept) < 6
    assert hashbench("grid", study).code == 0
    assert all(file.stat().st_mtime_ns == stamp for file, stamp in kept.items())
