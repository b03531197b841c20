"""``hashbench run``: what a user sees, what is kept, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from hashbench.errors import UsageError
from hashbench.grid import run
from hashbench.registry import methods
from hashbench.setup import Setup

from .conftest import SEEN, SMALL, Hashbench

QUICK = (*SMALL, "--set", "epochs=2", "--bits", "16")


def records(folder: Path) -> list[Path]:
    return sorted(folder.rglob("record.json"))


def test_prints_the_table_the_protocol_and_where_the_records_lie(hashbench: Hashbench, tmp_path: Path) -> None:
    done = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4,6")
    assert done.code == 0, done.err
    for said in ("image->text", "shapes@1", "chance", "1 seed", str(tmp_path / "results")):
        assert said in done.out
    assert len(records(tmp_path)) == 2
    assert "[2/2]" in done.err and "\x1b" not in done.err + done.out  # plain lines in a pipe


def test_what_is_done_is_reused_and_says_so(hashbench: Hashbench, tmp_path: Path) -> None:
    first = hashbench("run", "--method", "soda", *QUICK)
    before = [file.stat().st_mtime_ns for file in records(tmp_path)]
    second = hashbench("run", "--method", "soda", *QUICK)
    assert "(reused)" in second.err and "(reused)" not in first.err
    assert second.out == first.out
    assert [file.stat().st_mtime_ns for file in records(tmp_path)] == before
    forced = hashbench("run", "--method", "soda", *QUICK, "--force")
    assert "image features: reused" in forced.err and "(reused)" not in forced.err and forced.out == first.out


def test_the_same_command_gives_the_same_codes_with_one_worker_or_two(hashbench: Hashbench, tmp_path: Path) -> None:
    command = ("run", "--method", "soda", *SMALL, "--set", "epochs=3", "--bits", "8,16", "--seeds", "0-1", "--json")
    digests = []
    for workers, folder in ((1, "one"), (1, "again"), (2, "two")):
        done = hashbench(*command, "--workers", workers, "--results", tmp_path / folder)
        assert done.code == 0, done.err
        digests.append([record["code_digests"] for record in done.json])
    assert digests[0] == digests[1] == digests[2]
    assert len({json.dumps(d) for d in digests[0]}) == 4  # bits and seeds do differ


def test_a_record_holds_all_that_is_promised(hashbench: Hashbench, tmp_path: Path) -> None:
    (record,) = hashbench("run", "--method", "soda", *QUICK, "--json").json
    folder = records(tmp_path)[0].parent
    codes, queries = load_file(folder / "codes.safetensors"), load_file(folder / "queries.safetensors")
    assert codes["query/image"].shape == (40, 2) and codes["query/image"].dtype == np.uint8
    assert {side for side, _, _ in (name.partition("/") for name in codes)} == {"query", "database", "validation"}
    for task in ("image->text", "text->image"):
        assert record["metrics"][task]["map@all"] == pytest.approx(float(queries[task].mean()), abs=1e-6)
        assert record["validation"][task]["map@all"] > 0
    logged = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {row.get("phase") for row in logged} >= {"teacher", "student", "end"}
    assert record["rules"]["id"] == "shapes@1" and record["counts"]["query"] == 40
    assert record["spec"]["config"]["alpha"] == 0.05  # defaults are written out
    assert record["cost"]["seconds"] > 0 and record["provenance"]["torch"]


def test_soda_learns(hashbench: Hashbench) -> None:
    (record,) = hashbench("run", "--method", "soda", *SMALL, "--set", "epochs=20", "--bits", "16", "--json").json
    for metrics in record["metrics"].values():
        assert metrics["map@all"] > metrics["chance"] + 0.25


def test_the_model_is_kept_unless_it_is_not_wanted(hashbench: Hashbench, tmp_path: Path) -> None:
    command = ("run", "--method", "cca-itq", *SEEN, "--bits", "4,6", "--workers", "2")
    for words, models in ((("--no-model",), 0), ((), 0), (("--force",), 2)):
        assert hashbench(*command, *words).code == 0
        assert len(list(tmp_path.rglob("model.safetensors"))) == models


def test_dry_run_writes_nothing(hashbench: Hashbench, tmp_path: Path) -> None:
    done = hashbench("run", "--method", "soda", *QUICK, "--seeds", "0-2", "--dry-run")
    assert done.code == 0 and done.out.count("to run") == 3 and "shapes@1" in done.out
    assert not records(tmp_path)
    planned = hashbench("run", "--method", "soda", *QUICK, "--dry-run", "--json").json
    assert planned["runs"][0]["state"] == "to run" and planned["runs"][0]["spec"]["bits"] == 16


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--method", "sodda"), "Did you mean 'soda'"),
        (("--method", "soda", "--set", "epoch=3"), "Did you mean 'epochs'"),
        (("--method", "soda", "--set", "epochs=many"), "expected int"),
        (("--method", "soda", "--set", "epochs"), "expected name=value"),
        (("--method", "soda", "--set", "alpha=-1"), "from 0.0 to inf"),
        (("--method", "soda", "--set", "teacher=nobody"), "two_stage"),
        (("--method", "soda", "--preset", "autor"), "Did you mean 'author'"),
        (("--method", "soda", "--dataset", "pictogram"), "Did you mean 'pictograms'"),
        (("--method", "soda", "--protocol", "shapes@2"), "Did you mean 'shapes@1'"),
        (("--method", "soda", "--bits", "16;32"), "--bits"),
        (("--method", "soda", "--bits", "0"), "from 1 to"),
        (("--method", "soda", "--seeds", "4-0"), "backwards"),
        (("--method", "soda", "--backbone", "resnet5O"), "resnet50"),
        (("--method", "soda", "--backbone", "bow"), "--text-backbone"),
        (("--method", "soda", "--device", "cuda:99"), "--device"),
        (("--method", "soda", "--device", "toaster"), "--device"),
    ],
)
def test_a_mistake_gets_one_line_and_exit_code_2(hashbench: Hashbench, words: tuple[str, ...], expected: str) -> None:
    given = words if "--backbone" in words or "--dataset" in words else (*SMALL, *words)
    done = hashbench("run", *given)
    assert done.code == 2
    assert expected in done.err
    assert done.err.startswith("hashbench: ") and done.err.count("\n") == 1
    assert not done.out


def test_weights_that_cannot_be_had_stop_the_run_before_any_work(hashbench: Hashbench, tmp_path: Path) -> None:
    done = hashbench("run", "--method", "soda", "--backbone", "resnet50")
    assert done.code == 3
    for way in ("(1)", "(2)", "(3)", "resnet50:scratch", "network"):
        assert way in done.err
    assert not (tmp_path / "results").exists()


def test_runs_that_end_badly_are_kept_with_the_reason(hashbench: Hashbench, tmp_path: Path) -> None:
    badly = ("run", "--method", "exploding", *SMALL, "--bits", "8")
    diverged = hashbench(*badly, "--set", "how=diverge")
    assert diverged.code == 4 and "diverged" in diverged.err
    refused = hashbench(*badly, "--set", "how=refuse")
    assert refused.code == 5 and "skipped: it would rather not" in refused.err
    crashed = hashbench(*badly, "--set", "how=crash")
    assert crashed.code == 5 and "failed: RuntimeError: a defect" in crashed.err
    assert "Traceback" not in crashed.err
    logs = "".join(file.read_text() for file in tmp_path.rglob("log.jsonl"))
    assert "Traceback" in logs and "in two lines" in logs


def test_one_failing_run_never_stops_the_others(hashbench: Hashbench) -> None:
    for workers in (1, 2):
        words = ("--set", "only_bits=8", "--bits", "4,8,16", "--workers", workers, "--force", "--json")
        done = hashbench("run", "--method", "exploding", *SMALL, *words)
        assert done.code == 5
        assert [record["status"] for record in done.json] == ["done", "failed", "done"]


def test_failed_runs_are_tried_again_and_skipped_ones_are_not(hashbench: Hashbench) -> None:
    badly = ("run", "--method", "exploding", *SMALL, "--bits", "8")
    hashbench(*badly, "--set", "how=crash")
    assert "(reused)" not in hashbench(*badly, "--set", "how=crash").err
    hashbench(*badly, "--set", "how=refuse")
    assert "(reused)" in hashbench(*badly, "--set", "how=refuse").err


@pytest.mark.parametrize("method", ["soda", "dcmh"])
def test_trains_from_pixels(hashbench: Hashbench, method: str) -> None:
    words = ("--dataset", "shapes", "--image-backbone", "resnet10t:scratch@32", "--text-backbone", "bow")
    (record,) = hashbench("run", "--method", method, *words, "--bits", "8", "--set", "epochs=1", "--json").json
    assert record["status"] == "done" and "untrained" in record["spec"]["views"]["image"]


def test_full_tuning_moves_a_trained_encoder(hashbench: Hashbench) -> None:
    small = ("--dataset", "shapes", "--image-backbone", "lite@32", "--text-backbone", "bow", "--set", "epochs=1")
    frozen, full = (
        hashbench("run", "--method", "dcmh", *small, "--bits", "8", "--tuning", tuning, "--json").json[0]
        for tuning in ("frozen", "full")
    )
    assert full["status"] == frozen["status"] == "done"
    assert full["code_digests"] != frozen["code_digests"] and full["key"] != frozen["key"]


def test_closed_form_methods_refuse_raw_views(hashbench: Hashbench) -> None:
    words = ("--dataset", "shapes", "--image-backbone", "resnet10t:scratch@32", "--text-backbone", "bow")
    done = hashbench("run", "--method", "cca-itq", *words, "--bits", "4")
    assert done.code == 5 and "cached features" in done.err


@pytest.mark.parametrize("method", [("soda",), ("soda", "--set", "bank_start=normal"), ("dcmh",), ("cca-itq",)])
def test_bf16_is_another_run(hashbench: Hashbench, method: tuple[str, ...]) -> None:
    settings = ("--set", "epochs=2") if method[0] != "cca-itq" else ()
    done = hashbench("run", "--method", *method, *SMALL, *settings, "--bits", "6", "--precision", "bf16", "--json")
    assert done.code == 0, done.err
    assert done.json[0]["spec"]["precision"] == "bf16"


def test_bf16_sees_its_own_steps(hashbench: Hashbench) -> None:
    """Weights that autocast remembers would give the codes of the first step for ever."""
    settings = ("--method", "dcmh", *SMALL, "--bits", "16", "--precision", "bf16", "--json")
    short, long = (hashbench("run", *settings, "--set", f"epochs={epochs}").json[0] for epochs in (1, 5))
    assert short["code_digests"] != long["code_digests"]
    assert long["metrics"]["image->text"]["map@all"] > short["metrics"]["image->text"]["map@all"]


@pytest.mark.parametrize(
    ("how", "reason"),
    [("lengthen", "codes have 9 bits, asked for were 8"), ("forget", "no hash function for the text view"),
     ("mumble", "run.log(loss=...): expected a number or a word, found Tensor")],
)  # fmt: skip
def test_what_a_method_returns_is_checked_before_it_is_kept(hashbench: Hashbench, how: str, reason: str) -> None:
    done = hashbench("run", "--method", "exploding", *SMALL, "--bits", "8,6", "--set", f"how={how}")
    assert done.code == 5 and reason in done.err and done.err.count("failed") >= 2


def test_a_results_folder_that_cannot_be_written_stops_the_run_before_any_work(
    hashbench: Hashbench, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = hashbench("run", "--method", "soda", *QUICK, "--results", tmp_path / "file" / "results")
    assert done.code == 3 and "--results" in done.err and "cannot be written" in done.err
    assert "features" not in done.err


def test_repeated_bits_and_seeds_are_one_run(hashbench: Hashbench) -> None:
    assert len(hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4,4", "--seeds", "0,0", "--json").json) == 1


def test_python_is_held_to_the_same_settings(hashbench: Hashbench) -> None:
    soda, dcmh = (methods.get(name).config_class for name in ("soda", "dcmh"))
    setup = Setup(dataset="shapes", backbones={"image": "lite@32", "text": "bow"})
    for config, expected in ((soda(stage2_image="freeze"), "frozen"), (soda(lr=-1.0), "from 0.0"), (dcmh(), "SODA")):
        with pytest.raises(UsageError, match=expected):
            run("soda", setup=setup, config=config, bits=[8])


@pytest.mark.parametrize(("workers", "blow"), [(1, signal.SIGINT), (2, signal.SIGINT), (2, signal.SIGKILL)])
def test_an_interrupted_run_ends_at_once_and_leaves_nobody_behind(
    hashbench: Hashbench, stranger: Path, workers: int, blow: signal.Signals
) -> None:
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4")  # the features are there now
    words = ("run", "--method", "dcmh", *SMALL, "--bits", "8,16", "--set", "epochs=100000", "--workers", str(workers))
    process = subprocess.Popen(
        [sys.executable, "-m", "hashbench", *words], stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(stranger)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells ignore it for background jobs
    )  # fmt: skip
    try:
        assert process.stderr
        awaited = "dcmh 8 bits" if workers == 1 else "text features"
        while awaited not in process.stderr.readline():
            assert process.poll() is None
        time.sleep(2)
        process.send_signal(blow)  # to the parent alone, as a scheduler does
        _, said = process.communicate(timeout=60)
        if blow == signal.SIGINT:
            assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    for _ in range(50):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a worker was left behind")
