"""The command line as a stranger meets it: ``hashbench`` run in a folder of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hashbench.cli import main

ROOT = Path(__file__).parents[2]
SEEN = ("--dataset", "shapes", "--image-backbone", "lite@32", "--text-backbone", "bow")
SMALL = (*SEEN, "--no-model")


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Hashbench = Callable[..., Outcome]


@pytest.fixture
def hashbench(
    stranger: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Hashbench:
    """Run a command in this process, in a folder of its own."""
    monkeypatch.syspath_prepend(stranger)
    monkeypatch.setenv("HASHBENCH_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("HASHBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["hashbench", *map(str, words)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = capfd.readouterr()
        return Outcome(code, said.out, said.err)

    return call
