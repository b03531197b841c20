"""Every built-in data set keeps the contract under each of its protocols, and every file is declared.

Data sets that have to be prepared are checked on their stand-ins, each in a test file of its own.
"""

from __future__ import annotations

from pathlib import Path

from hashbench.data.official import Official
from hashbench.registry import datasets
from hashbench.testing import Check, Opening, parametrize_with_checks

HOME = "hashbench.benchmarks."
BUILT_IN = {name: entry for name, entry in datasets.entries().items() if entry.module.startswith(HOME)}
OPENINGS = [
    Opening(cls, protocol)
    for cls in map(datasets.get, BUILT_IN)
    if not issubclass(cls, Official)
    for protocol in cls.protocols
]


@parametrize_with_checks(OPENINGS)
def test_contract(check: Check) -> None:
    check()


def test_every_file_is_declared() -> None:
    folder = Path(__file__).parents[2] / "benchmarks"
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    declared = {entry.module.removeprefix(HOME) for entry in BUILT_IN.values()}
    assert files == declared, "declare it under [project.entry-points] in pyproject.toml, then install again"
