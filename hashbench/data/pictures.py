"""Which pictures are bad: every one is decoded once, to its last pixel, and what was found is kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hashbench.data.sources import Sources
from hashbench.errors import DataError
from hashbench.files import write_text

Progress = Callable[[int, int], None]
"""Called as (pictures checked, pictures in all)."""

BATCH = 64
SAVE_EVERY = 10.0
"""Seconds of work that an interruption costs at most."""


class _Checked(NamedTuple):
    size: int
    changed: int
    wrong: str
    """Empty: nothing."""


def check(sources: Sources, paths: Sequence[str], memory: Path, progress: Progress | None = None) -> Mapping[str, str]:
    """Decode pictures that ``memory`` does not know as they are now, by their size and time of last change.

    Damage that a format cannot show, such as changed bytes in the middle of a JPEG, stays unseen.

    Args:
        sources: Where they lie.
        paths: Which of its paths to check.
        memory: A file of JSON lines ``[path, size, time, what is wrong]``, made where there is none. One that
            is damaged only makes the check longer.
        progress: Told how far it is.

    Returns:
        Path of every bad picture to what is wrong with it: ``missing``, ``truncated``, ``HTML page, not a
        picture``, ``empty file``, ...

    Raises:
        DataError: the sources cannot be listed, or the memory cannot be written.
    """
    memories = _recall(memory)
    states = {path: _state(sources, path) for path in dict.fromkeys(paths)}
    fresh = [(path, state) for path, state in states.items() if state and memories.get(path, ())[:2] != state]
    done = len(states) - len(fresh)
    tell = progress or (lambda done, total: None)
    tell(done, len(states))

    def checked(batch: Sequence[tuple[str, tuple[int, int]]]) -> dict[str, _Checked]:
        return {path: _Checked(*state, _wrong(sources, path)) for path, state in batch}

    # Threads: Pillow decodes without the interpreter's lock, and they share the listing of the sources.
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    try:
        saved = time.monotonic()
        with _whole_pictures_only():
            for found in pool.map(checked, (fresh[at : at + BATCH] for at in range(0, len(fresh), BATCH))):
                memories |= found
                done += len(found)
                tell(done, len(states))
                if time.monotonic() > saved + SAVE_EVERY:
                    _keep(memory, memories)
                    saved = time.monotonic()
    finally:
        pool.shutdown(cancel_futures=True)
        if fresh:
            _keep(memory, memories)
    wrong = {path: memories[path].wrong if state else "missing" for path, state in states.items()}
    return {path: what for path, what in wrong.items() if what}


def _state(sources: Sources, path: str) -> tuple[int, int] | None:
    if not sources.exists(path):
        return None
    with suppress(DataError):  # gone since it was listed
        return sources.state(path)
    return None


def _wrong(sources: Sources, path: str) -> str:
    try:
        sources.picture(path).load()
    except DataError as error:
        return str(error).removeprefix(f"{sources.named(path)}: ")
    except Exception as error:  # decoders meet damaged bytes with nearly any kind of error
        return "truncated" if "truncated" in str(error).lower() else f"damaged ({error or type(error).__name__})"
    return ""


@contextmanager
def _whole_pictures_only() -> Iterator[None]:
    """Pillow can be told, by anyone in this process, to fill what is missing with grey. Not here."""
    from PIL import ImageFile

    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _recall(memory: Path) -> dict[str, _Checked]:
    known: dict[str, _Checked] = {}
    with suppress(OSError, UnicodeDecodeError):
        for line in memory.read_text("utf-8").splitlines():
            with suppress(json.JSONDecodeError):
                match json.loads(line):
                    case [str(path), int(size), int(changed), str(wrong)]:
                        known[path] = _Checked(size, changed, wrong)
    return known


def _keep(memory: Path, known: Mapping[str, _Checked]) -> None:
    try:
        write_text(memory, "".join(f"{json.dumps([path, *checked])}\n" for path, checked in known.items()))
    except OSError as error:
        raise DataError(f"{memory}: what was checked cannot be kept ({error.strerror}); make room") from error
