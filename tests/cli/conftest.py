"""The command line as a stranger meets it: a package of his own, installed with pip, and ``hashbench`` run on it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hashbench.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ("--dataset", "shapes", "--image-backbone", "lite@32", "--text-backbone", "bow")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed by pip; its method and its data set are those that the docs show."""
    source = tmp_path_factory.mktemp("source") / "stranger"
    shutil.copytree(Path(__file__).parent / "stranger", source)
    for page, module in (("method", "nearest"), ("dataset", "shapes"), ("backbones", "histo"), ("plot", "bits")):
        shown = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{page}.md").read_text(), re.DOTALL)
        (source / f"{module}.py").write_text(shown[0])
    target = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", target,
         source],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return target


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
