"""A new package keeps the contract from its first minute, and is the one that the docs show."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from hashbench.errors import UsageError
from hashbench.method import Method
from hashbench.scaffold import new_method
from hashbench.testing import check_method

DOCS = Path(__file__).parents[1] / "docs"


def test_the_package_is_the_one_in_the_docs(tmp_path: Path) -> None:
    module, pyproject = new_method("nearest", tmp_path / "nearest")
    page = (DOCS / "method.md").read_text()
    assert module.read_text() == re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    shown = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0]
    assert shown.strip() in pyproject.read_text()


def test_a_new_method_passes_every_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = new_method("my-hash", tmp_path / "my-hash")
    assert module.name == "my_hash.py"
    monkeypatch.syspath_prepend(module.parent)
    try:
        found: type[Method[object]] = importlib.import_module("my_hash").MyHash
        report = check_method(found)
        assert report.ok and report.ran > 10, report
    finally:
        sys.modules.pop("my_hash", None)


@pytest.mark.parametrize("name", ["My-Hash", "my_hash", "2hash", "a b", "-x", "x-", "class", "../x", ""])
def test_names_that_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a name"):
        new_method(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_taken_names_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="installed"):
        new_method("soda", tmp_path / "new")
    with pytest.raises(UsageError, match="is there already"):
        new_method("mine", tmp_path)
