"""``score`` and ``export`` as a reviewer with a .mat meets them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from .conftest import ROOT, SMALL, Hashbench


@pytest.fixture
def codes(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"q_l": rng.integers(0, 2, (9, 4)), "r_l": rng.integers(0, 2, (40, 4))}
    for letter, n in (("q", 9), ("r", 40)):
        arrays |= {f"{letter}_{view}": rng.choice([-1, 1], (n, 16)) for view in ("img", "txt")}
    savemat(tmp_path / "codes.mat", arrays)
    return tmp_path / "codes.mat"


def test_export_and_score_give_the_numbers_of_the_run(hashbench: Hashbench) -> None:
    (run,) = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--json").json
    for suffix in ("mat", "npz", "safetensors"):
        written = hashbench("export", run["key"][:10], "--out", f"codes.{suffix}")
        assert written.code == 0 and re.search(r"q_img +\(\d+, 4\)", written.out), written.err
        scored = hashbench("score", f"codes.{suffix}", "--json")
        assert scored.code == 0 and scored.json["metrics"] == run["metrics"]


def test_what_a_reviewer_sees(hashbench: Hashbench, codes: Path) -> None:
    done = hashbench("score", codes, "--name", "theirs", "--cutoffs", "5,5000")
    assert done.code == 0, done.err
    assert "as-given@1" in done.out and "not known" in done.out and "chance" in done.out
    metrics = re.findall(r"^ ?(\S+@\S+|chance) +\d\.\d{4} +\d\.\d{4} +\w", done.out, re.MULTILINE)
    assert metrics[:4] == ["map@all", "map@all/optimistic", "map@all/pessimistic", "map@all/stable-order"]
    for k in (5, 50, 5000):
        assert {f"map@{k}/{name}" for name in ("standard", "hits", "first", "total")} <= set(metrics)
    assert metrics.index("map@5/total") < metrics.index("map@50/standard") < metrics.index("map@5000/standard")


def test_a_score_is_a_record_like_any_other(hashbench: Hashbench, codes: Path) -> None:
    record = hashbench("score", codes, "--name", "theirs", "--dataset", "mirflickr25k", "--seed", 3, "--json").json
    assert record["spec"]["seed"] == 3
    codes.unlink()
    listed = hashbench("results")
    assert "theirs" in listed.out and "map@all on mirflickr25k" in listed.out
    assert record["key"][:16] in hashbench("results", "--runs").out
    assert "expected over ties" in hashbench("show", record["key"][:8]).out
    assert hashbench("plot", "pr", "--where", "method=theirs").code == 0
    (again,) = hashbench("eval", "--json").json
    assert again == record
    exported = hashbench("export", record["key"][:8], "--out", "again.mat", "--json").json
    assert exported["arrays"]["q_img"] == [9, 16] and exported["key"] == record["key"]
    assert sorted(k for k in loadmat("again.mat") if k[0] != "_") == sorted(exported["arrays"])


def test_scored_codes_never_stand_in_a_table_with_runs(hashbench: Hashbench) -> None:
    (run,) = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--json").json
    hashbench("export", run["key"][:10], "--out", "codes.mat")
    hashbench("score", "codes.mat", "--name", "cca-itq", "--dataset", "shapes")
    shown = hashbench("results").out
    assert shown.count("map@all on shapes") == 2 and "shapes@1" in shown and "as-given@1" in shown


def test_other_views_stand_in_the_tables_too(hashbench: Hashbench, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {f"{letter}_{view}": rng.choice([-1, 1], (n, 8)) for letter, n in (("q", 5), ("r", 20))
              for view in ("audio", "video")}  # fmt: skip
    savemat(tmp_path / "codes.mat", arrays | {"q_l": rng.integers(1, 4, (5, 1)), "r_l": rng.integers(1, 4, (20, 1))})
    done = hashbench("score", "codes.mat")
    assert done.code == 0 and "audio->video" in done.out and "video->audio" in done.out
    assert hashbench("results").code == hashbench("results", "--runs").code == 0


def test_zeros_are_told(hashbench: Hashbench, codes: Path) -> None:
    arrays = {key: values for key, values in loadmat(codes).items() if key[0] != "_"}
    arrays["r_txt"][0, :2] = 0
    savemat(codes, arrays)
    assert "r_txt: 2 of 640 values are 0" in hashbench("score", codes).err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["score", "nothing.mat"], 3, "nothing.mat"),
        (["score", "codes.mat", "--labels", "empty.mat"], 3, "no labels for q_img"),
        (["score", "codes.mat", "--name", "../up"], 2, "--name"),
        (["score", "codes.mat", "--cutoffs", "5,x"], 2, "--cutoffs"),
        (["score", "codes.mat", "--cutoffs", "0"], 2, "cut-offs"),
        (["score", "codes.mat", "--items", "columns"], 3, "codes.mat: q_img has codes of 16 items, q_l labels of 4"),
        (["export", "abcd", "--out", "x.mat"], 2, "abcd"),
    ],
)
def test_mistakes_are_one_line(
    hashbench: Hashbench, codes: Path, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    savemat(tmp_path / "empty.mat", {})
    done = hashbench(*words)
    assert done.code == code and said in done.err
    assert done.err.count("\n") == 1 and not done.out


def test_the_page_on_scores_is_true(hashbench: Hashbench, codes: Path, tmp_path: Path) -> None:
    """Every command of docs/score.md runs, in order, where the files that it names are."""
    page = (ROOT / "docs" / "score.md").read_text()
    arrays = {key: values for key, values in loadmat(codes).items() if key[0] != "_"}
    codes.rename(tmp_path / "dcmh-64.mat")
    savemat(tmp_path / "ssah.mat", {"Qi": arrays["q_img"], "Qt": arrays["q_txt"], "Di": arrays["r_img"],
                                    "Dt": arrays["r_txt"]})  # fmt: skip
    savemat(tmp_path / "labels.mat", {"q_l": arrays["q_l"], "r_l": arrays["r_l"]})
    (run,) = hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4", "--json").json
    commands = re.findall(r"^hashbench (.+)$", page, re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        words = [run["key"][:8] if word == "RUN" else word for word in shlex.split(command, comments=True)]
        done = hashbench(*words)
        assert done.code == 0, f"{command}: {done.err}"
