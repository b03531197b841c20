"""What a new process says about a plug-in: imports are light, and keys do not depend on the process."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from hashbench.testing import NotApplicable, checks_for
from hashbench.testing.fresh import Fresh, fresh, require_light_import
from hashbench.testing.report import Broken, judge

PLUG_IN = """
from dataclasses import dataclass
from hashbench.config import Config, hp

{extra}

@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    words: str = hp({words}, "words")

class Mine:
    config_class = Settings
"""


def mine(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str = "", words: str = '"a"') -> Any:
    (folder / f"{module}.py").write_text(PLUG_IN.format(extra=extra, words=words))
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module(module).Mine


def verdicts(cls: Any) -> dict[str, str]:
    checks = [c for c in checks_for(cls) if c.name in ("check_import_is_light", "check_keys")]
    return judge("mutant", checks).failures


def test_a_light_import_and_a_stable_key_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdicts(mine(tmp_path, monkeypatch, "mine_light")) == {}


def test_a_heavy_import_that_prints_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = mine(tmp_path, monkeypatch, "mine_heavy", extra="import rich, rich.table")
    assert verdicts(cls) == {
        "check_import_is_light": "importing it loads rich; import these inside the functions that use them"
    }


def test_a_key_that_follows_the_hash_seed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = mine(tmp_path, monkeypatch, "mine_hashed", words='" ".join({str(i) for i in range(40)})')
    assert verdicts(cls) == {"check_keys": "the run key of the default configuration differs between processes"}


def test_printing_and_the_gpu_are_seen() -> None:
    require_light_import(Fresh(frozenset({"torch", "numpy"}), False, "", None))
    with pytest.raises(Broken, match="prints 'hello'"):
        require_light_import(Fresh(frozenset(), False, "hello", None))
    with pytest.raises(Broken, match="GPU"):
        require_light_import(Fresh(frozenset(), True, "", None))


def test_what_an_import_prints_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fresh(mine(tmp_path, monkeypatch, "mine_loud", extra="print('hello')"), "[1, cls.__name__]")
    assert (seen.printed, seen.answer) == ("hello\n", [1, "Mine"])


def test_a_class_that_cannot_be_imported_is_not_judged() -> None:
    class Local:
        pass

    with pytest.raises(NotApplicable, match="top level of a module"):
        fresh(Local)


def test_an_import_that_fails_elsewhere_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = mine(tmp_path, monkeypatch, "mine_gone")
    (tmp_path / "mine_gone.py").write_text("raise RuntimeError('only once')")
    with pytest.raises(Broken, match="RuntimeError: only once"):
        fresh(cls, "0")
