"""Every other command, on runs of the stranger's package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from .conftest import SMALL, Hashbench


def test_help_and_list_import_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys\nfrom hashbench.cli import main\n"
        "try:\n main()\nexcept SystemExit:\n pass\n"
        "print(sorted({'torch', 'matplotlib', 'timm', 'pandas', 'scipy'} & set(sys.modules)))"
    )
    for words in (["--help"], ["list"], ["run", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


def test_the_stranger_is_listed_checked_shown_and_run(hashbench: Hashbench) -> None:
    listed = hashbench("list", "--json").json
    assert {"kind": "method", "name": "nearest", "from": "nearest:Nearest", "package": "stranger 1.2"} in listed
    assert "ridge of the regression" in hashbench("show", "nearest").out
    for name in ("nearest", "shapes"):
        checked = hashbench("check", name)
        assert checked.code == 0, checked.out
        assert "checks ran, 0 failed" in checked.out
    done = hashbench("run", "--method", "nearest", *SMALL, "--bits", "16", "--seeds", "0-2", "--json")
    assert [record["status"] for record in done.json] == ["done"] * 3
    assert done.json[0]["metrics"]["image->text"]["map@all"] > 0.6


def test_a_broken_plug_in_disables_itself_alone(hashbench: Hashbench, stranger: Path, tmp_path: Path) -> None:
    entries = next(stranger.glob("*.dist-info")) / "entry_points.txt"
    healthy = entries.read_text()
    try:
        entries.write_text(healthy.replace("[hashbench.methods]", "[hashbench.methods]\nbroken = not_there:Nothing"))
        assert hashbench("list").code == 0
        done = hashbench("run", "--method", "broken")
        assert done.code == 2 and "not_there" in done.err
        doctor = hashbench("doctor")
        assert doctor.code == 1 and "broken" in doctor.out
    finally:
        entries.write_text(healthy)


def test_results_groups_seeds_and_filters(hashbench: Hashbench) -> None:
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4,6", "--seeds", "0-1")
    hashbench("run", "--method", "exploding", *SMALL, "--bits", "4", "--set", "how=diverge")
    table = hashbench("results")
    assert table.code == 0 and "±" in table.out and "2 seeds" in table.out and "diverged" in table.err
    assert len(hashbench("results", "--where", "bits=4", "--where", "method=cca-itq", "--json").json) == 2
    assert len(hashbench("results", "--where", "bits=4,6", "--where", "seed=1", "--json").json) == 2
    assert hashbench("results", "--runs", "--metric", "precision@50").out.count("cca-itq") == 4
    assert "Did you mean 'bits'" in hashbench("results", "--where", "bit=4").err
    assert hashbench("results", "--metric", "map@al").code == 2
    assert hashbench("results", "--where", "bits=999").code == 2


def test_two_protocols_never_share_a_table(hashbench: Hashbench) -> None:
    for protocol in ("shapes@1", "shapes-swapped@1"):
        hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--protocol", protocol)
    assert hashbench("results").out.count("map@all on shapes") == 2
    assert "different protocols" in hashbench("plot", "pr").err


def test_runs_that_are_not_the_same_run_are_never_averaged(hashbench: Hashbench, tmp_path: Path) -> None:
    """Two versions of a method under two seeds are two rows of one seed each, not a mean of two."""
    for seed in (0, 1):
        hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--seeds", seed)
    file = next(f for f in tmp_path.rglob("record.json") if '"seed": 1' in f.read_text())
    stale = json.loads(file.read_text())
    stale["evaluation_version"] = 0
    file.write_text(json.dumps(stale))
    shown = hashbench("results").out
    assert "evaluation_version=0" in shown and "evaluation_version=1" in shown
    assert " ± " not in shown.partition("protocol")[0]


def test_conditions_on_settings_leave_other_methods_out(hashbench: Hashbench) -> None:
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4")
    hashbench("run", "--method", "nearest", *SMALL, "--bits", "4")
    (found,) = hashbench("results", "--where", "rotations=50", "--where", "ridge=0.10", "--json").json
    assert found["spec"]["method"] == "cca-itq"


def test_two_protocols_are_two_figures(hashbench: Hashbench) -> None:
    for protocol in ("shapes@1", "shapes-swapped@1"):
        hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--protocol", protocol)
    assert "different protocols" in hashbench("plot", "pr").err
    assert hashbench("plot", "pr", "--where", "protocol=shapes@1").code == 0


def test_eval_measures_stored_codes_again(hashbench: Hashbench, tmp_path: Path) -> None:
    (record,) = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--json").json
    file = next(tmp_path.rglob("record.json"))
    stale = json.loads(file.read_text())
    stale["metrics"]["image->text"]["map@all"] = 0.123
    file.write_text(json.dumps(stale))
    (again,) = hashbench("eval", "--json").json
    assert again["metrics"] == record["metrics"]
    assert json.loads(file.read_text())["metrics"] == record["metrics"]


def test_eval_refuses_codes_that_are_not_those_of_the_run(hashbench: Hashbench, tmp_path: Path) -> None:
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4")
    file = next(tmp_path.rglob("codes.safetensors"))
    codes = load_file(file)
    save_file({name: np.zeros_like(array) for name, array in codes.items()}, file)
    done = hashbench("eval")
    assert done.code == 3 and "not those that were stored" in done.err


def test_damaged_records_are_told_by_name(hashbench: Hashbench, tmp_path: Path) -> None:
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4")
    file = next(tmp_path.rglob("record.json"))
    whole = file.read_text()
    for damage in (whole[:200], whole.replace('"bits": 4', '"bits": 8'), whole.replace('"schema": 1', '"schema": 99')):
        file.write_text(damage)
        done = hashbench("results")
        assert done.code == 3 and "record.json" in done.err and done.err.count("\n") == 1
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "6")
    beside = hashbench("results")  # one damaged record does not hide the others
    assert beside.code == 0 and "cca-itq" in beside.out and "record.json" in beside.err


@pytest.mark.parametrize("kind", ["radius", "radius-macro", "rank"])
def test_plot_pr_draws_what_the_records_hold(hashbench: Hashbench, tmp_path: Path, kind: str) -> None:
    (record,) = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "6", "--json").json
    done = hashbench("plot", "pr", "--kind", kind)
    assert done.code == 0, done.err
    files = [tmp_path / line for line in done.out.splitlines()]
    assert [file.suffix for file in files] == [".pdf", ".png", ".csv"]
    assert all(file.stat().st_size > 500 for file in files)
    header, *rows = files[2].read_text().splitlines()
    points = [dict(zip(header.split(","), row.split(","), strict=True)) for row in rows]
    shown = [float(p["precision"]) for p in points if p["task"] == "image->text"]
    name = {"radius": "radius/micro_precision", "radius-macro": "radius/macro_precision", "rank": "rank/precision"}
    assert shown == pytest.approx(record["curves"]["image->text"][name[kind]])


def test_plot_refuses_what_it_cannot_draw(hashbench: Hashbench) -> None:
    assert "hashbench run" in hashbench("plot", "pr").err
    assert "radius" in hashbench("plot", "pr", "--kind", "spiral").err
    assert ".pdf" in hashbench("plot", "pr", "--out", "figure.doc").err
    assert hashbench("plot", "nothing").code == 2


def test_show_explains_everything_by_name(hashbench: Hashbench) -> None:
    assert "label_modality" in hashbench("show", "soda").out
    shown = hashbench("show", "shapes").out
    assert "shapes@1" in shown and "chance" in shown and "disc 80" in shown
    assert "1280" in hashbench("show", "lite").out
    (record,) = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--json").json
    assert "map@50/standard" in hashbench("show", record["key"][:8]).out
    assert hashbench("show", "nonsense").code == 2
    assert {s["name"] for s in hashbench("show", "dcmh", "--json").json["settings"]} >= {"gamma", "eta"}


def test_cache_says_where_and_what_and_forgets(
    hashbench: Hashbench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "cache"))
    hashbench("run", "--method", "soda", *SMALL, "--bits", "8", "--set", "epochs=1")
    assert hashbench("cache", "path").out.strip() == str(tmp_path / "cache")
    kept = hashbench("cache", "ls", "--json").json
    assert {entry["view"] for entry in kept["features"]} == {"image", "text"} and kept["stages"] == 1
    assert "lite" in hashbench("cache", "ls").out
    assert "freed 0.0 MB" in hashbench("cache", "clean", "--older", 1).out
    hashbench("cache", "clean")
    assert not hashbench("cache", "ls", "--json").json["features"]


def test_doctor_is_content_here(hashbench: Hashbench) -> None:
    done = hashbench("doctor", "--json")
    assert done.code == 0, done.out
    assert {row["what"] for row in done.json} >= {"torch", "devices", "cache", "offline image weights"}


def test_check_names_what_is_broken(hashbench: Hashbench) -> None:
    done = hashbench("check", "exploding")
    assert done.code == 1 and "failed" in done.out


def test_python_dash_m() -> None:
    words = [sys.executable, "-m", "hashbench", "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("hashbench ")


def test_version(hashbench: Hashbench) -> None:
    assert hashbench("--version").out.startswith("hashbench 0.")


def test_a_defect_is_one_line_and_its_traceback_is_kept(hashbench: Hashbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect() -> None:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr("hashbench.paths.results_dir", defect)
    done = hashbench("results")
    assert done.code == 1 and "RuntimeError: out of (traceback in" in done.err and done.err.count("\n") == 1
    log = Path(done.err.partition("traceback in ")[2].strip().rstrip(")"))
    assert "luck" in log.read_text()
