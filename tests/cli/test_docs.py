"""What README and docs show is true: commands are understood, links lead somewhere, numbers are the measured ones."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from hashbench import studies
from hashbench.config import did_you_mean
from hashbench.printing import decimals
from hashbench.registry import methods

from .conftest import SMALL, Hashbench

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def steps(page: Path) -> list[tuple[str, str]]:
    """(language, code) of what a page shows to be run, in its order; a shell block is one step a command.

    A TOML block is the file that its first line names.
    """
    found: list[tuple[str, str]] = []
    for language, block in re.findall(r"```(sh|python|toml)\n(.*?)```", page.read_text(), re.DOTALL):
        if language != "sh":
            found.append((language, block))
        else:
            lines = [line.partition("#")[0].strip() for line in block.splitlines()]
            found += [("sh", line) for line in lines if line.startswith("hashbench ")]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_is_understood(hashbench: Hashbench, page: Path) -> None:
    for language, code in steps(page):
        if language == "sh":
            _try(hashbench, page.name, code)
        elif language == "toml":
            Path(code.splitlines()[0].removeprefix("# ")).write_text(code)
        elif page.name == "data.md":  # makes the file that its next commands read
            exec(compile(code, page.name, "exec"), {})


def _try(hashbench: Hashbench, page: str, command: str) -> None:
    words = shlex.split(command)[1:]
    if words[0] != "new":  # what it writes is not installed here, but the example of docs/method.md is
        words = [{"mine": "nearest"}.get(word, word) for word in words]
    if words[0] == "run":
        words = [word for word in words if word != "--dry-run"]
        done = hashbench(*words, "--dry-run")
        assert "to run" in done.out, f"{page}: {command}: {done.err}{done.out}"
    elif words[0] in ("ablate", "grid"):
        done = hashbench(*words) if words[1:] == [] else hashbench(*dict.fromkeys([*words, "--dry-run"]))
    elif words[0] == "compare":
        for side in words[1:3]:
            hashbench("run", "--method", side.partition(",")[0], *SMALL, "--bits", "6", "--seeds", "0-1")
        done = hashbench(*(word.replace("bits=32", "bits=6") for word in words))
    elif words[0] in ("results", "plot"):
        bits = ("--bits", "32") if "bits=32" in words else ("--bits", "6")
        method = "nearest" if bits[1] == "32" else "cca-itq"
        hashbench("run", "--method", method, *SMALL, *bits)
        done = hashbench(*words)
    else:
        done = hashbench(*words)
    assert done.code == 0, f"{page}: {command}: {done.err}{done.out}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_and_picture_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"


def test_settings_named_in_the_page_on_soda_exist() -> None:
    known = set(methods.get("soda").config_class.__dataclass_fields__)
    table = (ROOT / "docs" / "soda.md").read_text().partition("| setting |")[2].partition("\n\n")[0]
    for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]:
        for name in re.findall(r"`(\w+)`", cell):
            assert name in known, did_you_mean(name, known)


def test_the_table_in_the_readme_is_the_one_that_was_measured() -> None:
    """docs/measured.json holds what ``hashbench results --json`` said of the runs behind the table."""
    measured = json.loads((ROOT / "docs" / "measured.json").read_text())
    readme = (ROOT / "README.md").read_text()
    for row in measured["rows"]:
        assert f"| {row['arm']} | {row['image->text']} | {row['text->image']} |" in readme
    assert measured["protocol"] in readme and measured["split"] in readme


def test_the_page_of_methods_has_every_built_in_one() -> None:
    shown = (ROOT / "docs" / "methods.md").read_text()
    for name, entry in methods.entries().items():
        if entry.module.startswith("hashbench.methods."):
            method = methods.get(name)
            views = "any" if method.needs.more_views else ", ".join(method.needs.views)
            paper = f"[{method.paper.title}]({method.paper.url}), {method.paper.venue} {method.paper.year}"
            assert f"| `{name}` | {method.kind} | {method.needs.labels} | {views} | {paper} |" in shown


def test_the_table_of_methods_is_the_one_that_was_measured() -> None:
    """docs/methods.csv is the table.csv of hashbench ablate docs/methods.toml."""
    shown = (ROOT / "docs" / "methods.md").read_text()
    rows: dict[str, dict[str, dict[str, str]]] = {}
    for row in csv.DictReader((ROOT / "docs" / "methods.csv").open()):
        rows.setdefault(row["method"], {})[row["task"]] = row
    assert set(rows) == {arm.method for arm in studies.find(str(ROOT / "docs" / "methods.toml")).arms()}
    for name, of in rows.items():
        tasks = [of["image->text"], of["text->image"]]
        cells = [_with_deviation(row, kind) for kind in ("untuned_", "") for row in tasks]
        assert f"| `{name}` | {methods.get(name).needs.labels} | {' | '.join(cells)} | {tasks[0]['won']} |" in shown


STUDY = re.compile(r"`(?:hashbench ablate |hashbench grid docs/answers/)?([\w-]+)(?:\.toml)?`")


def test_the_answers_are_those_that_were_measured() -> None:
    """docs/answers/NAME.csv is the table.csv of the study NAME."""
    for section in (ROOT / "docs" / "answers.md").read_text().split("\n## ")[1:]:
        measured = {
            _with_deviation(row, "")
            for name in STUDY.findall(section.splitlines()[0])
            for row in csv.DictReader((ROOT / "docs" / "answers" / f"{name}.csv").open())
        }
        shown = re.findall(r"\.\d{4} ± \.\d{4}", section)
        assert len(shown) >= 6 and set(shown) <= measured, set(shown) - measured


def _with_deviation(row: dict[str, str], kind: str) -> str:
    mean, deviation = row[f"{kind}mean"], row[f"{kind}deviation"]
    return f"{decimals(float(mean))} ± {decimals(float(deviation))}"


@pytest.mark.parametrize("study", [str(ROOT / "docs" / "methods.toml"), "main"])
def test_studies_of_all_methods_have_all_methods(study: str) -> None:
    built_in = {name for name, entry in methods.entries().items() if entry.module.startswith("hashbench.methods.")}
    assert {arm.method for arm in studies.find(study, "full").arms()} == built_in


@pytest.mark.slow
def test_the_python_in_the_readme_runs_and_gives_the_number_shown() -> None:
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    space: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), space)
    assert len(space["records"]) == 1  # type: ignore[arg-type]
