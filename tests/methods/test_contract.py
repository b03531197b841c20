"""Every built-in method keeps the contract, and every file of methods/ is declared."""

from __future__ import annotations

from pathlib import Path

from hashbench.registry import methods
from hashbench.testing import Check, parametrize_with_checks

HOME = "hashbench.methods."
BUILT_IN = {name: entry for name, entry in methods.entries().items() if entry.module.startswith(HOME)}


@parametrize_with_checks([methods.get(name) for name in BUILT_IN])
def test_contract(check: Check) -> None:
    check()


def test_every_file_is_declared() -> None:
    folder = Path(__file__).parents[2] / "methods"
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    declared = {entry.module.removeprefix(HOME) for entry in BUILT_IN.values()}
    assert files == declared, "declare it under [project.entry-points] in pyproject.toml, then install again"
