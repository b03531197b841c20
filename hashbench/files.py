"""Writing files so that none is ever half-written: a temporary neighbour, fsync, then one rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_IMODE
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside ``path``; when the block ends well, it takes the place of ``path``.

    Its mode is what umask allows, whoever wrote it. On any error the temporary file is removed and ``path`` is as it
    was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
    try:
        partial.touch()
        allowed = partial.stat().st_mode  # by umask, which cannot be asked for without setting it for other threads
        partial.unlink()
        yield partial
        if partial.stat().st_mode != allowed:  # safetensors makes files for their owner alone
            partial.chmod(S_IMODE(allowed))
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened for fsync
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
