"""``hashbench report``: of everything stored, and of a study."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path

import pytest

from hashbench.store import Store
from tests.report.made import stored

from .conftest import SMALL, Hashbench
from .test_studies import STUDY

ONE_RUN = """
question = "Are two arms one?"
[fixed]
dataset = "shapes"
image_backbone = "lite@32"
text_backbone = "bow"
bits = 16
method = "counted"
[[arms]]
name = "one"
[[arms]]
name = "other"
value = 0
[[arms]]
name = "third"
value = 1
[[arms]]
name = "worst"
spoilt = true
[compare]
against = "worst"
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "results")
    for method in ("dcmh", "cvh"):
        stored(found, method)
    return found


def test_everything_that_is_stored_stands_in_one_file(hashbench: Hashbench, store: Store, tmp_path: Path) -> None:
    stored(store, "scm", status="failed")
    (store.root / "a" / "b" / "c").mkdir(parents=True)
    (store.root / "a" / "b" / "c" / "record.json").write_text("{")
    done = hashbench("report")
    assert done.code == 0 and done.out == "report.html\n"
    assert "1 of 3 runs are not done; the report says why" in done.err
    text = (tmp_path / "report.html").read_text()
    assert text.startswith("<!doctype html>") and "2 done, 1 failed" in text
    assert "record.json: damaged" in text and "<code>hashbench report</code>" in text


def test_conditions_choose_runs_and_stand_in_the_command(hashbench: Hashbench, store: Store, tmp_path: Path) -> None:
    done = hashbench("report", "--where", "method=dcmh", "-o", "sub/my page.html", "--no-images")
    assert done.code == 0, done.err
    text = (tmp_path / "sub" / "my page.html").read_text()
    assert len(re.findall("<tr data-arm=", text)) == 1 and ">cvh" not in text
    assert _commands(text)["report"] == ["hashbench report --where method=dcmh --no-images -o 'sub/my page.html'"]


def test_commands_find_the_folder_of_the_records(
    hashbench: Hashbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTED_DIARY", str(tmp_path / "diary"))
    (tmp_path / "own.toml").write_text(STUDY)
    elsewhere = ("--results", "my runs")
    hashbench("run", "--method", "random", *SMALL, "--bits", "16", "--workers", "1", *elsewhere)
    for study in ((), ("own.toml",)):
        before = hashbench("report", *study, *elsewhere)
        assert before.code == 0, before.err
        commands = _commands((tmp_path / "report.html").read_text())
        assert commands["report"] == [shlex.join(["hashbench", "report", *study, *elsewhere])]
        assert commands["ablate"] == [shlex.join(["hashbench", "ablate", *study, *elsewhere])] * len(study)
        (run,) = commands["run"]
        planned = hashbench(*shlex.split(run)[1:], "--dry-run", "--json")
        assert [each["state"] for each in planned.json["runs"]] == ["done"]


def _commands(page: str) -> dict[str, list[str]]:
    """The commands that stand in a page, by what they do."""
    found: dict[str, list[str]] = {"report": [], "ablate": [], "run": []}
    for command in re.findall(r"<code>(hashbench [^<]+)</code>", page):
        found[command.split()[1]].append(html.unescape(command))
    return found


def test_arms_with_one_and_the_same_run_are_both_named(
    hashbench: Hashbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTED_DIARY", str(tmp_path / "diary"))
    (tmp_path / "own.toml").write_text(ONE_RUN)
    done = hashbench("ablate", "own.toml", "--workers", "1", "-q")
    assert done.code == 0, done.err
    assert hashbench("report", "own.toml").code == 0
    text = (tmp_path / "report.html").read_text()
    (section,) = json.loads(re.findall('id="data">(.*?)</script>', text)[0])["sections"]
    names = [section["arms"][arm]["name"] for arm in section["lead"]]
    assert sorted(names) == ["one = other", "third", "worst"]
    assert names[1] == "worst" and section["arms"][section["lead"][1]]["place"] == 2  # all are compared with it


def test_a_study_is_reported_with_its_answer(
    hashbench: Hashbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTED_DIARY", str(tmp_path / "diary"))
    (tmp_path / "own.toml").write_text(STUDY)
    stored(Store(tmp_path / "results"), "cca-itq")  # no run of the study's
    assert "no finished run" in hashbench("report", "own.toml").err
    for method, seeds in (("random", "0-1"), ("counted", "0")):
        hashbench("run", "--method", method, *SMALL, "--bits", "16", "--seeds", seeds, "--workers", "1")
    done = hashbench("report", "own.toml")
    assert done.code == 0, done.err
    text = (tmp_path / "report.html").read_text()
    for said in ("Does the method matter?", "3 done, 1 to run", "<code>hashbench ablate own.toml</code>",
                 "higher than random: counted"):  # fmt: skip
        assert said in text
    assert len(re.findall("<tr data-arm=", text)) == 2 and "cca-itq" not in text


def test_the_command_of_each_arm_means_its_runs(hashbench: Hashbench, tmp_path: Path) -> None:
    hashbench("run", "--method", "cca-itq", *SMALL, "--bits", "4,6", "--set", "ridge=0.5", "--text-keep", "0.9",
              "--workers", "1")  # fmt: skip
    hashbench("report")
    command = re.findall(r"<code>hashbench (run [^<]+)</code>", (tmp_path / "report.html").read_text())
    assert len(command) == 1
    done = hashbench(*command[0].split(), "--dry-run", "--json")
    assert [run["state"] for run in done.json["runs"]] == ["done"] * 2


def test_what_makes_no_sense_is_refused(hashbench: Hashbench, store: Store) -> None:
    for words, said in [
        (("prompts", "--where", "bits=16"), "leave it out with a study"),
        (("--full",), "name the study"),
        (("--where", "method=soda"), "no finished run"),
        (("nosuch",), "no study 'nosuch'"),
    ]:
        done = hashbench("report", *words)
        assert done.code == 2 and said in done.err and done.out == "", words
