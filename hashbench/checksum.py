"""sha256 of files, worked out once for each (path, size, time of last change) and remembered across runs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from hashbench.config import digest
from hashbench.files import write_text
from hashbench.paths import cache_dir


def sha256(path: Path) -> str:
    """Hex digest of a file's content; raises OSError where it cannot be read."""
    status = path.stat()
    return _sha256(str(path.absolute()), status.st_size, status.st_mtime_ns)


def of_files(paths: Iterable[Path], root: Path) -> str:
    """One hex digest for several files: of their names below ``root`` and their contents."""
    return digest(sorted((path.relative_to(root).as_posix(), sha256(path)) for path in paths))


@lru_cache
def _sha256(path: str, size: int, changed: int) -> str:
    note = cache_dir() / "checksums" / digest([path, size, changed])[:32]
    with suppress(OSError):
        known = note.read_text("ascii")
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    with suppress(OSError):  # a machine without a writable cache only works it out again
        write_text(note, found)
    return found
