"""Where things are kept can be said by the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashbench.paths import cache_dir, results_dir


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("HASHBENCH_RESULTS", "~/r")
    assert cache_dir() == tmp_path / "c"
    assert results_dir() == Path.home() / "r"
    assert not cache_dir().exists()


def test_otherwise_the_system_and_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HASHBENCH_CACHE", "HASHBENCH_RESULTS"):
        monkeypatch.setenv(name, "")
    assert cache_dir().is_absolute()
    assert "hashbench" in cache_dir().parts
    assert results_dir() == Path("results")
