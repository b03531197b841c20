"""A file's sha256 is worked out once, and again when the file changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from hashbench import checksum


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HASHBENCH_CACHE", str(tmp_path / "cache"))


def known(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_it_is_the_sha256_of_what_is_there_now(tmp_path: Path) -> None:
    file = tmp_path / "w"
    for text in ("one", "another", "anothex"):
        file.write_text(text)
        assert checksum.sha256(file) == known(text)


def test_it_is_read_once_even_by_the_next_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w"
    file.write_text("one")
    checksum.sha256(file)
    checksum._sha256.cache_clear()  # as a new process begins
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    assert checksum.sha256(file) == known("one")


def test_a_damaged_note_is_not_believed(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_text("one")
    checksum.sha256(file)
    checksum._sha256.cache_clear()
    for note in (tmp_path / "cache" / "checksums").iterdir():
        note.write_text("half")
    assert checksum.sha256(file) == known("one")


def test_it_does_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "w"
    file.write_text("one")
    monkeypatch.setenv("HASHBENCH_CACHE", str(file))  # no folder can be made there
    assert checksum.sha256(file) == known("one")


def test_several_files_depend_on_names_and_contents_but_not_on_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    both = checksum.of_files([a, b], tmp_path)
    assert both == checksum.of_files([b, a], tmp_path)
    assert both != checksum.of_files([a], tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    assert both != checksum.of_files([a, tmp_path / "c"], tmp_path)
