"""A file is the old one or the new one, whatever happens in between."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hashbench.files import replacing, write_text

SIZE = 1 << 21

WRITER = f"""
import sys
from itertools import count
from pathlib import Path
from hashbench.files import replacing

print("ready", flush=True)
for i in count():
    with replacing(Path(sys.argv[1])) as partial, partial.open("wb") as file:
        for _ in range(16):
            file.write(bytes([i % 256]) * ({SIZE} // 16))
            file.flush()
"""


def _leftovers(folder: Path) -> list[Path]:
    return list(folder.glob(".*.partial"))


def test_kill_9_never_leaves_a_torn_file(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"\0" * SIZE)
    for attempt in range(15):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"ready\n"
            time.sleep(0.002 + 0.003 * attempt)
            writer.kill()
        content = target.read_bytes()
        assert len(content) == SIZE
        assert content == content[:1] * SIZE, "the file is partly old, partly new"
    assert _leftovers(tmp_path), "no writer was killed in the middle of a file; this test has shown nothing"


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "target.json"
    for text in ("old", "new, and longer", "η"):
        write_text(target, text)
        assert target.read_text(encoding="utf-8") == text
        assert [file.name for file in target.parent.iterdir()] == ["target.json"]


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt, SystemExit])
def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "target"
    write_text(target, "old")

    def write_half() -> None:
        with replacing(target) as partial:
            partial.write_text("half of the n")
            assert partial.parent == target.parent, "a rename between file systems is no rename"
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write_text(target, "old")
    with pytest.raises(FileNotFoundError), replacing(target):
        pass
    assert target.read_text() == "old"


def test_two_writers_of_one_file_never_share_a_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "target"
    with replacing(target) as first:
        first.write_text("first")
        with replacing(target) as second:
            second.write_text("second")
        assert target.read_text() == "second"
    assert target.read_text() == "first"


@pytest.mark.skipif(os.name != "posix", reason="modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
@pytest.mark.parametrize("made", [0o600, 0o666])
def test_others_may_read_what_umask_allows(tmp_path: Path, umask: int, mode: int, made: int) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "target") as partial:
            os.close(os.open(partial, os.O_CREAT, made))
    finally:
        os.umask(before)
    assert (tmp_path / "target").stat().st_mode & 0o777 == mode
